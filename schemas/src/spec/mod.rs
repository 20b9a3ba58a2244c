//! The job file. The types here are its definition; the JSON Schema and the docs are made from them.
mod forms;
pub mod job;

pub use job::*;
