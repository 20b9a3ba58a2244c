//! What `dsg-server` does beside serving: getting a store back, and printing it.
use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::Subcommand;

use crate::store::{self, DumpError, RestoreError};

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Get the store back from its newest good snapshot and its redo log, while no server runs; the damaged file is kept
    Restore {
        /// Begin with this snapshot in place of the newest good one
        #[arg(long, value_name = "NAME")]
        snapshot: Option<String>,
        /// Only show which snapshots there are
        #[arg(long, conflicts_with = "snapshot")]
        list: bool,
    },
    /// Print all rows as text, one a line (table, key, JSON), while no server runs; secrets are not shown
    Dump,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Dump(#[from] DumpError),
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
}

impl Command {
    pub fn run(&self, data: &Path, out: &mut impl Write) -> Result<(), CommandError> {
        match self {
            Command::Restore { list: true, .. } => {
                let snapshots = store::snapshots(data)?;
                if snapshots.is_empty() {
                    writeln!(out, "there is no snapshot in {}", data.display())?;
                }
                for (name, revision, bytes) in snapshots {
                    writeln!(out, "{name}  commit {revision}  {} KiB", bytes.div_ceil(1024))?;
                }
            }
            Command::Restore { snapshot, list: false } => {
                let mut told = Ok(());
                store::restore(data, snapshot.as_deref(), |line| {
                    if told.is_ok() {
                        told = writeln!(out, "{line}");
                    }
                })?;
                told?;
            }
            Command::Dump => {
                let mut out = BufWriter::new(out);
                let done = store::dump(data, &mut out);
                // Somebody who has seen enough, as in `dsg-server dump | head`, is no failure.
                if let Err(DumpError::Output(error)) = &done
                    && error.kind() == io::ErrorKind::BrokenPipe
                {
                    return Ok(());
                }
                out.flush()?;
                done?;
            }
        }
        Ok(())
    }
}
