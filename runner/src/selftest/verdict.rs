//! How a check ends.
use dsg_schemas::wire::{Check, Work};

pub fn passed(name: &str, note: impl Into<String>) -> Check {
    Check { name: name.to_owned(), passed: true, note: note.into(), ..Check::default() }
}

pub fn failed(name: &str, blocks: Work, note: impl Into<String>, repair: &str) -> Check {
    Check { name: name.to_owned(), passed: false, note: note.into(), blocks: Some(blocks), repair: repair.to_owned() }
}

/// It is not as it should be, and stops no work.
pub fn warned(name: &str, note: impl Into<String>, repair: &str) -> Check {
    Check { blocks: None, ..failed(name, Work::Everything, note, repair) }
}
