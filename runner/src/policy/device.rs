//! A device of the host that jobs may name: a character device beneath `/dev`. Which one it is is looked at when the runner starts and
//! again each time it is used, so that no other one, put there later, is given to a container.
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    written: PathBuf,
    /// Without links.
    real: PathBuf,
    number: u64,
}

impl Device {
    pub fn at_start(name: &str, path: &Path) -> Result<Device, String> {
        let shown = path.display();
        let (real, number) = looked_at(path)?;
        if !path.starts_with("/dev")
            || !real.starts_with("/dev")
            || path.components().any(|part| part.as_os_str() == "..")
        {
            return Err(format!("{shown} does not lie in /dev"));
        }
        if let Some(why) = never(&real, major(number), minor(number)) {
            return Err(format!("{shown} cannot be given to containers: {why}"));
        }
        tracing::debug!(device = name, path = %real.display(), "a device that jobs may name");
        Ok(Device { written: path.to_owned(), real, number })
    }

    /// Where containers find it.
    pub fn written(&self) -> &Path {
        &self.written
    }

    /// Where it is now: still there, and the same.
    pub fn now(&self) -> Result<&Path, String> {
        // Not what or where: that would tell others how the host is made.
        let (real, number) = looked_at(&self.written).map_err(|why| {
            tracing::warn!(why, "a device of the policy");
            "it is not there any more".to_owned()
        })?;
        if (&real, number) == (&self.real, self.number) {
            return Ok(&self.real);
        }
        Err("another device is in its place since the runner started; restart the runner if that is meant".to_owned())
    }
}

/// Its path without links, and its number.
fn looked_at(path: &Path) -> Result<(PathBuf, u64), String> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!("{shown} is not an absolute path"));
    }
    let cannot = |error: std::io::Error| format!("{shown} cannot be used: {error}");
    let real = path.canonicalize().map_err(cannot)?;
    let meta = real.metadata().map_err(cannot)?;
    if meta.file_type().is_block_device() {
        return Err(format!("{shown} is a disk: who can write there has the host"));
    }
    if !meta.file_type().is_char_device() {
        return Err(format!("{shown} is not a device"));
    }
    Ok((real, meta.rdev()))
}

/// Why a device must stay out of the reach of containers, whatever it is called. The numbers are the kernel's.
fn never(real: &Path, major: u32, minor: u32) -> Option<&'static str> {
    let is_nvidia = real.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"nvidia"));
    match (major, minor) {
        (195, _) => Some(GPUS),
        _ if is_nvidia => Some(GPUS),
        (1, 1 | 2 | 4 | 11) => Some("it is the memory of the host, its ports or its kernel's log"),
        (4, 0..64) | (5 | 7, _) | (136..144, _) => Some("it is a terminal of the host"),
        (10, 239) | (21, _) => Some("it is a way to the disks of the host"),
        _ => None,
    }
}

const GPUS: &str = "jobs ask for GPUs with `resources.gpus`, and `policy.gpus` says which they may have";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn refused(path: &str) -> String {
        Device::at_start("x", Path::new(path)).expect_err(path)
    }

    #[test]
    fn only_harmless_devices_can_be_named() {
        let null = Device::at_start("null", Path::new("/dev/null")).expect("everywhere");
        assert_eq!((null.now(), null.written()), (Ok(Path::new("/dev/null")), Path::new("/dev/null")));
        assert!(refused("/etc/passwd").contains("not a device") && refused("null").contains("absolute"));
        assert!(refused("/dev/shm").contains("not a device") && refused("/proc/../dev/null").contains("lie in /dev"));
        assert!(refused("/dev/tty").contains("terminal"), "it has the same number everywhere");
        for (name, major, minor) in [
            ("mem", 1, 1),
            ("port", 1, 4),
            ("kmsg", 1, 11),
            ("tty1", 4, 1),
            ("0", 136, 0),
            ("nvidia0", 195, 0),
            ("nvidia-uvm", 510, 0),
        ] {
            assert!(never(&Path::new("/dev").join(name), major, minor).is_some(), "{name}");
        }
        for (name, major, minor) in [("fuse", 10, 229), ("renderD128", 226, 128), ("ttyUSB0", 188, 0), ("ttyS0", 4, 64)]
        {
            assert_eq!(never(&Path::new("/dev").join(name), major, minor), None, "{name}");
        }
    }

    #[test]
    fn another_device_in_its_place_is_not_given() {
        let dir = tempfile::tempdir().expect("dir");
        let link = dir.path().join("link");
        symlink("/dev/null", &link).expect("a link");
        // What `at_start` refuses for lying elsewhere: the link stands for one beneath /dev, as udev makes them.
        let (real, number) = looked_at(&link).expect("a device");
        let device = Device { written: link.clone(), real, number };
        assert_eq!(device.now(), Ok(Path::new("/dev/null")));
        fs::remove_file(&link).expect("gone");
        assert!(device.now().is_err_and(|why| why.contains("not there any more") && !why.contains('/')));
        symlink("/dev/zero", &link).expect("a link");
        assert!(device.now().is_err_and(|why| why.contains("another device")));
    }
}
