//! Start orders: everything that a runner must know of one attempt, for the job's chunks and for its gather.
use std::collections::BTreeMap;

use serde_json::Value;

use super::chunk::Scene;
use super::expand::FILES;
use super::job::{Gather, GatherMode, Mount, Output, Resources, Retry, RetryAction, Secret, Timeouts};
use super::plan::Plan;
use super::rules;
use crate::api::Upload;
use crate::ids::{AttemptId, ChunkId, GATHER, JobId, stage_name};
use crate::reason::EndReason;
use crate::wire::{
    Accept, InputFile, InputOrder, Limits, MountOrder, OutputOrder, RunTimeouts, SecretOrder, StartOrder, StoredFile,
};

/// What the gather chunk finds: the manifest and the joined files, each already a blob, and the accepted outputs of the chunks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    pub manifest: Option<Upload>,
    /// `name` is the gather step's `output`.
    pub joined: Vec<StoredFile>,
    /// By chunk; none of them where they are more than [`GATHER_FILES`](crate::limits::GATHER_FILES).
    pub chunks: Vec<(u32, Vec<StoredFile>)>,
}

/// What this very attempt gets: its devices, and what it has grown to after attempts that had too little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub gpus: Vec<String>,
    /// In place of `resources.memory`.
    pub memory_bytes: Option<u64>,
    /// In place of `timeouts.run`.
    pub run_ms: Option<u64>,
}

/// What differs between a job's own container and that of its gather.
struct Part<'p> {
    image: &'p str,
    entrypoint: Option<&'p Vec<String>>,
    command: Option<&'p Vec<String>>,
    script: Option<&'p String>,
    env: BTreeMap<String, String>,
    resources: &'p Resources,
    timeouts: &'p Timeouts,
    retry: &'p Retry,
    outputs: &'p [Output],
}

impl Plan {
    /// `gathered` is looked at for the gather chunk only.
    pub fn start_order(
        &self,
        job: JobId,
        chunk: ChunkId,
        attempt: AttemptId,
        number: u32,
        given: Given,
        gathered: &Gathered,
    ) -> StartOrder {
        let step = self.job.gather.iter().find(|step| step.mode == GatherMode::Run && chunk.stage == GATHER);
        let (scene, items) = match step {
            Some(_) => (
                Scene { plan: self, index: 0, count: 1, first: Value::Null, last: Value::Null, job: Some(job) },
                Vec::new(),
            ),
            None => (self.scene(chunk.index, Some(job)), self.chunk_items(chunk.index)),
        };
        let part = match step {
            Some(step) => self.gather_part(step),
            None => self.main_part(),
        };
        let mut inputs = self.inputs();
        match step {
            Some(_) => inputs.extend(self.gathered_inputs(gathered)),
            None if self.job.chunks.files.is_some() => inputs.push(self.files_of(&items)),
            None => {}
        }
        let mut env = self.env(&scene, &part.env, stage_name(chunk.stage));
        env.insert("DSG_JOB_ID".to_owned(), job.to_string());
        env.insert("DSG_ATTEMPT".to_owned(), number.to_string());
        let fill = |words: &Vec<String>| words.iter().map(|word| scene.fill(word)).collect::<Vec<String>>();
        StartOrder {
            attempt,
            chunk,
            number,
            job_name: self.job.name.clone(),
            image: part.image.to_owned(),
            pushed: super::pushed_name(part.image).and_then(|name| self.images.get(&name).cloned()),
            pull_policy: self.job.pull_policy,
            entrypoint: part.entrypoint.map(fill),
            command: part.command.map(fill).unwrap_or_default(),
            script: part.script.cloned(),
            workdir: self.job.workdir.clone(),
            user: self.job.user.clone(),
            env,
            network: self.job.network.word().to_owned(),
            timeouts: RunTimeouts {
                run_ms: given.run_ms.or(part.timeouts.run.map(|time| time.0)),
                ..timeouts(part.timeouts)
            },
            limits: limits(part.resources, given),
            inputs,
            mounts: self.job.mounts.iter().map(mount).collect(),
            devices: self.job.devices.clone(),
            secrets: self.job.secrets.iter().map(secret).collect(),
            outputs: part.outputs.iter().map(|output| order_of(output, &scene)).collect(),
            accept: accept(part.retry),
            items: items.iter().map(|item| format!("{item}\n")).collect(),
        }
    }

