//! The tables. Values are sealed ([`super::sealed`]); inside is JSON, but for specs and blocks, which are bytes already.
use dsg_core::row::{Key, Row};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

/// Raised when older servers could not read what is written. 1: values without checksums.
pub const VERSION: u64 = 2;

pub type Definition<K> = TableDefinition<'static, K, &'static [u8]>;
/// Job, stage, and index or block.
pub type Triple = (u64, u16, u32);

pub const META: Definition<&'static str> = TableDefinition::new("meta");
pub const JOBS: Definition<u64> = TableDefinition::new("jobs");
pub const SPECS: Definition<u64> = TableDefinition::new("specs");
/// Job, stage, block.
pub const BLOCKS: Definition<Triple> = TableDefinition::new("blocks");
/// Job, stage, index.
pub const CHUNKS: Definition<Triple> = TableDefinition::new("chunks");
pub const ATTEMPTS: Definition<u64> = TableDefinition::new("attempts");
pub const RUNNERS: Definition<u64> = TableDefinition::new("runners");
/// By the sha256 of the secret.
pub const AUTH: Definition<&'static str> = TableDefinition::new("auth");

/// The one value that is not sealed: older servers must be able to read it, to say why they refuse.
pub const META_VERSION: &str = "version";
/// The counters of the core.
pub const META_COUNTERS: &str = "counters";
/// What owners used and may use.
pub const META_OWNERS: &str = "owners";
/// Images that people brought.
pub const META_IMAGES: &str = "images";
/// Secrets, sealed.
pub const META_SECRETS: &str = "secrets";
/// Names this grid, made at its first start.
pub const META_GRID: &str = "grid";
/// How many commits there were, as [`Reached`].
pub const META_REVISION: &str = "revision";

/// How far a store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Counts commits.
    pub revision: u64,
    /// When the last one was made, by the wall clock.
    pub at_ms: u64,
}

/// What is to be done with every table, whatever its keys are.
pub trait Visitor {
    type Error;
    fn table<K: redb::Key + 'static>(&mut self, table: Definition<K>) -> Result<(), Self::Error>;
}

pub fn each_table<V: Visitor>(visitor: &mut V) -> Result<(), V::Error> {
    visitor.table(META)?;
    visitor.table(JOBS)?;
    visitor.table(SPECS)?;
    visitor.table(BLOCKS)?;
    visitor.table(CHUNKS)?;
    visitor.table(ATTEMPTS)?;
    visitor.table(RUNNERS)?;
    visitor.table(AUTH)
}

/// Puts the stored form of a row behind these bytes.
pub fn encode(into: &mut Vec<u8>, row: &Row) -> Result<(), serde_json::Error> {
    match row {
        Row::Meta(row) => serde_json::to_writer(into, row),
        Row::Owners(rows) => serde_json::to_writer(into, rows),
        Row::Images(rows) => serde_json::to_writer(into, rows),
        Row::Secrets(rows) => serde_json::to_writer(into, rows),
        Row::Job(row) => serde_json::to_writer(into, row),
        Row::Chunk(row) => serde_json::to_writer(into, row),
        Row::Attempt(row) => serde_json::to_writer(into, row),
        Row::Runner(row) => serde_json::to_writer(into, row),
        Row::Spec(bytes) | Row::Block(bytes) => {
            into.extend_from_slice(bytes);
            Ok(())
        }
    }
}

/// The row of a key from its stored form.
pub fn decode(key: Key, bytes: &[u8]) -> Result<Row, serde_json::Error> {
    Ok(match key {
        Key::Meta => Row::Meta(serde_json::from_slice(bytes)?),
        Key::Owners => Row::Owners(serde_json::from_slice(bytes)?),
        Key::Images => Row::Images(serde_json::from_slice(bytes)?),
        Key::Secrets => Row::Secrets(serde_json::from_slice(bytes)?),
        Key::Job(_) => Row::Job(serde_json::from_slice(bytes)?),
        Key::Spec(_) => Row::Spec(bytes.into()),
        Key::Block(..) => Row::Block(bytes.into()),
        Key::Chunk(_) => Row::Chunk(serde_json::from_slice(bytes)?),
        Key::Attempt(_) => Row::Attempt(serde_json::from_slice(bytes)?),
        Key::Runner(_) => Row::Runner(serde_json::from_slice(bytes)?),
    })
}
