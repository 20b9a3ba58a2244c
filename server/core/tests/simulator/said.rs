//! Submissions, facts and phases in the words that scenarios use for them; the way back is in `scenarios/words.rs`.
use dsg_core::{Breaker, GatherPolicy, StagePolicy, Submission};
use dsg_schemas::spec::{Backoff, Constraints, Retry, RetryAction, RetryRule};
use dsg_schemas::units;
use dsg_schemas::wire::{Facts, Phase};

pub fn submission(submission: &Submission) -> Vec<String> {
    let Submission { request, name, owner, priority, hold, job_timeout_ms, main, gather, .. } = submission;
    let mut words = vec![name.clone(), format!("owner={owner}"), format!("priority={priority}")];
    words.extend(request.as_ref().map(|request| format!("request={}", request.replace(' ', "_"))));
    words.extend(hold.then(|| "hold".to_owned()));
    words.extend(job_timeout_ms.map(|limit| format!("job_timeout={}", units::Millis(limit))));
    words.extend(stage(main));
    if let Some(GatherPolicy { partial, run_partial, server_steps, run }) = gather {
        let kind = match (server_steps, run.is_some()) {
            (true, true) => "both",
            (true, false) => "steps",
            (false, true) => "run",
            (false, false) => "nothing",
        };
        words.push(format!("gather={kind}"));
        words.extend(partial.then(|| if *run_partial { "partial" } else { "partial_steps" }.to_owned()));
        words.extend(run.iter().flat_map(stage).map(|word| format!("run.{word}")));
    }
    words
}

fn stage(policy: &StagePolicy) -> Vec<String> {
    let StagePolicy { chunks, needs, constraints, retry, parallelism, per_runner, breaker, .. } = policy;
    let StagePolicy { queue_timeout_ms, run_timeout_ms, max_memory_bytes, .. } = policy;
    let Constraints { prefer, .. } = constraints;
    let Retry { limit, backoff, avoid_failed_runners, rules } = retry;
    let Backoff { delay, max_delay, jitter, .. } = backoff;
    let Breaker { canary, max_failed, fail_fast } = breaker;
    let mut words = vec![format!("chunks={chunks}"), format!("cpus={}", needs.cpus_milli as f64 / 1000.0)];
    words.push(format!("memory={}", units::Bytes(needs.memory_bytes)));
    words.extend((needs.gpus > 0).then(|| format!("gpus={}", needs.gpus)));
    words.extend(needs.gpu_share.then(|| "share".to_owned()));
    words.extend((!prefer.tags.is_empty()).then(|| format!("prefer.tags={}", prefer.tags.join(","))));
    words.extend((*limit > 0).then(|| format!("retries={limit}")));
    words.extend((delay.0 > 0).then(|| format!("backoff={delay} max_delay={max_delay}")));
    words.extend((delay.0 > 0 && *jitter).then(|| "jitter".to_owned()));
    words.extend(avoid_failed_runners.then(|| "avoid_failed".to_owned()));
    words.extend(rules.iter().map(rule));
    words.extend(parallelism.map(|limit| format!("parallelism={limit}")));
    words.extend(per_runner.map(|limit| format!("per_runner={limit}")));
    words.extend(queue_timeout_ms.map(|limit| format!("queue_timeout={}", units::Millis(limit))));
    words.extend(run_timeout_ms.map(|limit| format!("run_timeout={}", units::Millis(limit))));
    words.extend(max_memory_bytes.map(|most| format!("max_memory={}", units::Bytes(most))));
    words.extend(canary.map(|canary| format!("canary={canary}")));
    words.extend(max_failed.map(|most| format!("max_failed={most}")));
    words.extend(fail_fast.then(|| "fail_fast".to_owned()));
    // Each is a word of its own, also behind `run.`.
    words.iter().flat_map(|words| words.split(' ')).map(str::to_owned).collect()
}

fn rule(rule: &RetryRule) -> String {
    let RetryRule { when, action, limit, delay, scale } = rule;
    let reason = when.reason.first().map_or("exit", |reason| reason.word());
    let codes = when.exit_codes.first().map(|codes| format!("{}..{}", codes.first, codes.last)).unwrap_or_default();
    let action = match action {
        RetryAction::Retry => "retry",
        RetryAction::Requeue => "requeue",
        RetryAction::Fail => "fail",
        RetryAction::FailJob => "fail_job",
        RetryAction::Accept => "accept",
    };
    let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
    let delay = delay.map(|delay| delay.to_string()).unwrap_or_default();
    let scale = scale.and_then(|scale| scale.memory.or(scale.run)).map(|factor| factor.to_string()).unwrap_or_default();
    format!("rule={reason}:{codes}:{action}:{limit}:{delay}:{scale}")
}

pub fn facts(facts: &Facts) -> Vec<String> {
    let mut words = vec![
        format!("cpus={}", facts.cpus_milli as f64 / 1000.0),
        format!("memory={}", units::Bytes(facts.memory_bytes)),
    ];
    words.extend((!facts.gpus.is_empty()).then(|| format!("gpus={}", facts.gpus.len())));
    words.extend(facts.gpus.first().filter(|gpu| gpu.shares > 0).map(|gpu| format!("shares={}", gpu.shares)));
    words.extend((!facts.tags.is_empty()).then(|| format!("tags={}", facts.tags.join(","))));
    words
}

pub fn phase(phase: &Phase) -> String {
    match phase {
        Phase::Preparing { .. } => "preparing".to_owned(),
        Phase::Running { paused: false, .. } => "running".to_owned(),
        Phase::Running { paused: true, .. } => "paused".to_owned(),
        Phase::Storing => "storing".to_owned(),
        Phase::Ended(ended) => {
            let code = ended.exit_code.map(|code| format!(":{code}")).unwrap_or_default();
            let ran = if ended.run_ms > 0 { format!("@{}", units::Millis(ended.run_ms)) } else { String::new() };
            format!("{}{code}{ran}", ended.reason.word())
        }
    }
}
