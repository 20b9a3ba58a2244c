//! Commands that only look: queue, explain, jobs, logs; and those that print something to use elsewhere: open, completions.
use anyhow::{Context, Result, ensure};

use super::desk::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_explained_for_people_and_for_programs() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let said = desk.dsg(&["queue"]).await?.ends_with(0)?;
    ensure!(said.out.lines().count() == 1 && said.err == "nothing waits\n", "{said:?}");
    let job = desk.submit("picky", "exit=0", "constraints: {require: {tags: [fast]}}\nchunks: {count: 3}").await?;
    let said = desk.shows(&["queue"], |said| said.out.contains("picky")).await?;
    ensure!(said.out.lines().count() == 2, "one line for the three: {said:?}");
    let rows = desk.dsg(&["queue", "-o", "json"]).await?.ends_with(0)?.json()?["rows"].clone();
    ensure!(rows[0]["waiting"] == 3 && rows[0]["job_name"] == "picky", "{rows}");
    let rows = desk.dsg(&["queue", "-o", "ndjson"]).await?.ends_with(0)?.rows()?;
    ensure!(rows.len() == 1 && rows[0]["explanation"]["never"] == true, "{rows:?}");
    let chunk = format!("{job}/1");
    let said = desk.dsg(&["explain", &chunk]).await?.ends_with(0)?;
    ensure!(said.out.contains("ada") && said.out.contains("fast"), "{said:?}");
    let why = desk.dsg(&["explain", &chunk, "-o", "json"]).await?.ends_with(0)?.json()?;
    ensure!(why["runners"][0]["runner"] == "ada", "{why}");
    desk.dsg(&["explain", &format!("{job}/0-1")]).await?.ends_with(2)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_as_tables_and_as_json() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let job = desk.submit("one", "lines=3, exit=1", "chunks: {count: 1}").await?;
    desk.dsg(&["wait", &job]).await?.ends_with(3)?;
    let said = desk.dsg(&["jobs"]).await?.ends_with(0)?;
    ensure!(said.out.starts_with("job ") && said.out.lines().count() == 2, "{said:?}");
    ensure!(!said.out.contains('\u{1b}'), "there are no colours in a pipe: {said:?}");
    let rows = desk.dsg(&["jobs", "--state", "ended", "--mine", "-o", "json"]).await?.ends_with(0)?.json()?;
    ensure!(rows["rows"][0]["state"] == "failed", "{rows}");
    ensure!(desk.dsg(&["jobs", "--state", "open", "-o", "ndjson"]).await?.rows()?.is_empty());
    let said = desk.dsg(&["show", &format!("{job}/0")]).await?.ends_with(0)?;
    ensure!(said.out.contains("exit 1"), "{said:?}");

    let chunk = format!("{job}/0");
    let log = "line 0\nline 1\nline 2\n";
    for words in [vec!["logs", &chunk], vec!["logs", &chunk, "--raw", "--stdout"], vec!["logs", &chunk, "-f"]] {
        let said = desk.dsg(&words).await?.ends_with(0)?;
        ensure!(said.out == log, "{words:?}: {said:?}");
    }
    let said = desk.dsg(&["logs", &chunk, "--tail", "1", "-o", "ndjson"]).await?.ends_with(0)?;
    ensure!(said.rows()?.len() == 1 && said.rows()?[0]["text"] == "line 2", "{said:?}");
    let said = desk.dsg(&["logs", &job, "-f"]).await?.ends_with(3)?;
    ensure!(said.out.contains("[0@ada] line 2"), "{said:?}");
    Ok(())
}

/// Without a screen the link is printed, and it logs a browser in, once.
#[tokio::test(flavor = "multi_thread")]
async fn open_prints_a_link_that_works_once() -> Result<()> {
    let desk = Desk::logged_in(&[]).await?;
    let said = desk.dsg(&["open"]).await?.ends_with(0)?;
    ensure!(said.out.lines().count() == 1 && said.err.contains("it works once"), "{said:?}");
    let browser = desk.lab.browser()?;
    browser.log_in(said.out.trim(), "/").await?;
    ensure!(browser.status(said.out.trim()).await? == 401, "the link worked twice");
    let printed = desk.dsg(&["open", "--print", "-o", "json"]).await?.ends_with(0)?.json()?;
    browser.log_in(printed["url"].as_str().context("no url")?, "/jobs").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_can_read_its_completions() -> Result<()> {
    let desk = Desk::new(&[]).await?;
    let said = desk.dsg(&["completions", "bash"]).await?.ends_with(0)?;
    desk.put("dsg.bash", &said.out)?;
    let script =
        "source ./dsg.bash && COMP_WORDS=(dsg can) COMP_CWORD=1 && _dsg dsg can dsg && echo \"${COMPREPLY[@]}\"";
    let shell = tokio::process::Command::new("bash").args(["-c", script]).current_dir(desk.path("")).output().await?;
    let answer = String::from_utf8_lossy(&shell.stdout).into_owned();
    ensure!(answer.trim() == "cancel", "{answer:?}, {}", String::from_utf8_lossy(&shell.stderr));
    desk.dsg(&["completions", "cobol"]).await?.ends_with(2)?;
    Ok(())
}
