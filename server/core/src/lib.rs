//! The brain: a scheduler without I/O. `grid.apply(now, event, &mut effects)` is all that can happen to it.
//!
//! It knows no clock, no randomness, no file and no socket; this crate's `Cargo.toml` is the proof. Time is an argument, ids come
//! from a persisted counter, jitter is a hash of ids. What it decides comes back as rows to write and as an answer, and the shell
//! gives the answer only after the rows are on disk.
mod act;
mod again;
mod attempt;
mod bits;
mod breaker;
mod check;
mod decide;
mod ended;
pub mod event;
mod explain;
mod gather;
mod grid;
mod grow;
mod job;
mod join;
mod lane;
mod leave;
mod life;
mod load;
mod needs;
mod place;
mod planted;
pub mod policy;
mod queue;
pub mod row;
mod runner;
mod secret;
mod share;
mod shift;
mod sick;
mod submit;
mod sync;
mod tick;

pub use event::*;
pub use explain::QueueFilter;
pub use grid::Grid;
pub use load::LoadError;
#[cfg(feature = "planted-bugs")]
pub use planted::{Bug, plant};
pub use policy::*;
pub use row::*;
pub use share::{EVERYBODY, HALF_LIFE_MS};
