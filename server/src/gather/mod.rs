//! Joining what chunks left: the manifest, and the gather steps that the server does itself.
mod join;
pub mod manifest;
mod parts;
mod run;

pub use join::{JoinError, Joined, Part};
pub use run::run;
