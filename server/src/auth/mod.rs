//! Who calls, and what they may do.
pub mod caller;
pub mod secret;

pub use caller::Caller;
