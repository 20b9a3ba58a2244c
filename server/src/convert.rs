//! From a checked job to what the core must know of it: the spec's words become needs and policy.
use dsg_core::event::SpecBytes;
use dsg_core::policy::{Breaker, GatherPolicy, Needs, StagePolicy, Submission};
use dsg_schemas::policy::MountNeed;
use dsg_schemas::spec::{Gather, GatherMode, Gpus, Job, Network, Output, Resources, Retry};
use dsg_schemas::units::Millis;

/// Space reserved on the runner where a job does not say: enough for logs and small outputs.
const DISK_BYTES: u64 = 64 << 20;

/// A job on its way into the core. `chunks` is what the expansion counted.
pub fn submission(job: &Job, chunks: u32, owner: String, request: Option<String>, spec: SpecBytes) -> Submission {
    Submission {
        request,
        name: job.name.clone(),
        owner,
        labels: job.labels.clone(),
        image: job.image.clone(),
        priority: job.priority,
        hold: job.hold,
        job_timeout_ms: job.timeouts.job.map(|limit| limit.0),
        main: StagePolicy {
            chunks,
            needs: needs(job, &job.image, &job.resources, job.timeouts.run),
            constraints: job.constraints.clone(),
            retry: job.retry.clone(),
            parallelism: job.chunks.parallelism,
            per_runner: job.chunks.per_runner,
            queue_timeout_ms: job.timeouts.queue.map(|limit| limit.0),
            run_timeout_ms: job.timeouts.run.map(|limit| limit.0),
            max_memory_bytes: job.resources.max.map(|max| max.memory.0),
            required_outputs: required(&job.outputs),
            breaker: Breaker {
                canary: job.chunks.canary.map(|canary| canary.min(chunks)),
                max_failed: job.chunks.max_failed.map(|most| most.of(chunks)),
                fail_fast: job.chunks.fail_fast,
            },
        },
        gather: gather(job),
        retention: job.retention,
        spec,
    }
}

fn required(outputs: &[Output]) -> Vec<String> {
    outputs.iter().filter(|output| output.required).map(|output| output.name.clone()).collect()
}

/// `None` where nothing is gathered. Each step has its own `when`: with chunks missing, those are done that accept it.
fn gather(job: &Job) -> Option<GatherPolicy> {
    let server_steps = job.gather.iter().any(|step| match step.mode {
        GatherMode::Concat | GatherMode::Csv => true,
        GatherMode::Run => false,
    });
    let partial = job.gather.iter().any(|step| step.is_partial(job));
    let run = job.gather.iter().find(|step| step.mode == GatherMode::Run);
    let run_partial = run.is_some_and(|step| step.is_partial(job));
    let run = run.map(|step| run_policy(job, step));
    (!job.gather.is_empty()).then_some(GatherPolicy { partial, run_partial, server_steps, run })
}

/// The one chunk of `mode: run`: its own resources and retry, or the job's; never the job's GPUs, which it did not ask for itself.
fn run_policy(job: &Job, step: &Gather) -> StagePolicy {
    let resources = step.resources.clone().unwrap_or_else(|| Resources { gpus: None, ..job.resources.clone() });
    let retry: Retry = step.retry.clone().unwrap_or_else(|| job.retry.clone());
    let timeouts = step.timeouts.as_ref().unwrap_or(&job.timeouts);
    StagePolicy {
        chunks: 1,
        needs: needs(job, step.image.as_ref().unwrap_or(&job.image), &resources, timeouts.run),
        constraints: job.constraints.clone(),
        retry,
        parallelism: None,
        per_runner: None,
        queue_timeout_ms: timeouts.queue.map(|limit| limit.0),
        run_timeout_ms: timeouts.run.map(|limit| limit.0),
        max_memory_bytes: resources.max.map(|max| max.memory.0),
        required_outputs: required(&step.outputs),
        breaker: Breaker::default(),
    }
}

/// What one chunk reserves. Fractions of a core round up to a thousandth, so that nothing is free.
fn needs(job: &Job, image: &str, resources: &Resources, run: Option<Millis>) -> Needs {
    let none = Gpus::default();
    let gpus = resources.gpus.as_ref().unwrap_or(&none);
    Needs {
        cpus_milli: (resources.cpus * 1000.0).ceil() as u64,
        memory_bytes: resources.memory.0,
        disk_bytes: resources.disk.map_or(DISK_BYTES, |disk| disk.0),
        gpus: gpus.count,
        gpu_models: gpus.model.clone(),
        gpu_min_memory_bytes: gpus.min_memory.map_or(0, |memory| memory.0),
        gpu_min_capability: gpus.min_compute_capability.as_deref().and_then(capability),
        gpu_share: gpus.share && gpus.count > 0,
        network: job.network != Network::None,
        image: image.to_owned(),
        mounts: job.mounts.iter().map(|mount| MountNeed { name: mount.name.clone(), write: mount.write }).collect(),
        devices: job.devices.clone(),
        run_ms: run.map(|limit| limit.0),
        secrets: job.secrets.iter().map(|secret| secret.name.clone()).collect(),
    }
}

