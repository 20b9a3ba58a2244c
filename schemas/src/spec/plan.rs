//! A checked job: what it is, how many chunks it has, and each of them when it is asked for.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expand::{self, Items, Shape, Split, Table};
use super::job::Job;
use super::seed;
use crate::api::Uploads;

/// Of the stored form; a change that old servers cannot read raises it.
const VERSION: u32 = 1;

#[derive(Clone, Debug)]
pub struct Plan {
    /// The job file as written.
    pub text: String,
    /// The job as understood: defaults and parameters put in.
    pub job: Job,
    pub params: BTreeMap<String, Value>,
    pub chunks: u32,
    pub items: u64,
    /// The uploads that the job uses.
    pub uploads: Uploads,
    /// The images of the job that people brought to the server, by their whole names, as they were at submit.
    pub images: Uploads,
    pub warnings: Vec<String>,
    pub(super) split: Split,
    /// Absent between [`Plan::from_bytes`] and [`Plan::attach_table`], where there is a table.
    pub(super) source: Option<Items>,
    pub(super) seed: [u8; 32],
    table_sha256: Option<String>,
}

/// The stored form. Frozen: new fields have defaults.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    text: String,
    job: Job,
    params: BTreeMap<String, Value>,
    split: Split,
    uploads: Uploads,
    #[serde(default, skip_serializing_if = "Uploads::is_empty")]
    images: Uploads,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    table_sha256: Option<String>,
    /// Where it is not that of text and params: the job file was edited, its work was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<[u8; 32]>,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the stored job cannot be read")]
    Unreadable(#[source] serde_json::Error),
    #[error("the stored job has version {0}; this build reads {VERSION}")]
    Version(u32),
    #[error("this job has no table of items")]
    NoTable,
    #[error("the table of items has sha256 {found} instead of {expected}; its blob is damaged")]
    WrongTable { expected: String, found: String },
}

impl Plan {
    pub(super) fn new(
        text: String,
        job: Job,
        params: BTreeMap<String, Value>,
        source: Items,
        split: Split,
        uploads: Uploads,
        warnings: Vec<String>,
    ) -> Plan {
        let table_sha256 = match &source {
            Items::Table(table) => Some(seed::sha256(table.bytes())),
            Items::Nothing(_) | Items::Numbers(_) | Items::Windows(_) | Items::List(_) | Items::Matrix(_) => None,
        };
        let seed = seed::base(&text, &params);
        let source = Some(source);
        Plan {
            text,
            job,
            params,
            chunks: split.chunks,
            items: split.items,
            uploads,
            images: Uploads::new(),
            warnings,
            split,
            source,
            seed,
            table_sha256,
        }
    }

    /// The row in the store: JSON, without the table.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            version: VERSION,
            text: self.text.clone(),
            job: self.job.clone(),
            params: self.params.clone(),
            split: self.split,
            uploads: self.uploads.clone(),
            images: self.images.clone(),
            warnings: self.warnings.clone(),
            table_sha256: self.table_sha256.clone(),
            seed: (self.seed != seed::base(&self.text, &self.params)).then_some(self.seed),
        };
        // Maps with text keys, numbers and text: there is nothing here that JSON cannot hold.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Plan, PlanError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let Head { version } = serde_json::from_slice(bytes).map_err(PlanError::Unreadable)?;
        if version != VERSION {
            return Err(PlanError::Version(version));
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(PlanError::Unreadable)?;
        let Stored { version: _, text, job, params, split, uploads, images, warnings, table_sha256, seed } = stored;
        let source = expand::reopen(&job.chunks);
        let seed = seed.unwrap_or_else(|| seed::base(&text, &params));
        Ok(Plan {
            text,
            job,
            params,
            chunks: split.chunks,
            items: split.items,
            uploads,
            images,
            warnings,
            split,
            source,
            seed,
            table_sha256,
        })
    }

    /// JSON lines of a `rows` or `files` source, which the server keeps as a blob; `None` for the other sources.
    pub fn table(&self) -> Option<&[u8]> {
        match &self.source {
            Some(Items::Table(table)) => Some(table.bytes()),
            _ => None,
        }
    }

    pub fn table_sha256(&self) -> Option<&str> {
        self.table_sha256.as_deref()
    }

    /// Gives a plan its table back: after [`Plan::from_bytes`], before [`Plan::chunk`] and [`Plan::start_order`].
    pub fn attach_table(&mut self, jsonl: Vec<u8>) -> Result<(), PlanError> {
        let expected = self.table_sha256.clone().ok_or(PlanError::NoTable)?;
        let found = seed::sha256(&jsonl);
        if found != expected {
            return Err(PlanError::WrongTable { expected, found });
        }
        self.source = Some(Items::Table(Table::of(jsonl, Shape::Nothing)));
        Ok(())
    }
}
