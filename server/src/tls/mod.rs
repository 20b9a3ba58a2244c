//! Certificates: a CA of the server's own making, or the lab's files.
//!
//! The CA's certificate is public; its fingerprint travels in join tokens and login links, so that runners and `dsg` need to trust
//! nothing else. Keys are readable by the server's user alone.
pub mod addresses;
mod authority;
mod renew;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use authority::own;
pub use renew::follow;

use crate::config::{Config, Tls};

/// What a TLS listener needs, and what clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// Leaf first.
    pub chain_pem: String,
    pub key_pem: String,
    /// Served at `/api/v1/ca`. `None` with the lab's own certificate: clients then trust what their machine trusts.
    pub ca: Option<Authority>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub pem: String,
    /// 64 hexadecimal digits: sha256 of the certificate's DER.
    pub fingerprint: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot {what} {path}", path = path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot make a certificate for {names:?}; the names must be DNS names or IP addresses")]
    Make { names: Vec<String>, source: rcgen::Error },
    #[error("cannot use the key in {path}; remove the folder to make a new CA (every runner and user must then join anew)", path = path.display())]
    Key { path: PathBuf, source: rcgen::Error },
}

/// As the configuration says; `None` for plain HTTP. Own certificates are made where they are missing or old.
pub fn load(config: &Config) -> Result<Option<Certificates>, TlsError> {
    Ok(match &config.tls {
        Tls::Own => Some(own(&config.data.join("tls"), &config.public_names, SystemTime::now())?),
        Tls::Files { cert, key } => Some(from_files(cert, key)?),
        Tls::Off => None,
    })
}

/// The lab's own certificate chain and key, as PEM files.
pub fn from_files(cert: &Path, key: &Path) -> Result<Certificates, TlsError> {
    Ok(Certificates { chain_pem: read(cert)?, key_pem: read(key)?, ca: None })
}

fn read(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|source| TlsError::File { what: "read", path: path.to_owned(), source })
}
