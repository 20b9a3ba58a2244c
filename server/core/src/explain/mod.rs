//! Why work waits, in sentences that a student understands. Pure functions of the same state that places it.
mod chunk;
mod queue;
mod runners;

pub(crate) use runners::nobody_can;

pub use queue::QueueFilter;
