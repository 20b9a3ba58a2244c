//! The dashboard: pure functions from views to markup, complete without JavaScript, live with it.
pub mod act;
pub mod ansi;
pub mod asset;
pub mod bar;
pub mod chunk;
pub mod frame;
pub mod http;
pub mod job;
pub mod jobs;
pub mod log;
pub mod login;
pub mod overview;
pub mod pill;
pub mod problem;
pub mod queue;
pub mod runners;
pub mod shown;
pub mod submit;
pub mod tokens;
pub mod url;
pub mod words;

pub use frame::Frame;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
