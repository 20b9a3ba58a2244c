//! Secrets at rest: sealed with a key that lies in a file of its own, so that the store, its log and its snapshots are worth nothing
//! to whoever has them without it.
mod file;

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use crate::auth::secret::hex;

/// Of the key.
const KEY_BYTES: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("cannot {what} the key of the secrets, {path}: {source}", path = path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} holds the key of the secrets, and others can read it; do chmod 600 {path} first", path = path.display())]
    Open { path: PathBuf },
    #[error(
        "{path} is not a key of secrets: 64 hexadecimal digits are expected; bring the right file back, or move this one away to begin with a new key (then every secret is to be set again)",
        path = path.display()
    )]
    Form { path: PathBuf },
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

pub struct Vault {
    key: LessSafeKey,
    id: String,
    path: PathBuf,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} of {}", self.id, self.path.display())
    }
}

impl Vault {
    /// The key is made where there is none yet.
    pub fn open(path: &Path) -> Result<Vault, VaultError> {
        let bytes = file::key(path)?;
        let form = |_| VaultError::Form { path: path.to_owned() };
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(form)?;
        let digest = Sha256::digest([b"dsg secrets key ".as_slice(), bytes.as_slice()].concat());
        Ok(Vault { key: LessSafeKey::new(key), id: hex(&digest[..4]), path: path.to_owned() })
    }

    /// Names the key and tells nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bound to the grid and to the name: what is sealed for one opens for no other.
    pub fn seal(&self, grid: &str, name: &str, value: &[u8]) -> Result<String, VaultError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(VaultError::Random)?;
        let mut sealed = value.to_vec();
        // It fails only beyond 64 GiB.
        let done = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound(grid, name)),
            &mut sealed,
        );
        done.map_err(|_| VaultError::Form { path: self.path.clone() })?;
        Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// `None`: it was sealed with another key, for another name or grid, or it is damaged.
    pub fn unseal(&self, grid: &str, name: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut value = sealed.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(bound(grid, name)), &mut value).ok()?.len();
        value.truncate(length);
        Some(value)
    }
}

fn bound(grid: &str, name: &str) -> Vec<u8> {
    format!("dsg secret {grid} {name}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_name_and_grid_alone() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("secrets.key");
        let vault = Vault::open(&path).expect("a key is made");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        let sealed = vault.seal("g", "token", b"correct horse").expect("sealed");
        assert!(!sealed.contains("correct") && !sealed.contains(&STANDARD.encode("correct horse")));
        assert_ne!(vault.seal("g", "token", b"correct horse").expect("sealed"), sealed, "never the same twice");
        let again = Vault::open(&path).expect("the same key");
        assert_eq!(again.id(), vault.id());
        assert_eq!(again.unseal("g", "token", &sealed).as_deref(), Some(b"correct horse".as_slice()));
        let other = Vault::open(&dir.path().join("other.key")).expect("another key");
        assert_ne!(other.id(), vault.id());
        assert_eq!(other.unseal("g", "token", &sealed), None);
        assert_eq!((vault.unseal("g", "tokem", &sealed), vault.unseal("h", "token", &sealed)), (None, None));
        let mut damaged = STANDARD.decode(&sealed).expect("base64");
        damaged[NONCE_LEN] ^= 1;
        assert_eq!(vault.unseal("g", "token", &STANDARD.encode(damaged)), None);
        for short in ["", "AAAA", "no base64!"] {
            assert_eq!(vault.unseal("g", "token", short), None, "{short}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("secrets.key");
        Vault::open(&path).expect("a key is made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("mode");
        assert!(matches!(Vault::open(&path), Err(VaultError::Open { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("mode");
        Vault::open(&path).expect("read-only is fine");
        for wrong in ["", "abc", &"g".repeat(64), &"0".repeat(63)] {
            fs::remove_file(&path).expect("gone");
            fs::write(&path, wrong).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
            assert!(matches!(Vault::open(&path), Err(VaultError::Form { .. })), "{wrong:?}");
        }
    }
}
