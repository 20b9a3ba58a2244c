//! Who this runner is in its grid: written by join, read at each start.
use std::io;
use std::path::Path;

use dsg_schemas::ids::RunnerId;
use serde::{Deserialize, Serialize};

use super::SpoolError;
use super::file::write_durably;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// As given to join, without a path.
    pub server: String,
    pub runner: RunnerId,
    pub name: String,
    pub grid: String,
    /// A secret: the file is readable by its owner only.
    pub credential: String,
    /// The only certificate authority that is believed. `None` with plain HTTP.
    pub ca_pem: Option<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Identity { server, runner, name, grid, credential: _, ca_pem: _ } = self;
        write!(f, "Identity({name} = runner {runner} of grid {grid} at {server})")
    }
}

impl Identity {
    pub(super) fn load(path: &Path) -> Result<Identity, SpoolError> {
        let bytes = std::fs::read(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SpoolError::NotJoined(path.to_owned()),
            _ => SpoolError::Folder { path: path.to_owned(), source },
        })?;
        serde_json::from_slice(&bytes).map_err(|source| SpoolError::Broken { path: path.to_owned(), source })
    }

    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        write_durably(path, &serde_json::to_vec_pretty(self)?, 0o600)
    }
}
