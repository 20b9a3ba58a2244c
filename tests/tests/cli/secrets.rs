//! Secrets from end to end: set, used by a container, masked in its log, and nowhere else.
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::desk::{Desk, RUNNER};

const VALUE: &str = "correct horse battery staple";
/// Its base64, without what the end of a value has a part in.
const ENCODED: &str = "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ";

fn job(secrets: &str) -> String {
    format!(
        "name: fit\nimage: pretend/fit\nresources: {{cpus: 1, memory: 16MiB}}\nchunks: {{count: 1}}\n\
         secrets: [{secrets}]\ncommand: [pretend, cat=/run/secrets/token, lines=1]\n"
    )
}

/// In no file of the server and of the runners.
fn is_nowhere_below(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // The person's own folder has it, of course.
        if path.ends_with("desk") {
            continue;
        }
        if path.is_dir() {
            is_nowhere_below(&path)?;
            continue;
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // Sockets, and what went away meanwhile.
            Err(_) => continue,
        };
        for spelling in [VALUE, ENCODED] {
            let found = bytes.windows(spelling.len()).any(|window| window == spelling.as_bytes());
            ensure!(!found, "{spelling:?} is in {}", path.display());
        }
    }
    Ok(())
}

/// On no command line of this machine.
fn is_on_no_command_line() -> Result<()> {
    for entry in fs::read_dir("/proc")? {
        let line = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        ensure!(!line.windows(VALUE.len()).any(|window| window == VALUE.as_bytes()), "ps shows it");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_the_container_and_nowhere_else() -> Result<()> {
    let mut desk = Desk::logged_in(&[]).await?;
    let memory = tempfile::tempdir_in("/dev/shm").context("this test needs a folder in memory")?;
    let place = memory.path().join("secrets").display().to_string();
    desk.lab.add_runner("ada", &[&RUNNER[..], &["--secrets-dir", &place]].concat()).await?;
    desk.put("job.yaml", &job("{name: token}"))?;
    let said = desk.dsg(&["submit", "job.yaml"]).await?.ends_with(7)?;
    ensure!(said.err.contains("the server has no secret `token`"), "{said:?}");
    ensure!(said.err.contains("dsg secret set token"), "{said:?}");

    // Nothing on stdin is too little, and so is a word.
    let said = desk.dsg(&["secret", "set", "token"]).await?;
    ensure!(said.code != 0 && said.err.contains("at least 8 bytes, this one has 0"), "{said:?}");
    desk.put("value", VALUE)?;
    let said = desk.dsg(&["secret", "set", "token", "--from-file", "value"]).await?.ends_with(0)?;
    ensure!(said.err.contains("secret `token` can be used in job files"), "{said:?}");
    ensure!(!said.err.contains("newline"), "{said:?}");
    desk.put("line", "a value with a newline\n")?;
    let said = desk.dsg(&["secret", "set", "line", "--from-file", "line"]).await?.ends_with(0)?;
    ensure!(said.err.contains("the value ends with a newline, which is part of it"), "{said:?}");
    let listed = desk.dsg(&["secret", "ls", "-o", "ndjson"]).await?.ends_with(0)?.rows()?;
    ensure!(listed.len() == 2 && listed[1]["name"] == "token" && listed[1]["set_by"] == "admin", "{listed:?}");

    desk.dsg(&["submit", "job.yaml", "--wait"]).await?.ends_with(0)?;
    let log = desk.dsg(&["logs", "1/0"]).await?.ends_with(0)?;
    ensure!(log.out == format!("{}\nline 0\n", "*".repeat(VALUE.len())), "{log:?}");
    for words in [
        &["show", "1", "-o", "json"][..],
        &["show", "1", "--spec"],
        &["show", "1/0", "-o", "json"],
        &["explain", "1/0", "-o", "json"],
        &["secret", "ls"],
        &["secret", "ls", "-o", "json"],
        &["logs", "1/0", "--raw"],
        &["runners", "-o", "json"],
    ] {
        let said = desk.dsg(words).await?.ends_with(0)?;
        ensure!(!said.out.contains("horse") && !said.out.contains(&ENCODED[..16]), "{words:?}: {said:?}");
    }
    is_on_no_command_line()?;
    is_nowhere_below(&desk.lab.path(""))?;
    let left = fs::read_dir(&place)?.flatten().flat_map(|entry| fs::read_dir(entry.path())).flatten().count();
    ensure!(left == 0, "{left} attempts left secrets behind");

    // Removed, what is submitted before waits for it and says so.
    desk.put("job.yaml", &format!("{}hold: true\n", job("{name: token}")))?;
    desk.dsg(&["submit", "job.yaml"]).await?.ends_with(0)?;
    let said = desk.dsg(&["secret", "rm", "token"]).await?.ends_with(0)?;
    ensure!(said.err.contains("what is left of 1 job waits for it"), "{said:?}");
    desk.dsg(&["secret", "rm", "token"]).await?.ends_with(5)?;
    desk.dsg(&["release", "2"]).await?.ends_with(0)?;
    desk.shows(&["explain", "2/0"], |said| said.out.contains("waits for secret `token`")).await?;
    desk.dsg(&["secret", "set", "token", "--from-file", "value"]).await?.ends_with(0)?;
    desk.dsg(&["wait", "2"]).await?.ends_with(0)?;
    Ok(())
}
