//! Who calls, and what they may do.
pub mod book;
pub mod caller;
pub mod door;
pub mod secret;

pub use book::{Book, Entry, Kind};
pub use caller::{Caller, Joiner};
pub use door::Doors;
