//! Secrets: 256 random bits, shown once, kept as their SHA-256. With that much randomness a plain hash is enough, and a
//! look-up by hash tells a guesser nothing.
use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What a secret is for, said by its first letters so that leak scanners find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    User,
    Join,
    Runner,
    Session,
    Link,
}

impl Prefix {
    fn word(self) -> &'static str {
        match self {
            Prefix::User => "dsg_u_",
            Prefix::Join => "dsg_j_",
            Prefix::Runner => "dsg_r_",
            Prefix::Session => "dsg_s_",
            Prefix::Link => "dsg_l_",
        }
    }
}

pub fn fresh(prefix: Prefix) -> String {
    format!("{}{}", prefix.word(), URL_SAFE_NO_PAD.encode(random::<32>()))
}

pub fn random_hex(bytes: usize) -> String {
    hex(&random::<32>()[..bytes.min(32)])
}

/// The stored form. What follows a dot (the fingerprint in a join token) is not part of the secret.
pub fn sha256(secret: &str) -> String {
    let secret = secret.split('.').next().unwrap_or_default();
    hex(&Sha256::digest(secret.as_bytes()))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness nothing that we hand out would be secret: better no server than that one.
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the system gives no random bytes");
        std::process::abort();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_the_fingerprint_is_no_part_of_the_hash() {
        let (one, two) = (fresh(Prefix::Join), fresh(Prefix::Join));
        assert_ne!(one, two);
        assert!(one.starts_with("dsg_j_") && one.len() == 6 + 43);
        assert_eq!(sha256(&one), sha256(&format!("{one}.abcdef")));
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