fn capability(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use dsg_schemas::spec::MaxFailed;
    use serde_json::json;

    use super::*;

    fn job(more: serde_json::Value) -> Job {
        let mut all = json!({"name": "n", "image": "i", "command": ["c"], "chunks": {"count": 3}});
        let (Some(all_keys), Some(more)) = (all.as_object_mut(), more.as_object()) else { panic!("objects") };
        all_keys.extend(more.clone());
        serde_json::from_value(all).expect("a job")
    }

    #[test]
    fn needs_are_taken_as_written() {
        let job = job(json!({
            "resources": {"cpus": 0.0005, "memory": "1GiB", "gpus": {"count": 2, "model": ["A100"], "min_memory": "16GiB", "min_compute_capability": "8.6", "share": true}},
            "network": "bridge", "timeouts": {"job": "2d", "queue": "1h"}, "priority": 7
        }));
        let submission = submission(&job, 3, "mara".into(), None, Vec::new().into());
        let needs = &submission.main.needs;
        assert_eq!((needs.cpus_milli, needs.memory_bytes, needs.disk_bytes), (1, 1 << 30, DISK_BYTES));
        assert_eq!((needs.gpus, needs.gpu_min_memory_bytes, needs.gpu_min_capability), (2, 16 << 30, Some((8, 6))));
        assert!(needs.network && needs.gpu_share);
        assert_eq!((submission.job_timeout_ms, submission.main.queue_timeout_ms), (Some(172_800_000), Some(3_600_000)));
        assert_eq!((submission.priority, submission.main.chunks, submission.gather), (7, 3, None));
    }

    #[test]
    fn every_word_of_placing_and_retrying_arrives_where_it_belongs() {
        let job = job(json!({
            "chunks": {"count": 30, "parallelism": 11, "per_runner": 5, "canary": 2, "max_failed": "10%", "fail_fast": true},
            "constraints": {"require": {"tags": ["bench"]}, "avoid": {"runners": ["old"]}, "prefer": {"labels": {"disk": "nvme"}}},
            "retry": {"limit": 4, "avoid_failed_runners": true, "rules": [{"when": {"exit_codes": [75]}, "action": "requeue"}]},
            "outputs": [{"name": "table", "path": "/out/t"}, {"name": "extra", "path": "/out/e", "required": false}],
            "gather": [{"mode": "run", "command": ["x"], "retry": {"limit": 9}, "timeouts": {"queue": "1m"},
                        "resources": {"cpus": 8}, "outputs": [{"name": "figure", "path": "/out/f"}]}]
        }));
        let submission = submission(&job, 30, "mara".into(), None, Vec::new().into());
        assert_eq!(submission.main.breaker, Breaker { canary: Some(2), max_failed: Some(3), fail_fast: true });
        let StagePolicy { parallelism, per_runner, constraints, retry, required_outputs, .. } = &submission.main;
        assert_eq!((*parallelism, *per_runner), (Some(11), Some(5)));
        assert_eq!((retry.limit, retry.avoid_failed_runners, retry.rules.len()), (4, true, 1));
        assert_eq!(
            (constraints.require.tags.as_slice(), constraints.avoid.runners.as_slice()),
            (["bench".into()].as_slice(), ["old".into()].as_slice())
        );
        assert_eq!(constraints.prefer.labels["disk"], "nvme");
        assert_eq!(required_outputs, &["table"]);
        let run = submission.gather.and_then(|gather| gather.run).expect("a container");
        assert_eq!((run.parallelism, run.per_runner, run.queue_timeout_ms), (None, None, Some(60_000)));
        assert_eq!((run.retry.limit, run.needs.cpus_milli), (9, 8000));
        assert_eq!((&run.constraints, run.required_outputs.as_slice()), (constraints, ["figure".into()].as_slice()));
    }

    #[test]
    fn each_gather_step_has_its_own_when() {
        let steps = |when: &str| {
            json!({"gather": [
                {"mode": "csv", "from": "o", "output": "t", "when": "partial"},
                {"mode": "run", "command": ["x"], "when": when}
            ], "resources": {"gpus": 1}})
        };
        let both =
            submission(&job(steps("partial")), 3, String::new(), None, Vec::new().into()).gather.expect("a gather");
        assert!(both.partial && both.run_partial && both.server_steps);
        assert_eq!(both.run.expect("a run step").needs.gpus, 0, "the job's GPUs are not the gather's");
        let one =
            submission(&job(steps("succeeded")), 3, String::new(), None, Vec::new().into()).gather.expect("a gather");
        assert!(one.partial && !one.run_partial);
        // Whoever bears failures wants what there is, unless a step says otherwise.
        let mut borne = job(steps("succeeded"));
        borne.gather[0].when = None;
        borne.chunks.max_failed = Some(MaxFailed::Count(1));
        let borne = submission(&borne, 3, String::new(), None, Vec::new().into()).gather.expect("a gather");
        assert!(borne.partial && !borne.run_partial);
    }
}
