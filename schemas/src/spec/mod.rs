//! The job file: its definition (the types of [`job`]; JSON Schema and docs are made from them), and the one way from
//! text to a [`Plan`]: parse, params, schema, rules, expansion.
//!
//! ```text
//! text ─ parse ─► Node ─ params, interpolate ─► Node ─ conform (JSON Schema) ─► Job ─ rules ─► expand ─► Plan ─► ChunkPlan, StartOrder
//! ```
mod chunk;
mod conform;
mod draft;
mod expand;
mod forms;
mod interpolate;
pub mod job;
mod keys;
mod known;
mod node;
mod order;
mod params;
mod parse;
mod plan;
mod problem;
mod pushed;
mod reference;
mod rules;
mod schema;
mod seed;
mod work;

pub use draft::{Sources, Wanted, check, wanted};
pub use job::*;
pub use keys::key_table;
pub use order::{Gathered, Given};
pub use plan::{Plan, PlanError};
pub use problem::{Rule, did_you_mean};
pub use pushed::{may_be_pushed, pushed_name};
pub use rules::is_name;
pub use schema::schema;

/// A value as it stands in a command or an environment variable.
pub(crate) fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
