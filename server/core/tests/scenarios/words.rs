//! `key=value` words of scenario lines, and the things that they describe.
use std::collections::BTreeMap;

use dsg_core::{Breaker, GatherPolicy, Needs, StagePolicy, Submission};
use dsg_schemas::policy::{Most, MountNeed, MountRule, Policy};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::{Arch, Backoff, Constraints, ExitCodes, Placement, Retry, RetryAction, RetryRule, Scale, When};
use dsg_schemas::units::{Bytes, Millis};
use dsg_schemas::wire::{Check, Facts, Gpu, Work};

pub struct Words<'a>(pub Vec<&'a str>);

impl<'a> Words<'a> {
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
    pub fn all(&self, key: &str) -> Vec<&'a str> {
        self.0.iter().filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).collect()
    }
    pub fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key).map(|text| text.parse().unwrap_or_else(|_| panic!("{key}={text} is no number")))
    }
    pub fn list(&self, key: &str) -> Vec<String> {
        self.get(key).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
    }
    pub fn bytes(&self, key: &str, default: &str) -> u64 {
        self.get(key).unwrap_or(default).parse::<Bytes>().expect("a size").0
    }
    fn labels(&self, key: &str) -> BTreeMap<String, String> {
        let pairs = self.list(key).into_iter().map(|pair| {
            let (key, value) = pair.split_once(':').expect("key:value");
            (key.to_owned(), value.to_owned())
        });
        pairs.collect()
    }
    fn arch(&self, key: &str) -> Option<Arch> {
        self.get(key).map(|arch| if arch == "arm64" { Arch::Arm64 } else { Arch::Amd64 })
    }
    pub fn duration(&self, key: &str) -> Option<u64> {
        self.get(key).map(|text| text.parse::<Millis>().expect("a duration").0)
    }
}

pub fn milli_cpus(text: &str) -> u64 {
    (text.parse::<f64>().expect("cpus") * 1000.0) as u64
}

pub fn facts(words: &Words) -> Facts {
    let gpus = words.number("gpus").unwrap_or(0u32);
    let gpu = |index| Gpu {
        uuid: format!("gpu{index}"),
        index,
        model: words.get("model").unwrap_or("Tesla T4").replace('_', " "),
        memory_bytes: words.bytes("gpu_memory", "16GiB"),
        driver: None,
        compute_capability: Some(words.get("capability").unwrap_or("7.5").to_owned()),
        unhealthy: (words.number("sick_gpu") == Some(index)).then(|| "fell off the bus".to_owned()),
        shares: words.number("shares").unwrap_or(0),
    };
    Facts {
        arch: words.arch("arch").or(Some(Arch::Amd64)),
        cpus_milli: milli_cpus(words.get("cpus").unwrap_or("4")),
        memory_bytes: words.bytes("memory", "16GiB"),
        disk_bytes: words.bytes("disk", "100GiB"),
        gpus: (0..gpus).map(gpu).collect(),
        tags: words.list("tags"),
        labels: words.labels("labels"),
        policy: rules(words),
        ends_ms: words.duration("lives").map(|lives| crate::play::START + lives),
        checks: words.list("fails").iter().map(|what| failed(what)).collect(),
        ..Facts::default()
    }
}

/// `fails=memory,network,mount:data`: a check of that name failed, and keeps that work away.
fn failed(what: &str) -> Check {
    let blocks = match what.split_once(':') {
        Some(("device", device)) => Work::Device(device.to_owned()),
        Some((_, mount)) => Work::Mount(mount.to_owned()),
        None => match what {
            "everything" => Work::Everything,
            "memory" => Work::Memory,
            "network" => Work::Network,
            "no_network" => Work::NoNetwork,
            "gpus" => Work::Gpus,
            other => panic!("fails={other} is no kind of work"),
        },
    };
    let name = what.replace(':', " ");
    Check { name, passed: false, note: "it was seen".to_owned(), blocks: Some(blocks), ..Check::default() }
}

/// `allow.images=dsg-*,x`, `allow.networks=none`, `has.mounts=data,scratch:w`, `has.devices=fuse`, `most.cpus=2`, `most.memory=1GiB`, `most.run=1h`.
fn rules(words: &Words) -> Policy {
    let given = |key: &str| words.get(key).map(|_| words.list(key));
    let rule = |text: &String| {
        let need = mount_need(text);
        (need.name, MountRule { write: need.write })
    };
    Policy {
        secrets: words.has("allow.no_secrets").then_some(false),
        images: given("allow.images"),
        networks: given("allow.networks"),
        mounts: words.list("has.mounts").iter().map(rule).collect(),
        devices: words.list("has.devices"),
        most: Most {
            cpus_milli: words.get("most.cpus").map(milli_cpus),
            memory_bytes: words.get("most.memory").map(|_| words.bytes("most.memory", "")),
            disk_bytes: words.get("most.disk").map(|_| words.bytes("most.disk", "")),
            run_ms: words.duration("most.run"),
            pids: None,
        },
        capabilities: None,
    }
}

/// `data`, or `data:w` to write there.
fn mount_need(text: &str) -> MountNeed {
    let (name, write) = text.strip_suffix(":w").map_or((text, false), |name| (name, true));
    MountNeed { name: name.to_owned(), write }
}

