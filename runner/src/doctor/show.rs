//! A report for people, and for programs.
use std::fmt::Write;

use super::Report;

/// A table of what was seen, and below it a paragraph for each check that failed.
pub fn table(report: &Report) -> String {
    let passed = report.checks.iter().map(|check| {
        let outcome = if check.passed { "passed" } else { "FAILED" };
        [check.name.clone(), outcome.to_owned(), check.note.clone()]
    });
    let left_out = report.left_out.iter().map(|left| [left.name.clone(), "left out".to_owned(), left.why.clone()]);
    let heading = ["CHECK", "OUTCOME", "WHAT WAS SEEN"].map(str::to_owned);
    let rows: Vec<[String; 3]> = std::iter::once(heading).chain(passed).chain(left_out).collect();
    let width = rows.iter().map(|[name, ..]| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for [name, outcome, note] in rows {
        line(&mut text, &format!("{name:width$}  {outcome:8}  {}", on_one_line(&note)));
    }
    for check in report.checks.iter().filter(|check| !check.passed) {
        let blocks = check.blocks.as_ref().map_or_else(|| "nothing".to_owned(), dsg_schemas::wire::Work::words);
        line(&mut text, &format!("\n{} failed: {}.", check.name, on_one_line(&check.note)));
        line(&mut text, &format!("  It blocks {blocks}."));
        line(&mut text, &format!("  To do: {}.", check.repair));
    }
    text
}

pub fn json(report: &Report) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// Engines answer with whole paragraphs, and with whatever a container wrote.
fn on_one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use dsg_schemas::wire::Facts;

    use super::super::examine;
    use super::*;
    use crate::config::Config;
    use crate::container::Engine;
    use crate::container::pretend::{Fault, PretendEngine};

    async fn shown(faults: &[Fault]) -> Report {
        let state = tempfile::tempdir_in("/dev/shm").expect("dir");
        let secrets = state.path().join("secrets");
        let config = Config { secrets, ..Config::new(state.path().join("none"), Facts::default()) };
        let engine = PretendEngine::new();
        engine.set_disk_free(1 << 40);
        faults.iter().for_each(|fault| engine.plant(*fault));
        let report = examine(&config, Ok(&engine as &dyn Engine), "1").await;
        assert!(!config.state.exists(), "it changes nothing");
        report
    }

    fn same(name: &str, text: &str) {
        let path = format!("{}/src/doctor/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, text).expect("written");
        }
        assert_eq!(text, std::fs::read_to_string(&path).expect("golden"), "{name}; BLESS=1 accepts it");
    }

    #[tokio::test]
    async fn a_report_reads_as_it_should() {
        same("good.txt", &table(&shown(&[]).await));
        let bad = [Fault::MemoryIgnored, Fault::CpusIgnored, Fault::NoBridge];
        same("bad.txt", &table(&shown(&bad).await));
        same("bad.json", &json(&shown(&bad).await).expect("json"));
        same("nothing-runs.txt", &table(&shown(&[Fault::Create]).await));
    }

    #[tokio::test]
    async fn without_an_engine_the_rest_is_looked_at_all_the_same() {
        let state = tempfile::tempdir_in("/dev/shm").expect("dir");
        let secrets = state.path().join("secrets");
        let config = Config { secrets, ..Config::new(state.path().to_owned(), Facts::default()) };
        let report = examine(&config, Err("failed to find a container engine".to_owned()), "1").await;
        let names: Vec<(&str, bool)> = report.checks.iter().map(|check| (check.name.as_str(), check.passed)).collect();
        assert_eq!(names[0], ("engine", false));
        assert_eq!(names[1].0, "disk");
        let left: Vec<&str> = report.left_out.iter().map(|left| left.name.as_str()).collect();
        assert_eq!(left, ["containers", "server"]);
    }
}
