//! The address of a blob: the sha256 of its bytes.
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash(pub [u8; 32]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a blob is named by its sha256: 64 hexadecimal digits, in lower case")]
pub struct NotAHash;

impl BlobHash {
    pub fn of(bytes: &[u8]) -> BlobHash {
        BlobHash::from_hasher(Sha256::new_with_prefix(bytes))
    }

    pub(super) fn from_hasher(hasher: Sha256) -> BlobHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(&hasher.finalize());
        BlobHash(hash)
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for BlobHash {
    type Err = NotAHash;
    /// Strict, so that a path can never be made of it: one name for each blob.
    fn from_str(text: &str) -> Result<BlobHash, NotAHash> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotAHash),
        };
        let mut hash = [0; 32];
        if text.len() != 64 {
            return Err(NotAHash);
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(BlobHash(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_true_name_is_a_hash() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(BlobHash::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(BlobHash::of(b"")));
        for text in [
            "",
            "abc",
            &empty.to_uppercase(),
            &empty[1..],
            "../../../../../../../../../../../../../../etc/passwd/aaaaaaaaaaaaa",
            &"ä".repeat(32),
        ] {
            assert_eq!(text.parse::<BlobHash>(), Err(NotAHash), "{text}");
        }
    }
}
