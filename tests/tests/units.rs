//! The units for systemd: systemd itself understands every line of them, and the programs understand how they are started. Where there
//! is no `systemd-analyze`, the first half is left out, loudly; `make test` installs it on Debian and then insists on it.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dsg_tests::lab::program;

const UNITS: [(&str, &str); 3] = [
    ("server/systemd/dsg-server.service", "dsg-server"),
    ("runner/systemd/dsg-runner.service", "dsg-runner"),
    ("runner/systemd/user/dsg-runner.service", "dsg-runner"),
];
const INSTALLED: &str = "/usr/local/bin/";

fn unit(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// A copy that names the program that was built here: systemd looks whether it is there.
fn as_built(text: &str, folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.service"));
    fs::write(&path, text.replace(&format!("{INSTALLED}{name}"), &program(name).display().to_string()))?;
    Ok(path)
}

#[test]
fn systemd_understands_the_units() -> Result<()> {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        ensure!(std::env::var_os("DSG_MUST_SYSTEMD").is_none_or(|must| must.is_empty()), "there is no systemd-analyze");
        eprintln!("SKIPPED: the units were not looked at: there is no systemd-analyze (Debian's package systemd)");
        return Ok(());
    }
    for (path, name) in UNITS {
        let folder = tempfile::tempdir()?;
        let file = as_built(&unit(path)?, folder.path(), name)?;
        let user = if path.contains("/user/") { "--user" } else { "--system" };
        let said = Command::new("systemd-analyze")
            .args([user, "--man=no", "verify"])
            .arg(&file)
            // A service of a user cannot be looked at without one.
            .env("XDG_RUNTIME_DIR", folder.path())
            .output()?;
        let text = String::from_utf8_lossy(&said.stderr);
        // A mistake in a value is a line about this file, and no failure.
        ensure!(said.status.success() && !text.contains(&format!("{name}.service")), "{path}: {text}");
    }
    Ok(())
}

#[test]
fn the_programs_understand_how_they_are_started() -> Result<()> {
    for (path, name) in UNITS {
        let text = unit(path)?;
        let line = value(&text, "ExecStart").context("no ExecStart")?;
        let mut words = line.split_whitespace();
        ensure!(words.next() == Some(&format!("{INSTALLED}{name}")), "{path}: {line}");
        let said = Command::new(program(name)).args(words).arg("--version").output()?;
        ensure!(said.status.success(), "{path}: {}", String::from_utf8_lossy(&said.stderr));
    }
    Ok(())
}

/// What must not be lost when somebody tidies up.
#[test]
fn the_units_keep_their_promises() -> Result<()> {
    for (path, _) in &UNITS[1..] {
        let text = unit(path)?;
        ensure!(value(&text, "KillMode") == Some("process"), "{path}: containers live on");
        let stop: u64 = value(&text, "TimeoutStopSec").context("no TimeoutStopSec")?.parse()?;
        ensure!(stop >= 10, "{path}: a runner may take 10 s to stop");
    }
    let server = unit(UNITS[0].0)?;
    for (key, wanted) in [("ProtectSystem", "strict"), ("StateDirectory", "dsg-server"), ("NoNewPrivileges", "yes")] {
        ensure!(value(&server, key) == Some(wanted), "{key}");
    }
    // Its own namespace would hide the counters that tell who was out of memory, and the devices.
    let runner = unit(UNITS[1].0)?;
    for key in ["ProtectControlGroups", "PrivateDevices", "ProtectKernelLogs", "PrivateTmp"] {
        ensure!(value(&runner, key).is_none(), "{key}");
    }
    Ok(())
}
