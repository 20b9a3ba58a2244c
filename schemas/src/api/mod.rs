//! What the server tells people and programs under `/api/v1`, and what they may ask.
//!
//! Times are Unix milliseconds (`…_ms`), sizes bytes (`…_bytes`), lists are pages with a cursor, errors are
//! [`Problem`] (RFC 9457, `application/problem+json`).
pub mod act;
pub mod blob;
pub mod image;
pub mod job;
pub mod log;
pub mod page;
pub mod problem;
pub mod runner;
pub mod secret;
pub mod token;

pub use act::*;
pub use blob::*;
pub use image::*;
pub use job::*;
pub use log::*;
pub use page::*;
pub use problem::*;
pub use runner::*;
pub use secret::*;
pub use token::*;
