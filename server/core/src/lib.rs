//! The brain: a scheduler without I/O. `grid.apply(now, event, &mut effects)` is all that can happen to it.
//!
//! It knows no clock, no randomness, no file and no socket; this crate's `Cargo.toml` is the proof. Time is an argument, ids come
//! from a persisted counter, jitter is a hash of ids. What it decides comes back as rows to write and as an answer, and the shell
//! gives the answer only after the rows are on disk.
pub mod event;
pub mod policy;
pub mod row;
