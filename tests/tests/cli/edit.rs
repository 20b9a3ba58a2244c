//! Jobs that the grid or a person holds are edited and go on; limits are set while work goes on.
use anyhow::{Result, ensure};

use super::desk::{Desk, pretend};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_first_chunks_all_fail_is_held_edited_and_goes_on() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    desk.put("job.yaml", &pretend("typo", "exit=127", "chunks: {count: 40}"))?;
    let said = desk.dsg(&["submit", "job.yaml", "--wait"]).await?.ends_with(3)?;
    for words in ["(H4)", "exit 127", "dsg edit", "--release"] {
        ensure!(said.err.contains(words), "{words:?} is missing: {said:?}");
    }
    let shown = desk.dsg(&["show", "1", "-o", "json"]).await?.ends_with(0)?.json()?;
    ensure!(shown["held_for"] == "same_failure" && shown["revision"] == 1, "{shown}");
    ensure!(shown["chunks"]["held"].as_u64() >= Some(20), "most of it was not run in vain: {shown}");

    desk.put("fewer.yaml", &pretend("typo", "exit=0", "chunks: {count: 39}"))?;
    let said = desk.dsg(&["edit", "1", "fewer.yaml"]).await?.ends_with(8)?;
    ensure!(said.err.contains("40 chunks") && said.err.contains("39"), "{said:?}");
    desk.put("wrong.yaml", "name: typo\n")?;
    desk.dsg(&["edit", "1", "wrong.yaml"]).await?.ends_with(7)?;

    desk.put("right.yaml", &pretend("typo", "exit=0", "chunks: {count: 40}"))?;
    desk.dsg(&["edit", "1", "right.yaml", "--release"]).await?.ends_with(0)?;
    desk.dsg(&["wait", "1"]).await?.ends_with(0)?;
    let shown = desk.dsg(&["show", "1", "-o", "json"]).await?.ends_with(0)?.json()?;
    ensure!(shown["chunks"]["succeeded"] == 40 && shown["revision"] == 2, "{shown}");
    let chunk = desk.dsg(&["show", "1/0", "-o", "json"]).await?.ends_with(0)?.json()?;
    let revisions: Vec<_> =
        chunk["history"].as_array().into_iter().flatten().map(|one| one["revision"].as_u64()).collect();
    ensure!(revisions == [Some(1), Some(2)], "each attempt tells by which file it ran: {chunk}");
    desk.dsg(&["edit", "1", "fewer.yaml"]).await?.ends_with(8)?;
    Ok(())
}

/// Results of different work are not mixed; what is only scheduled otherwise keeps its results.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_keeps_what_succeeded_or_runs_it_again() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let job = desk.submit("some", "exit=0", "chunks: {count: 3, parallelism: 1, canary: 1}\nhold: true").await?;
    desk.dsg(&["limit", "job", &job, "1"]).await?.ends_with(0)?;
    desk.put("cheaper.yaml", &pretend("some", "exit=0", "chunks: {count: 3}\npriority: 80"))?;
    let said = desk.dsg(&["edit", &job, "cheaper.yaml"]).await?.ends_with(0)?;
    ensure!(said.err.contains("revision 2") && said.err.contains("release it"), "{said:?}");
    let said = desk.dsg(&["edit", &job, "cheaper.yaml"]).await?.ends_with(0)?;
    ensure!(said.err.contains("already"), "sent again, it is edited once: {said:?}");
    let shown = desk.dsg(&["show", &job, "-o", "json"]).await?.ends_with(0)?.json()?;
    ensure!(shown["priority"] == 80 && shown["parallelism"].is_null(), "{shown}");
    desk.dsg(&["release", &job]).await?.ends_with(0)?;
    desk.dsg(&["wait", &job]).await?.ends_with(0)?;

    let job = desk.submit("endless", "run_ms=forever", "chunks: {count: 2}").await?;
    desk.until(&job, "running", 2).await?;
    desk.dsg(&["hold", &job]).await?.ends_with(0)?;
    desk.put("other.yaml", &pretend("endless", "exit=0", "chunks: {count: 2}"))?;
    let said = desk.dsg(&["edit", &job, "other.yaml"]).await?.ends_with(8)?;
    ensure!(said.err.contains("2 chunks") && said.err.contains("still run"), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_bound_what_runs_at_once() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    desk.dsg(&["limit", "owner", "*", "--cpus", "1"]).await?.ends_with(0)?;
    let job = desk.submit("long", "run_ms=forever", "chunks: {count: 9}").await?;
    desk.until(&job, "running", 1).await?;
    let said = desk.dsg(&["explain", &format!("{job}/5")]).await?.ends_with(0)?;
    ensure!(said.out.contains("the limit of admin is 1 cpu"), "{said:?}");
    desk.dsg(&["limit", "owner", "admin", "--cpus", "3"]).await?.ends_with(0)?;
    desk.until(&job, "running", 3).await?;
    let said = desk.shows(&["owners"], |said| said.out.contains("3.0")).await?;
    ensure!(said.out.contains("admin") && said.out.contains("everyone else"), "{said:?}");
    desk.dsg(&["limit", "owner", "admin", "--none"]).await?.ends_with(0)?;
    desk.dsg(&["limit", "owner", "*", "--none"]).await?.ends_with(0)?;
    desk.until(&job, "running", 4).await?;
    desk.dsg(&["limit", "job", &job, "0"]).await?.ends_with(2)?;
    desk.dsg(&["limit", "owner", "admin"]).await?.ends_with(2)?;
    desk.dsg(&["limit", "job", "99", "3"]).await?.ends_with(5)?;
    Ok(())
}
