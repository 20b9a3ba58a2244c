//! The contract: everything that crosses a process, in one crate that knows no runtime, no store and no engine.
//!
//! - [`spec`]: what a person writes, and (feature-free) how it is parsed, checked, expanded and interpolated
//! - [`policy`]: what the owner of a host lets containers have there
//! - [`wire`]: what server and runner say to each other
//! - [`api`]: what the server tells people and programs
pub mod api;
pub mod ids;
pub mod limits;
pub mod mark;
pub mod policy;
pub mod reason;
pub mod spec;
pub mod units;
pub mod wire;
