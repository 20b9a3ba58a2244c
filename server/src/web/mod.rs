//! What stands between the wire and a handler: who may call, how bodies, paths and queries are read.
pub mod access;
pub mod body;
mod form;
pub mod list;
pub mod path;

pub use access::{Access, Gate, admit};
pub use body::Json;
pub use form::Filled;
pub use path::{Ask, In};