    fn main_part(&self) -> Part<'_> {
        let job = &self.job;
        Part {
            image: &job.image,
            entrypoint: job.entrypoint.as_ref(),
            command: job.command.as_ref(),
            script: job.script.as_ref(),
            env: job.env.clone(),
            resources: &job.resources,
            timeouts: &job.timeouts,
            retry: &job.retry,
            outputs: &job.outputs,
        }
    }

    /// As the job's own where the step says nothing; an image of its own has an entry point of its own. Of the job's
    /// environment only that goes along which does not speak of chunks.
    fn gather_part<'p>(&'p self, step: &'p Gather) -> Part<'p> {
        let job = &self.job;
        let mut env: BTreeMap<String, String> = job
            .env
            .iter()
            .filter(|(_, value)| !value.contains("{{"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        env.extend(step.env.clone());
        Part {
            image: step.image.as_ref().unwrap_or(&job.image),
            entrypoint: job.entrypoint.as_ref().filter(|_| step.image.is_none() && step.script.is_none()),
            command: step.command.as_ref(),
            script: step.script.as_ref(),
            env,
            resources: step.resources.as_ref().unwrap_or(&job.resources),
            timeouts: step.timeouts.as_ref().unwrap_or(&job.timeouts),
            retry: step.retry.as_ref().unwrap_or(&job.retry),
            outputs: &step.outputs,
        }
    }

    fn inputs(&self) -> Vec<InputOrder> {
        let of = |from: &str| {
            let folder = from.strip_prefix("upload:").filter(|path| path.ends_with('/')).unwrap_or_default().to_owned();
            let whole = folder.is_empty();
            rules::uploads_of(from, &self.uploads)
                .map(|(path, upload)| {
                    let under = if whole { "" } else { path.strip_prefix(&folder).unwrap_or(path) };
                    InputFile { under: under.to_owned(), size: upload.size, sha256: upload.sha256.clone() }
                })
                .collect()
        };
        let order = |input: &super::job::Input| {
            let path = input.path.strip_suffix('/').unwrap_or(&input.path).to_owned();
            InputOrder { name: input.name.clone(), path, files: of(&input.from) }
        };
        self.job.inputs.iter().map(order).collect()
    }

    /// The files of this chunk, of a `files:` source.
    fn files_of(&self, items: &[Value]) -> InputOrder {
        let file = |item: &Value| {
            let under = item.get("from")?.as_str()?;
            let upload = self.uploads.get(under)?;
            Some(InputFile { under: under.to_owned(), size: upload.size, sha256: upload.sha256.clone() })
        };
        InputOrder { name: "files".to_owned(), path: FILES.to_owned(), files: items.iter().filter_map(file).collect() }
    }

    fn gathered_inputs(&self, gathered: &Gathered) -> Vec<InputOrder> {
        let Gathered { manifest, joined, chunks } = gathered;
        let mut inputs = Vec::new();
        if let Some(Upload { size, sha256 }) = manifest {
            let file = InputFile { under: String::new(), size: *size, sha256: sha256.clone() };
            inputs.push(InputOrder {
                name: "manifest".to_owned(),
                path: "/in/manifest.jsonl".to_owned(),
                files: vec![file],
            });
        }
        for StoredFile { name, file: _, size, sha256 } in joined {
            let file = InputFile { under: String::new(), size: *size, sha256: sha256.clone() };
            inputs.push(InputOrder { name: name.clone(), path: format!("/in/joined/{name}"), files: vec![file] });
        }
        let mut files = Vec::new();
        for (index, outputs) in chunks {
            for StoredFile { name, file, size, sha256 } in outputs {
                let glob =
                    self.job.outputs.iter().any(|output| output.name == *name && rules::has_wildcard(&output.path));
                let several = glob || outputs.iter().filter(|other| other.name == *name).count() > 1;
                let under = if several { format!("{index}/{name}/{file}") } else { format!("{index}/{name}") };
                files.push(InputFile { under, size: *size, sha256: sha256.clone() });
            }
        }
        if !files.is_empty() {
            inputs.push(InputOrder { name: "chunks".to_owned(), path: "/in/chunks".to_owned(), files });
        }
        inputs
    }
}

fn secret(secret: &Secret) -> SecretOrder {
    SecretOrder { name: secret.name.clone(), path: secret.path() }
}

fn mount(mount: &Mount) -> MountOrder {
    let Mount { name, path, write } = mount;
    MountOrder { name: name.clone(), path: path.strip_suffix('/').unwrap_or(path).to_owned(), write: *write }
}

fn order_of(output: &Output, scene: &Scene<'_>) -> OutputOrder {
    OutputOrder { name: output.name.clone(), path: scene.fill_path(&output.path), required: output.required }
}

fn limits(resources: &Resources, given: Given) -> Limits {
    let Resources { cpus, memory, disk, shm_size, gpus: _, max: _ } = resources;
    Limits {
        cpus_milli: (cpus * 1000.0).round() as u64,
        memory_bytes: given.memory_bytes.unwrap_or(memory.0),
        shm_bytes: shm_size.map(|size| size.0),
        disk_bytes: disk.map_or(0, |size| size.0),
        gpus: given.gpus,
    }
}

/// The first rule that matches decides, so that each end is asked for by itself.
fn accept(retry: &Retry) -> Accept {
    let accepts = |reason, code| {
        retry.first_match(reason, code).is_some_and(|(_, rule)| match rule.action {
            RetryAction::Accept => true,
            RetryAction::Retry | RetryAction::Requeue | RetryAction::Fail | RetryAction::FailJob => false,
        })
    };
    let mut exit_codes: Vec<(i32, i32)> = Vec::new();
    for code in (1..=255).filter(|code| accepts(EndReason::Exit, Some(*code))) {
        match exit_codes.last_mut() {
            Some((_, last)) if *last + 1 == code => *last = code,
            Some(_) | None => exit_codes.push((code, code)),
        }
    }
    let others = EndReason::ALL.into_iter().filter(|reason| !matches!(reason, EndReason::Succeeded | EndReason::Exit));
    Accept { exit_codes, reasons: others.filter(|reason| accepts(*reason, None)).collect() }
}

/// `queue` and `job` are the server's to watch.
fn timeouts(timeouts: &Timeouts) -> RunTimeouts {
    let Timeouts { run, stall, queue: _, job: _, grace } = timeouts;
    RunTimeouts { run_ms: run.map(|time| time.0), stall_ms: stall.map(|time| time.0), grace_ms: grace.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Uploads;
    use crate::ids::MAIN;
    use crate::spec::{Sources, check};

    const TEXT: &str = r#"
name: tiles
image: fit:1
entrypoint: [/bin/fit]
command: [fit, "{{item.path}}", "{{job.id}}"]
workdir: /data
env: {WHERE: "{{chunk.index}}", EVERYWHERE: x}
resources: {cpus: 1.5, memory: 2GiB, shm_size: 64MiB}
timeout: 30m
inputs:
  - {name: atlas, from: "upload:atlas/", path: /in/atlas/}
  - {name: one, from: "upload:one.txt", path: /in/one.txt}
outputs:
  - {name: table, path: "/out/{{item.stem}}.csv"}
  - {name: parts, path: "/out/*.npy", required: false}
chunks: {files: {glob: "upload:raw/*"}}
gather:
  - {mode: csv, from: table, output: joined}
  - {mode: run, image: plot:1, command: [plot, "{{job.id}}"], outputs: [{name: figure, path: /out/f.svg}]}
"#;

    fn upload(size: u64) -> Upload {
        Upload { size, sha256: format!("{size:064x}") }
    }

    fn stored(name: &str, file: &str, size: u64) -> StoredFile {
        StoredFile { name: name.to_owned(), file: file.to_owned(), size, sha256: format!("{size:064x}") }
    }

    fn order(stage: u16, index: u32, gathered: &Gathered) -> StartOrder {
        let files = ["atlas/a.dat", "atlas/b/c.dat", "one.txt", "raw/t1.tif", "raw/t2.tif", "unused.txt"];
        let uploads: Uploads = files.iter().zip(1..).map(|(path, size)| ((*path).to_owned(), upload(size))).collect();
        let sources =
            Sources { uploads: &uploads, read: &|_| Err(std::io::Error::other("nothing is read")), secrets: None };
        let plan = check(TEXT, &BTreeMap::new(), &sources).expect("a sound job");
        assert!(!plan.uploads.contains_key("unused.txt"));
        let chunk = ChunkId { job: JobId(42), stage, index };
        plan.start_order(JobId(42), chunk, AttemptId(7), 2, given(), gathered)
    }

    fn given() -> Given {
        Given { gpus: vec!["GPU-a".to_owned()], ..Given::default() }
    }

    #[test]
    fn what_has_grown_is_given_in_place_of_what_the_file_says() {
        let sources = Sources {
            uploads: &Uploads::new(),
            read: &|_| Err(std::io::Error::other("nothing is read")),
            secrets: None,
        };
        let text = "name: n\nimage: i\ncommand: [c]\nresources: {memory: 1GiB}\ntimeout: 1m\nchunks: {count: 1}\n";
        let plan = check(text, &BTreeMap::new(), &sources).expect("a sound job");
        let chunk = ChunkId { job: JobId(1), stage: MAIN, index: 0 };
        let order = |given| plan.start_order(JobId(1), chunk, AttemptId(1), 1, given, &Gathered::default());
        let plain = order(Given::default());
        assert_eq!((plain.limits.memory_bytes, plain.timeouts.run_ms), (1 << 30, Some(60_000)));
        let grown = order(Given { memory_bytes: Some(3 << 30), run_ms: Some(90_000), gpus: Vec::new() });
        assert_eq!((grown.limits.memory_bytes, grown.timeouts.run_ms), (3 << 30, Some(90_000)));
        assert_eq!(grown.timeouts.grace_ms, plain.timeouts.grace_ms);
    }

    fn files(order: &StartOrder) -> Vec<String> {
        let each = |input: &InputOrder| {
            let whole = |file: &InputFile| format!("{} {} {} {}", input.name, input.path, file.under, file.size);
            input.files.iter().map(whole).collect::<Vec<_>>()
        };
        order.inputs.iter().flat_map(each).collect()
    }

    #[test]
    fn a_chunk_gets_all_it_needs_and_no_other_chunks_files() {
        let order = order(MAIN, 1, &Gathered::default());
        assert_eq!(order.command, ["fit", "/in/files/raw/t2.tif", "42"]);
        assert_eq!(order.entrypoint, Some(vec!["/bin/fit".to_owned()]));
        assert_eq!(order.outputs[0].path, "/out/t2.csv");
        assert!(order.outputs[0].required && !order.outputs[1].required);
        assert_eq!(
            files(&order),
            [
                "atlas /in/atlas a.dat 1",
                "atlas /in/atlas b/c.dat 2",
                "one /in/one.txt  3",
                "files /in/files raw/t2.tif 5"
            ]
        );
        let env = |name: &str| order.env.get(name).map(String::as_str);
        assert_eq!(env("WHERE"), Some("1"));
        assert_eq!((env("DSG_JOB_ID"), env("DSG_ATTEMPT"), env("DSG_STAGE")), (Some("42"), Some("2"), Some("main")));
        let limits = Limits {
            cpus_milli: 1500,
            memory_bytes: 2 << 30,
            shm_bytes: Some(64 << 20),
            disk_bytes: 0,
            gpus: vec!["GPU-a".to_owned()],
        };
        assert_eq!(order.limits, limits);
        assert_eq!(order.timeouts, RunTimeouts { run_ms: Some(1_800_000), stall_ms: None, grace_ms: 10_000 });
        assert_eq!(order.items.lines().count(), 1);
    }

    #[test]
    fn the_first_rule_that_matches_says_what_is_accepted() {
        let rules = serde_json::json!({"rules": [
            {"when": {"exit_codes": [4]}, "action": "retry", "limit": 2},
            {"when": {"exit_codes": ["3..6", 9]}, "action": "accept"},
            {"when": {"reason": ["exit", "oom"]}, "action": "fail"},
            {"when": {"reason": ["exit", "oom", "stalled"]}, "action": "accept"},
        ]});
        let accept = accept(&serde_json::from_value(rules).expect("rules"));
        assert_eq!(accept.exit_codes, [(3, 3), (5, 6), (9, 9)]);
        assert_eq!(accept.reasons, [EndReason::Stalled]);
        for (reason, code, taken) in [
            (EndReason::Exit, Some(5), true),
            (EndReason::Exit, Some(4), false),
            (EndReason::Exit, None, false),
            (EndReason::Stalled, Some(143), true),
            (EndReason::Oom, Some(5), false),
        ] {
            assert_eq!(accept.takes(reason, code), taken, "{reason} {code:?}");
        }
    }

    #[test]
    fn the_gather_finds_manifest_joined_files_and_every_chunks_outputs() {
        let chunk = |index, size| (index, vec![stored("table", "t.csv", size), stored("parts", "p.npy", size + 1)]);
        let gathered = Gathered {
            manifest: Some(upload(9)),
            joined: vec![stored("joined", "joined.csv", 8)],
            chunks: vec![chunk(0, 10), chunk(1, 20)],
        };
        let order = order(GATHER, 0, &gathered);
        assert_eq!((order.image.as_str(), &order.entrypoint), ("plot:1", &None));
        assert_eq!(order.command, ["plot", "42"]);
        assert_eq!(
            files(&order)[3..],
            [
                "manifest /in/manifest.jsonl  9",
                "joined /in/joined/joined  8",
                "chunks /in/chunks 0/table 10",
                "chunks /in/chunks 0/parts/p.npy 11",
                "chunks /in/chunks 1/table 20",
                "chunks /in/chunks 1/parts/p.npy 21",
            ]
        );
        assert_eq!(order.env.get("DSG_STAGE").map(String::as_str), Some("gather"));
        assert_eq!(order.env.get("EVERYWHERE").map(String::as_str), Some("x"));
        assert!(!order.env.contains_key("WHERE") && !order.env.contains_key("DSG_ITEM"));
        assert_eq!(order.items, "");
        assert_eq!(order.outputs[0].name, "figure");
    }
}
