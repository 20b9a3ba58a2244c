//! The log store: what containers wrote, kept in files beside the database, read as lines or as raw bytes.
//!
//! One attempt is a folder of segments of about 1 MiB; the first eight stay, of the rest the newest 24 stay. Each segment
//! begins with the state in which it found the log (line number, offsets, unfinished lines), so that reading can begin at
//! any of them. Short logs end in a pack that a thousand attempts share.
mod folders;
mod follow;
mod lines;
mod list;
mod log;
mod pack;
mod page;
mod raw;
pub(crate) mod recent;
mod record;
mod segment;
mod store;
#[cfg(test)]
mod tests;

pub use follow::Follower;
pub use page::LogQuery;
pub use raw::RawLog;
pub use store::{LogError, LogStore};
