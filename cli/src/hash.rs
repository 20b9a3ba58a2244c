//! sha256 as 64 hexadecimal digits.
use std::fmt::Write;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The length and hash of a file, read once and never held in memory; `seen` is told of each piece.
pub fn of_file(path: &Path, mut seen: impl FnMut(u64)) -> io::Result<(u64, String)> {
    let (length, hasher) = read_into(path, Sha256::new(), &mut seen)?;
    Ok((length, hex(&hasher.finalize())))
}

/// As [`of_file`], to be gone on with: the state of the hash over what is there.
pub fn begun(path: &Path) -> io::Result<(u64, Sha256)> {
    read_into(path, Sha256::new(), &mut |_| ())
}

fn read_into(path: &Path, mut hasher: Sha256, seen: &mut impl FnMut(u64)) -> io::Result<(u64, Sha256)> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((length, hasher)),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                length += read as u64;
                seen(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_bytes_have_one_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        std::fs::write(&path, b"abc").expect("written");
        let mut seen = 0;
        let (length, hash) = of_file(&path, |bytes| seen += bytes).expect("read");
        assert_eq!((length, seen), (3, 3));
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash, of_bytes(b"abc"));
    }
}
