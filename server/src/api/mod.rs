//! Handlers, one file for each resource.
pub mod acts;
pub mod blobs;
pub mod chunks;
pub mod events;
pub mod images;
pub mod jobs;
pub mod login;
pub mod logs;
pub mod overview;
pub mod runners;
pub mod secrets;
pub mod submit;
pub mod sync;
pub mod tokens;
