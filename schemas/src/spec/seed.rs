//! `DSG_SEED`: a number for each chunk that is the same on every retry, and on every submit of the same file and params.
use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// What all chunks of a job have in common.
pub fn base(text: &str, params: &BTreeMap<String, Value>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
    for (name, value) in params {
        hash.update(name);
        hash.update([0]);
        hash.update(value.to_string());
        hash.update([0]);
    }
    hash.finalize().into()
}

pub fn of_chunk(base: &[u8; 32], index: u32) -> u64 {
    let mut hash = Sha256::new();
    hash.update(base);
    hash.update(index.to_le_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

pub fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
