//! What server and runner say to each other.
//!
//! A runner *joins* once (token for credential), says *hello* at each start of a session, and from then on has one
//! conversation: *sync*. Bytes travel beside it: log pieces up, blobs up and down.
pub mod check;
pub mod hello;
pub mod log;
pub mod order;
pub mod secret;
pub mod sync;

pub use check::*;
pub use hello::*;
pub use order::*;
pub use secret::*;
pub use sync::*;

/// Spoken by this build. A server takes this and the one before it.
pub const PROTOCOL: u32 = 1;
