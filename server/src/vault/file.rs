//! The file in which the key lies: hexadecimal, on one line, for its owner only.
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{KEY_BYTES, VaultError};
use crate::auth::secret::hex;

pub fn key(path: &Path) -> Result<[u8; KEY_BYTES], VaultError> {
    let fail = |what| move |source| VaultError::File { what, path: path.to_owned(), source };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return made(path),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(VaultError::Form { path: path.to_owned() });
        }
        Err(error) => return Err(fail("read")(error)),
    };
    if fs::metadata(path).map_err(fail("look at"))?.mode() & 0o077 != 0 {
        return Err(VaultError::Open { path: path.to_owned() });
    }
    bytes(text.trim()).ok_or_else(|| VaultError::Form { path: path.to_owned() })
}

/// On disk, with its name, before anything is sealed with it.
fn made(path: &Path) -> Result<[u8; KEY_BYTES], VaultError> {
    let fail = |source| VaultError::File { what: "make", path: path.to_owned(), source };
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(VaultError::Random)?;
    let new = path.with_extension("key.new");
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(fail(error));
    }
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new).map_err(fail)?;
    file.write_all(format!("{}\n", hex(&key)).as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    fs::rename(&new, path).map_err(fail)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
    Ok(key)
}

fn bytes(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(key)
}
