//! The engine thread: the only one that changes the grid and writes the store.
mod batch;
mod handle;
mod message;
mod outbox;
mod room;
mod state;
mod summary;
mod thread;

pub use handle::Engine;
pub use message::{EnrolRequest, Refused};
pub use outbox::{LogDue, Outbox};
pub use summary::{Banners, Summary};
pub use thread::{Settings, StartError, start};

#[cfg(test)]
mod slow;
#[cfg(test)]
mod tests;
