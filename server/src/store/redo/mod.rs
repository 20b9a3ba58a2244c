//! The redo log: what each commit wrote, on disk before the commit itself, so that a snapshot and the log together reach the last
//! acknowledged change.
//!
//! A file begins with whose it is and with the number of its first commit, which is its name, too; records follow, one per
//! commit. A file is only ever appended to by the process that made it; the next process begins another one.
mod log;
mod record;
mod scan;

pub use log::Log;
pub use record::Record;
pub use scan::{Chain, Ending, begins_with_nothing, files};
