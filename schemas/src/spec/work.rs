//! What chunks do, apart from how they are scheduled: by this an edit of a job is judged.
use serde_json::Value;

use super::plan::Plan;

/// Keys of a job that say when, where and how often a chunk runs, and what becomes of its results, but not what it does.
const SCHEDULING: &[&str] = &[
    "name",
    "description",
    "labels",
    "priority",
    "hold",
    "pull_policy",
    "resources",
    "constraints",
    "timeouts",
    "retry",
    "gather",
    "retention",
];
/// The same below `chunks`.
const CHUNK_SCHEDULING: &[&str] = &["parallelism", "per_runner", "canary", "max_failed", "fail_fast"];

impl Plan {
    /// Whether chunks of this plan do the same as those of the other: results of both may stand side by side.
    pub fn does_the_same_as(&self, other: &Plan) -> bool {
        let same_sources = self.split == other.split
            && self.uploads == other.uploads
            && self.images == other.images
            && self.table_sha256() == other.table_sha256()
            && self.params == other.params;
        same_sources && self.work() == other.work()
    }

    /// Takes over what the other plan's chunks have as their seeds, because they do the same.
    pub fn keep_seed_of(&mut self, other: &Plan) {
        self.seed = other.seed;
    }

    fn work(&self) -> Value {
        // A job is plain data, which serialises.
        let mut work = serde_json::to_value(&self.job).unwrap_or_default();
        if let Some(keys) = work.as_object_mut() {
            keys.retain(|key, _| !SCHEDULING.contains(&key.as_str()));
            if let Some(chunks) = keys.get_mut("chunks").and_then(Value::as_object_mut) {
                chunks.retain(|key, _| !CHUNK_SCHEDULING.contains(&key.as_str()));
            }
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::Uploads;
    use crate::spec::{Sources, check};

    fn plan(more: &str) -> Plan {
        let text = format!("name: n\nimage: i\ncommand: [c]\n{more}");
        let uploads = Uploads::new();
        let read = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        check(&text, &BTreeMap::new(), &Sources { uploads: &uploads, read: &read, secrets: None }).expect("a right job")
    }

    #[test]
    fn scheduling_is_not_work() {
        let before = plan("chunks: {count: 9}\n");
        let after = plan(
            "chunks: {count: 9, parallelism: 2, canary: 1}\nresources: {cpus: 2, memory: 3GiB}\nretry: {limit: 3}\npriority: 9\ntimeouts: {run: 1h}\nretention: {logs: 1d}\n",
        );
        assert!(after.does_the_same_as(&before));
    }

    #[test]
    fn anything_that_a_container_sees_is_work() {
        let before = plan("chunks: {count: 9}\n");
        for other in
            ["chunks: {count: 9}\nenv: {A: b}\n", "chunks: {count: 8}\n", "chunks: {range: {start: 0, stop: 9}}\n"]
        {
            assert!(!plan(other).does_the_same_as(&before), "{other}");
        }
    }

    #[test]
    fn seeds_stay_when_the_work_stays() {
        let before = plan("chunks: {count: 2}\n");
        let mut after = plan("chunks: {count: 2}\npriority: 3\n");
        let seed = |plan: &Plan| plan.chunk(0).env.get("DSG_SEED").cloned();
        assert_ne!(seed(&after), seed(&before));
        after.keep_seed_of(&before);
        assert_eq!(seed(&after), seed(&before));
        let read = Plan::from_bytes(&after.to_bytes()).expect("stored and read");
        assert_eq!(seed(&read), seed(&before), "a stored plan keeps it");
        let untouched = String::from_utf8(before.to_bytes()).expect("JSON");
        assert!(!untouched.contains("\"seed\""), "an unedited plan is stored as before");
    }
}
