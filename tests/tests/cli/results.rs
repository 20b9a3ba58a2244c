//! Results on disk, as `dsg fetch` lays them out.
use anyhow::{Result, ensure};

use super::desk::Desk;

/// Two outputs with one file name, a pattern, and a table gathered from one of them.
const OUTPUTS: &str = "chunks: {count: 2}
outputs:
  - {name: train, path: /out/train/loss.csv}
  - {name: test, path: /out/test/loss.csv}
  - {name: plots, path: '/out/plots/*.svg'}
gather: {mode: csv, from: test, output: losses}";
const WRITES: &str =
    r#""write=/out/train/loss.csv=loss\n1\n", "write=/out/test/loss.csv=loss\n2\n", "write=/out/plots/a.svg=<svg/>""#;

#[tokio::test(flavor = "multi_thread")]
async fn results_are_called_what_the_job_calls_them() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let job = desk.submit("outputs", WRITES, OUTPUTS).await?;
    desk.dsg(&["wait", &job]).await?.ends_with(0)?;
    let said = desk.dsg(&["fetch", &job, "-o", "results"]).await?.ends_with(0)?;
    ensure!(said.err.starts_with("7 files"), "{said:?}");
    for index in 0..2 {
        let of = |name: &str| desk.read(&format!("results/main/{index}/{name}"));
        ensure!(of("train.csv")? == "loss\n1\n" && of("test.csv")? == "loss\n2\n", "an output took another's place");
        ensure!(of("plots/a.svg")? == "<svg/>");
    }
    ensure!(desk.read("results/losses.csv")? == "loss\n2\n2\n");
    ensure!(desk.read("results/manifest.jsonl")?.lines().count() == 2);

    let said = desk.dsg(&["fetch", &job, "-o", "results", "--format", "json"]).await?.ends_with(0)?;
    ensure!(said.json()?["fetched"] == 0 && said.json()?["there"] == 7, "nothing is sent twice: {said:?}");
    desk.dsg(&["fetch", &job, "-o", "table", "--only", "gathered"]).await?.ends_with(0)?;
    ensure!(desk.read("table/losses.csv").is_ok() && !desk.path("table/main").exists());
    let other = desk.submit("other", "exit=0", "chunks: {count: 1}").await?;
    desk.dsg(&["wait", &other]).await?.ends_with(0)?;
    let said = desk.dsg(&["fetch", &other, "-o", "results"]).await?.ends_with(8)?;
    ensure!(said.err.contains(&format!("holds the results of job {job}")), "{said:?}");
    Ok(())
}
