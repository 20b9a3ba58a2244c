//! The command line of DSG as a library, so that tests can call in.
//!
//! A command is one file in [`command`]: what may be typed (its `Args`) and what it does. It reads through [`client`], says what it
//! has to say through [`output`], and ends with an [`Exit`] or a [`Failure`].
pub mod act;
pub mod ask;
pub mod browser;
pub mod chosen;
pub mod clean;
pub mod client;
pub mod command;
pub mod config;
pub mod event_stream;
pub mod exit;
pub mod fetch;
pub mod follow;
pub mod hash;
pub mod job_file;
pub mod layout;
pub mod local;
pub mod log;
pub mod manifest;
pub mod output;
pub mod problem;
pub mod progress;
pub mod select;
pub mod table;
pub mod trust;
pub mod upload;
pub mod when;

#[cfg(test)]
mod tests;

pub use command::{Arguments, run};
pub use exit::{Exit, Failure};
