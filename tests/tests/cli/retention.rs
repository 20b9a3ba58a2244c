//! What a rule removed is told by every command that would have shown it.
use anyhow::{Result, ensure};

use super::desk::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_removed_is_told_and_running_all_of_it_again_brings_it_back() -> Result<()> {
    let mut desk = Desk::logged_in(&["ada"]).await?;
    let outputs = "chunks: {count: 2}\noutputs: [{name: table, path: /out/t.csv}]";
    let job = desk.submit("sky", r#"lines=2, "write=/out/t.csv=a\n1\n""#, outputs).await?;
    desk.dsg(&["wait", &job]).await?.ends_with(0)?;
    desk.dsg(&["fetch", &job, "-o", "before"]).await?.ends_with(0)?;

    // The server begins anew with rules, looks at once what is due, and removes it.
    let rules = [("DSG_KEEP_LOGS", "0s"), ("DSG_KEEP_OUTPUTS", "0s")];
    desk.lab.environment.extend(rules.map(|(name, value)| (name.to_owned(), value.to_owned())));
    desk.lab.kill_server()?;
    desk.lab.start_server().await?;
    let said = desk.shows(&["show", &job], |said| said.out.contains("--keep-outputs")).await?;
    ensure!(said.out.contains("2 logs") && said.out.contains("older than 0s (--keep-logs)"), "{said:?}");
    ensure!(said.out.contains("1 file, "), "both chunks left the same bytes: {said:?}");
    let chunk = format!("{job}/0");
    let said = desk.dsg(&["show", &chunk]).await?.ends_with(0)?;
    ensure!(said.out.contains("outputs of its job removed 20"), "{said:?}");
    for words in [vec!["logs", &chunk], vec!["logs", &chunk, "-f"], vec!["logs", &chunk, "--raw"]] {
        let said = desk.dsg(&words).await?.ends_with(5)?;
        ensure!(said.err.contains("was removed on 20") && said.err.contains("(--keep-logs)"), "{said:?}");
    }
    let said = desk.dsg(&["fetch", &job, "-o", "after"]).await?.ends_with(5)?;
    ensure!(said.err.contains("were removed 20") && said.err.contains("older than 0s (--keep-outputs)"), "{said:?}");
    ensure!(!desk.path("after").exists(), "nothing half is left");
    let said = desk.dsg(&["retry", &chunk]).await?.ends_with(8)?;
    ensure!(said.err.contains("run all of it again"), "{said:?}");
    ensure!(desk.lab.log("server.log").matches("removed by rule").count() == 2, "{}", desk.lab.log("server.log"));

    desk.dsg(&["retry", &job, "--all"]).await?.ends_with(0)?;
    desk.dsg(&["wait", &job]).await?.ends_with(0)?;
    desk.dsg(&["fetch", &job, "-o", "again"]).await?.ends_with(0)?;
    ensure!(desk.read("again/main/1/table.csv")? == desk.read("before/main/1/table.csv")?);
    desk.dsg(&["logs", &chunk]).await?.ends_with(0)?;
    Ok(())
}
