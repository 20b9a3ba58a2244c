//! Lists runners: what they have, what of it is used, and whether they take work.
use clap::Args;
use dsg_schemas::api::{RunnerState, RunnerView};
use serde_json::Value;

use super::{Context, Shown};
use crate::act;
use crate::client::understand;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::table::{Field, number, print, runner_state, text};
use crate::when;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(_: Arguments, context: &Context) -> Result<Exit, Failure> {
    let rows = act::runner_rows(&context.client().await?).await?;
    context.output.rows(&rows, |output| table(output, &rows, when::now_ms()))?;
    if rows.is_empty() {
        context.output.say("no runner has joined yet; `dsg token join` makes a token for one");
    }
    Ok(Exit::Done)
}

fn table(output: &Output, rows: &[Value], now_ms: u64) -> Result<(), Failure> {
    let runners: Result<Vec<RunnerView>, Failure> =
        rows.iter().map(|row| understand("list the runners", row.clone())).collect();
    let runners = runners?;
    let heading = ["id", "runner", "state", "chunks", "cpus", "memory", "gpus", "engine", "seen"];
    print(output, &heading, runners.iter().map(|runner| row(runner, now_ms)).collect())?;
    for runner in runners.iter().filter(|runner| !runner.why.is_empty() && runner.state != RunnerState::Ready) {
        output.say(&format!("{}: {}", crate::clean::name(&runner.name), crate::clean::name(&runner.why)));
    }
    for runner in &runners {
        for check in runner.facts.checks.iter().filter(|check| !check.passed) {
            let Some(work) = &check.blocks else { continue };
            let said = format!("its self-test failed at {}: {}; it blocks {}", check.name, check.note, work.words());
            output.say(&format!("{}: {}", crate::clean::name(&runner.name), crate::clean::name(&said)));
        }
    }
    for runner in runners.iter().filter(|runner| !runner.facts.policy.is_empty()) {
        let rules = runner.facts.policy.words().join("; ");
        output.say(&format!("{} allows: {}", crate::clean::name(&runner.name), crate::clean::name(&rules)));
    }
    Ok(())
}

fn row(runner: &RunnerView, now_ms: u64) -> Vec<Field> {
    let facts = &runner.facts;
    let usable = facts.gpus.iter().filter(|gpu| gpu.unhealthy.is_none()).count();
    vec![
        number(runner.id),
        text(&runner.name),
        runner_state(runner.state),
        number(runner.holds.len()),
        number(format!("{}/{}", when::cpus(runner.used_cpus_milli), when::cpus(facts.cpus_milli))),
        number(format!("{}/{}", when::size(runner.used_memory_bytes), when::size(facts.memory_bytes))),
        number(format!("{}/{usable}", runner.used_gpus.len())),
        text(format!("{} {}", facts.engine.kind, facts.engine.version)),
        text(when::ago(now_ms, runner.last_seen_ms)),
    ]
}

#[cfg(test)]
mod tests {
    use dsg_schemas::ids::RunnerId;
    use dsg_schemas::policy::Policy;
    use dsg_schemas::wire::{Check, EngineFacts, Facts, Load, Work};

    use super::*;
    use crate::output::Format;
    use crate::output::tests::kept;

    #[test]
    fn the_list_shows_use_and_trouble() {
        let engine = EngineFacts { kind: "docker".to_owned(), version: "27.1".to_owned(), ..EngineFacts::default() };
        let policy = Policy { images: Some(vec!["dsg-*\u{1b}[2J".to_owned()]), ..Policy::default() };
        let check = Check { name: "network".to_owned(), note: "there is none".to_owned(), ..Check::default() };
        let checks = vec![check.clone(), Check { blocks: Some(Work::Network), ..check }];
        let runner = RunnerView {
            id: RunnerId(3),
            name: "ada".to_owned(),
            state: RunnerState::Blocked,
            why: "the disk is full".to_owned(),
            version: "0.1.0".to_owned(),
            facts: Facts { cpus_milli: 8000, memory_bytes: 16 << 30, engine, policy, checks, ..Facts::default() },
            load: Load::default(),
            last_seen_ms: Some(1000),
            used_cpus_milli: 1500,
            used_memory_bytes: 1 << 30,
            used_gpus: Vec::new(),
            shared_gpus: Default::default(),
            holds: Vec::new(),
        };
        let (output, stdout, stderr) = kept(Format::Table);
        table(&output, &[serde_json::to_value(runner).expect("json")], 4000).expect("printed");
        let expected = "\
id  runner  state    chunks   cpus             memory  gpus  engine       seen
 3  ada     blocked       0  1.5/8  1.00 GiB/16.0 GiB   0/0  docker 27.1  3.0s ago
";
        assert_eq!(stdout.text(), expected);
        let expected = "\
ada: the disk is full
ada: its self-test failed at network: there is none; it blocks chunks with a network
ada allows: images dsg-*\\u{1b}[2J
";
        assert_eq!(stderr.text(), expected);
    }
}