fn placement(words: &Words, of: &str) -> Placement {
    Placement {
        arch: words.arch(&format!("{of}.arch")),
        runners: words.list(&format!("{of}.runners")),
        tags: words.list(&format!("{of}.tags")),
        labels: words.labels(&format!("{of}.labels")),
    }
}

pub fn policy(words: &Words) -> StagePolicy {
    StagePolicy {
        chunks: words.number("chunks").unwrap_or(1),
        needs: Needs {
            cpus_milli: milli_cpus(words.get("cpus").unwrap_or("1")),
            memory_bytes: words.bytes("memory", "1GiB"),
            disk_bytes: words.bytes("disk", "0B"),
            gpus: words.number("gpus").unwrap_or(0),
            gpu_models: words.list("model"),
            gpu_min_memory_bytes: words.bytes("gpu_memory", "0B"),
            gpu_min_capability: words
                .get("capability")
                .and_then(|text| text.split_once('.'))
                .map(|(major, minor)| (major.parse().expect("major"), minor.parse().expect("minor"))),
            gpu_share: words.has("share"),
            network: words.has("bridge"),
            image: words.get("image").unwrap_or("busybox").to_owned(),
            mounts: words.list("mounts").iter().map(|text| mount_need(text)).collect(),
            devices: words.list("devices"),
            run_ms: words.duration("run_timeout"),
            secrets: words.list("secrets"),
        },
        constraints: Constraints {
            require: placement(words, "require"),
            avoid: placement(words, "avoid"),
            prefer: placement(words, "prefer"),
        },
        retry: Retry {
            limit: words.number("retries").unwrap_or(0),
            backoff: Backoff {
                delay: Millis(words.duration("backoff").unwrap_or(0)),
                factor: 2.0,
                max_delay: Millis(words.duration("max_delay").unwrap_or(60_000)),
                jitter: words.has("jitter"),
            },
            avoid_failed_runners: words.has("avoid_failed"),
            rules: words.all("rule").into_iter().map(rule).collect(),
        },
        parallelism: words.number("parallelism"),
        per_runner: words.number("per_runner"),
        queue_timeout_ms: words.duration("queue_timeout"),
        run_timeout_ms: words.duration("run_timeout"),
        max_memory_bytes: words.get("max_memory").map(|_| words.bytes("max_memory", "")),
        required_outputs: words.list("outputs"),
        breaker: Breaker {
            canary: words.number("canary"),
            max_failed: words.number("max_failed"),
            fail_fast: words.has("fail_fast"),
        },
    }
}

/// `rule=exit:64..78:retry:2`, `rule=oom::requeue`, `rule=exit:1:retry::700ms`, `rule=oom::retry:3::2.0`: reason, codes, action, limit,
/// delay, scale (of memory after `oom`, else of the time to run).
fn rule(text: &str) -> RetryRule {
    let parts: Vec<&str> = text.split(':').collect();
    let reason = EndReason::ALL.into_iter().find(|reason| reason.word() == parts[0]).expect("a reason");
    let codes = parts.get(1).filter(|codes| !codes.is_empty()).map(|codes| {
        let (first, last) = codes.split_once("..").unwrap_or((codes, codes));
        ExitCodes { first: first.parse().expect("a code"), last: last.parse().expect("a code") }
    });
    let action = match parts.get(2).copied() {
        Some("retry") => RetryAction::Retry,
        Some("requeue") => RetryAction::Requeue,
        Some("fail") => RetryAction::Fail,
        Some("fail_job") => RetryAction::FailJob,
        Some("accept") => RetryAction::Accept,
        other => panic!("no action {other:?}"),
    };
    let limit = parts.get(3).filter(|limit| !limit.is_empty()).map(|limit| limit.parse().expect("a limit"));
    let delay = parts.get(4).filter(|delay| !delay.is_empty()).map(|delay| delay.parse().expect("a delay"));
    let when = When { exit_codes: codes.into_iter().collect(), reason: vec![reason] };
    let scale = parts.get(5).filter(|scale| !scale.is_empty()).map(|factor| {
        let factor = Some(factor.parse().expect("a factor"));
        match reason {
            EndReason::Oom => Scale { memory: factor, run: None },
            _ => Scale { memory: None, run: factor },
        }
    });
    RetryRule { when, action, limit, delay, scale }
}

/// `gather=steps`, `run`, `both` or `nothing`; what its container needs follows as `run.cpus=2`, `run.retries=1`, …
pub fn submission(words: &Words) -> Submission {
    let of_run = || Words(words.0.iter().filter_map(|word| word.strip_prefix("run.")).collect());
    let gather = words.get("gather").map(|kind| GatherPolicy {
        partial: words.has("partial") || words.has("partial_steps"),
        run_partial: words.has("partial"),
        server_steps: matches!(kind, "steps" | "both"),
        run: matches!(kind, "run" | "both").then(|| policy(&of_run())),
    });
    Submission {
        request: words.get("request").map(str::to_owned),
        name: words.0.first().copied().unwrap_or("job").to_owned(),
        owner: words.get("owner").unwrap_or("mara").to_owned(),
        labels: BTreeMap::new(),
        image: words.get("image").unwrap_or("busybox").to_owned(),
        priority: words.number("priority").unwrap_or(50),
        hold: words.has("hold"),
        job_timeout_ms: words.duration("job_timeout"),
        main: policy(words),
        gather,
        retention: Default::default(),
        spec: Vec::new().into(),
    }
}
