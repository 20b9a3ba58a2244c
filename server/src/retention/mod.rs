//! Retention: what ended jobs left goes by rule. First the row says so, in a commit; then the bytes go. What a crash keeps from going is
//! found by the next pass.
mod bytes;
mod decide;
mod pass;
mod rules;

pub use decide::{Due, What};
pub use pass::{Retention, keep, pass};
pub use rules::Rules;

pub(crate) use bytes::sweep_blobs;

#[cfg(test)]
mod tests;
