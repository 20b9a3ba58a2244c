//! The blob store: bytes addressed by their sha256, in files beside the database.
pub mod disk;
mod hash;
pub mod serve;
mod store;
mod sweep;
mod upload;
mod writer;

#[cfg(test)]
mod tests;

pub use hash::{BlobHash, NotAHash};
pub use store::{BlobError, BlobStore};
pub use sweep::Swept;
pub use upload::drain;
pub use writer::BlobWriter;
