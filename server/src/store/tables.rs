//! The tables. Values are JSON, but for specs and blocks, which are bytes already.
use dsg_core::row::{Key, Row};
use redb::TableDefinition;

/// Raised when older servers could not read what is written.
pub const VERSION: u64 = 1;

pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub const JOBS: TableDefinition<u64, &[u8]> = TableDefinition::new("jobs");
pub const SPECS: TableDefinition<u64, &[u8]> = TableDefinition::new("specs");
/// Job, stage, block.
pub const BLOCKS: TableDefinition<(u64, u16, u32), &[u8]> = TableDefinition::new("blocks");
/// Job, stage, index.
pub const CHUNKS: TableDefinition<(u64, u16, u32), &[u8]> = TableDefinition::new("chunks");
pub const ATTEMPTS: TableDefinition<u64, &[u8]> = TableDefinition::new("attempts");
pub const RUNNERS: TableDefinition<u64, &[u8]> = TableDefinition::new("runners");
/// By `kind/sha256 of the secret`.
pub const AUTH: TableDefinition<&str, &[u8]> = TableDefinition::new("auth");

pub const META_VERSION: &str = "version";
/// The counters of the core.
pub const META_COUNTERS: &str = "counters";
/// What owners used and may use.
pub const META_OWNERS: &str = "owners";
/// Names this grid, made at its first start.
pub const META_GRID: &str = "grid";

/// The stored form of a row.
pub fn encode(row: &Row) -> Result<Vec<u8>, serde_json::Error> {
    match row {
        Row::Meta(row) => serde_json::to_vec(row),
        Row::Owners(rows) => serde_json::to_vec(rows),
        Row::Job(row) => serde_json::to_vec(row),
        Row::Chunk(row) => serde_json::to_vec(row),
        Row::Attempt(row) => serde_json::to_vec(row),
        Row::Runner(row) => serde_json::to_vec(row),
        Row::Spec(bytes) | Row::Block(bytes) => Ok(bytes.to_vec()),
    }
}

/// The row of a key from its stored form.
pub fn decode(key: Key, bytes: &[u8]) -> Result<Row, serde_json::Error> {
    Ok(match key {
        Key::Meta => Row::Meta(serde_json::from_slice(bytes)?),
        Key::Owners => Row::Owners(serde_json::from_slice(bytes)?),
        Key::Job(_) => Row::Job(serde_json::from_slice(bytes)?),
        Key::Spec(_) => Row::Spec(bytes.into()),
        Key::Block(..) => Row::Block(bytes.into()),
        Key::Chunk(_) => Row::Chunk(serde_json::from_slice(bytes)?),
        Key::Attempt(_) => Row::Attempt(serde_json::from_slice(bytes)?),
        Key::Runner(_) => Row::Runner(serde_json::from_slice(bytes)?),
    })
}
