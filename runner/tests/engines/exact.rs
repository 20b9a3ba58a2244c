//! The container that an engine made, laid beside the one that was asked for: nothing less, and nothing more.
use std::sync::Arc;

use dsg_runner::container::{Bind, Engine, HostDevice};
use serde_json::Value;

use crate::bench::{Bench, MIB};

/// What Docker sets by itself, whatever is asked for: names of namespaces and files, none of which gives a container anything.
const ITS_OWN: [&str; 6] = ["CgroupnsMode", "ConsoleSize", "Isolation", "MaskedPaths", "ReadonlyPaths", "Runtime"];

/// Only Docker: Podman tells its containers in other words, and the numbers inside them are the proof there.
pub async fn what_is_made_is_what_was_asked_for(bench: Arc<Bench>) {
    if bench.kind != "docker" {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut plan = bench.plan(40, &["echo"]);
    plan.pids = Some(32);
    plan.shm_bytes = Some(8 * MIB);
    plan.capabilities = Some(vec!["CHOWN".to_owned()]);
    plan.scratch = vec!["/out".to_owned()];
    let host = folder.path().display().to_string();
    plan.binds = vec![Bind { host, container: "/data".to_owned(), write: false, named: true }];
    plan.devices = vec![HostDevice { host: "/dev/null".to_owned(), container: "/dev/dsg0".to_owned() }];
    let id = bench.engine.create(&plan).await.expect("created");
    let made = bench.raw_inspect(&id).await["HostConfig"].clone();
    bench.remove(&id).await;
    let asked = serde_json::to_value(bench.engine.request_for(&plan).host_config).expect("json");
    let (asked, made) = (asked.as_object().expect("a map"), made.as_object().expect("a map"));
    for (key, value) in asked.iter().filter(|(_, value)| !value.is_null()) {
        assert!(same(value, &made[key]), "{key}: {value} was asked for, and it is {}", made[key]);
    }
    for (key, value) in made.iter().filter(|(key, _)| asked.get(*key).is_none_or(Value::is_null)) {
        assert!(is_nothing(value) || ITS_OWN.contains(&key.as_str()), "nobody asked for {key}: {value}");
    }
}

/// It comes as it was named, and to nobody else.
pub async fn a_named_device_is_there_and_no_other(bench: Arc<Bench>) {
    let mut plan = bench.plan(41, &["write", "/dev/dsg0", "x"]);
    plan.devices = vec![HostDevice { host: "/dev/full".to_owned(), container: "/dev/dsg0".to_owned() }];
    let run = bench.run(&plan).await;
    assert_eq!(run.exit.code, 99, "{}: nothing can be written to a full device: {}", bench.kind, run.text());
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(said.contains("os error 28"), "{}: {said}", bench.kind);
    bench.remove(&run.id).await;
    let run = bench.run(&bench.plan(42, &["place", "/dev/dsg0"])).await;
    assert_ne!(run.exit.code, 0, "{}: one that named none has none", bench.kind);
    bench.remove(&run.id).await;
}

/// Programs that start others without an end, and those that leave the dead lying about.
pub async fn forks_end_at_the_limit(bench: Arc<Bench>) {
    for (attempt, what) in [(43, ["sleep", "60000"]), (44, ["exit", "0"])] {
        let mut plan = bench.plan(attempt, &["forks", "100"]);
        plan.command.extend(what.map(str::to_owned));
        plan.pids = Some(16);
        let run = bench.run(&plan).await;
        let text = run.text();
        let count = text.trim().strip_prefix("forks ended at ").and_then(|rest| rest.split(':').next()?.parse().ok());
        assert!(count.is_some_and(|count: u64| (4..16).contains(&count)), "{} {what:?}: {text}", bench.kind);
        bench.remove(&run.id).await;
    }
}

/// As far as it was asked for: an engine may say more of a part, as long as that is nothing.
fn same(asked: &Value, made: &Value) -> bool {
    match (asked, made) {
        (Value::Object(asked), Value::Object(made)) => {
            let mut all = asked.iter().filter(|(_, value)| !is_nothing(value));
            let mut more = made.iter().filter(|(key, _)| !asked.contains_key(*key));
            all.all(|(key, value)| made.get(key).is_some_and(|made| same(value, made)))
                && more.all(|(_, value)| is_nothing(value))
        }
        (Value::Array(asked), Value::Array(made)) => {
            asked.len() == made.len() && asked.iter().zip(made).all(|(asked, made)| same(asked, made))
        }
        (asked, made) => asked == made || (is_nothing(asked) && is_nothing(made)),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_nothing),
        Value::Object(map) => map.values().all(is_nothing),
    }
}
