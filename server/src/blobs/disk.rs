//! How much the disk still takes. A reserve is left free, so that the database can go on and people can delete.
use std::io;
use std::path::Path;

/// Left free by blobs and logs.
pub const RESERVE_BYTES: u64 = 32 << 20;

#[derive(Debug, thiserror::Error)]
#[error("{wanted} bytes are wanted, but only {free} are free for them")]
pub struct NoRoom {
    pub wanted: u64,
    pub free: u64,
}

/// Refuses if this many bytes more would touch the reserve. Where the system does not say, the write itself will.
pub fn room(folder: &Path, wanted: u64) -> Result<(), NoRoom> {
    let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(RESERVE_BYTES);
    if wanted > free { Err(NoRoom { wanted, free }) } else { Ok(()) }
}

pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_disk_has_is_refused_before_it_is_written() {
        let folder = std::env::temp_dir();
        let refused = room(&folder, u64::MAX).expect_err("no disk is that large");
        assert!(room(&folder, refused.free / 2).is_ok());
        assert!(room(&folder, refused.free.saturating_mul(2) + 1).is_err());
    }
}
