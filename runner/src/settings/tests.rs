//! Right files and wrong ones; `wrong/` has what is said of the latter, and `BLESS=1` writes that anew, the table of the docs too.
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dsg_schemas::mark::Mark;
use dsg_schemas::policy::Most;
use toml::de::DeTable;

use super::section::Notes;
use super::*;
use crate::owner::{AtEnd, Hours, OnlyWhenIdle, Window};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares with the file, or writes it.
fn settle(path: &Path, text: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, text).expect("writable");
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, text, "{} differs; BLESS=1 writes it", path.display());
}

const EVERYTHING: &str = r#"
engine = "unix:///run/docker.sock"
nvml_lib = "/opt/nvml.so"
cpus = 3.5
memory = "12GiB"
tags = ["big"]
labels = { room = "cellar" }
cache = "1GiB"
insecure_http = true
log_json = false
lifetime = "12h"
idle_timeout = "10m"
secrets_dir = "/dev/shm/dsg"

[owner]
windows = ["mon-fri 18:00-08:00", "sat,sun 00:00-24:00"]
zone = "+01:00"
at_end = "pause"
only_when_idle = { cpu_percent = 10, quiet = "5m" }

[reserve]
cpus = 1
memory = "1GiB"
disk = "20GiB"

[disk]
clean = "20%"
stop = "8%,4GiB"

[registry."lab.example:5000"]
credentials_file = "/etc/dsg/lab.json"

[policy]
images = ["dsg-*", "ghcr.io/lab/**"]
networks = ["none"]
gpus = ["GPU-1"]
gpu_shares = { GPU-1 = 2 }
capabilities = ["CHOWN"]
secrets = false
most = { cpus = 2, memory = "4GiB", disk = "1GiB", time = "2h", pids = 100 }

[policy.devices.fuse]
path = "/dev/fuse"

[policy.mounts]
datasets = { path = "/data/sets" }

[policy.mounts.scratch]
path = "/data/scratch"
write = true
"#;

#[test]
fn every_key_is_understood() {
    let settings = parse(EVERYTHING).expect("a right file");
    let text = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let expected = Settings {
        engine: Some("unix:///run/docker.sock".to_owned()),
        nvml_lib: Some("/opt/nvml.so".into()),
        cpus_milli: Some(3500),
        memory: Some(Bytes(12 << 30)),
        tags: text(&["big"]),
        labels: [("room".to_owned(), "cellar".to_owned())].into(),
        cache: Some(Bytes(1 << 30)),
        insecure_http: Some(true),
        log_json: Some(false),
        lifetime: Some(Millis(43_200_000)),
        idle_timeout: Some(Millis(600_000)),
        secrets_dir: Some("/dev/shm/dsg".into()),
        owner: Owner {
            hours: Some(Hours {
                windows: vec![
                    Window { days: [true, true, true, true, true, false, false], from_minute: 1080, to_minute: 1920 },
                    Window { days: [false, false, false, false, false, true, true], from_minute: 0, to_minute: 1440 },
                ],
                zone: crate::owner::zone("+01:00").expect("a zone"),
                zone_name: "+01:00".to_owned(),
            }),
            only_when_idle: Some(OnlyWhenIdle { cpu_percent: 10, quiet: std::time::Duration::from_mins(5) }),
            at_end: AtEnd::Pause,
        },
        reserve_cpus_milli: Some(1000),
        reserve_memory: Some(Bytes(1 << 30)),
        reserve_disk: Some(Bytes(20 << 30)),
        marks: Marks { clean: "20%".parse().expect("a mark"), stop: Mark::of(8, 4 << 30), ..Marks::default() },
        registries: Registries { files: [("lab.example:5000".to_owned(), PathBuf::from("/etc/dsg/lab.json"))].into() },
        policy: Policy {
            images: text(&["dsg-*", "ghcr.io/lab/**"]),
            networks: text(&["none"]),
            capabilities: text(&["CHOWN"]),
            most: Most {
                cpus_milli: Some(2000),
                memory_bytes: Some(4 << 30),
                disk_bytes: Some(1 << 30),
                run_ms: Some(7_200_000),
                pids: Some(100),
            },
            secrets: Some(false),
            ..Policy::default()
        },
        gpus: text(&["GPU-1"]),
        gpu_shares: GpuShares { all: None, of: [("GPU-1".to_owned(), 2)].into() },
        devices: [("fuse".to_owned(), "/dev/fuse".into())].into(),
        mounts: [
            ("datasets".to_owned(), Named { path: "/data/sets".into(), write: false }),
            ("scratch".to_owned(), Named { path: "/data/scratch".into(), write: true }),
        ]
        .into(),
    };
    assert_eq!(settings, expected);
    assert_eq!(parse("").expect("an empty file"), Settings::default());
}

#[test]
fn wrong_files_are_refused_with_these_words() {
    for name in ["all", "syntax", "twice"] {
        let text = fs::read_to_string(here(&format!("src/settings/wrong/{name}.toml"))).expect("a file");
        let problems = parse(&text).expect_err("it is wrong");
        let said = render::all(Path::new("runner.toml"), &text, &problems);
        settle(&here(&format!("src/settings/wrong/{name}.txt")), &(said + "\n"));
    }
}

#[test]
fn the_documented_keys_are_those_that_are_read() {
    let notes = Notes { text: EVERYTHING, problems: RefCell::default(), asked: RefCell::default() };
    let document = DeTable::parse(EVERYTHING).expect("a right file");
    file::whole(&notes, document.get_ref());
    let asked: BTreeSet<String> = notes.asked.take().into_iter().collect();
    let documented = KEYS.iter().map(|key| key.path).filter(|path| !path.is_empty());
    assert_eq!(asked, documented.map(str::to_owned).collect());
}

#[test]
fn the_table_of_the_docs_is_made_from_the_keys() {
    const MARKS: (&str, &str) = ("<!-- keys: made by `make bless` -->\n", "<!-- end of keys -->\n");
    let path = here("../docs/runner-config.md");
    let text = fs::read_to_string(&path).expect("the documentation");
    let (head, rest) = text.split_once(MARKS.0).expect("where the table begins");
    let (_, tail) = rest.split_once(MARKS.1).expect("where it ends");
    settle(&path, &format!("{head}{}\n{}\n{}{tail}", MARKS.0, table(), MARKS.1));
    let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    parse(example).expect("the example is right");
}

#[test]
fn a_variable_that_nobody_reads_is_told() {
    let said = |name: &str| unknown_variable([String::from("PATH"), name.to_owned()].into_iter());
    assert_eq!(said("DSG_RUNNER_CPUS"), None);
    assert_eq!(
        said("DSG_RUNNER_TAG").as_deref(),
        Some("there is no setting DSG_RUNNER_TAG; did you mean DSG_RUNNER_TAGS?")
    );
}

#[test]
fn a_file_that_others_write_or_that_is_missing_is_no_policy() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("runner.toml");
    let said = |path: &Path| read(Some(path)).map(drop).expect_err("refused").to_string();
    assert!(said(&path).contains("cannot read"), "a file that was named must be there");
    fs::write(&path, "cpus = 1\n").expect("written");
    for (mode, fine) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        assert_eq!(read(Some(&path)).is_ok(), fine, "{mode:o}");
    }
    assert!(said(&path).contains("chmod go-w"));
    assert_eq!(read(Some(Path::new("/dev/null"))).expect("no file, no rules"), Settings::default());
}

#[test]
fn mounts_are_looked_at_when_the_runner_starts() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().canonicalize().expect("real");
    fs::create_dir_all(root.join("data/inner")).expect("folders");
    let policy = |mounts: &[(&str, &str, bool)]| {
        let named = |(name, path, write): &(&str, &str, bool)| {
            ((*name).to_owned(), Named { path: root.join(path), write: *write })
        };
        let settings = Settings { mounts: mounts.iter().map(named).collect(), ..Settings::default() };
        settings.local_policy(&root.join("state")).map_err(|error| error.to_string())
    };
    let told = policy(&[("data", "data", true)]).expect("fine").rules.mounts;
    assert!(told["data"].write);
    fs::write(root.join("file"), "").expect("a file");
    assert!(policy(&[("data", "file", false)]).is_err_and(|why| why.contains("mount `data`")));
    // One that is not there is no mistake of the file: the rest of the host can be used.
    let policy_then = policy(&[("data", "data", false), ("away", "nowhere", true)]).expect("fine");
    assert!(policy_then.rules.mounts["away"].write && policy_then.absent.contains_key("away"));
    assert!(policy_then.mounts.contains_key("data") && !policy_then.mounts.contains_key("away"));
    let nested = [("data", "data", true), ("inner", "data/inner", false)];
    assert!(policy(&nested).is_err_and(|why| why.contains("lies in `data`")));
}

#[test]
fn devices_are_looked_at_when_the_runner_starts() {
    let policy = |devices: &[(&str, &str)]| {
        let devices = devices.iter().map(|(name, path)| ((*name).to_owned(), PathBuf::from(path))).collect();
        let settings = Settings { devices, ..Settings::default() };
        settings.local_policy(Path::new("/var/lib/dsg-runner")).map_err(|error| error.to_string())
    };
    let some = policy(&[("null", "/dev/null"), ("away", "/dev/dsg-nowhere")]).expect("fine");
    assert_eq!(some.rules.devices, ["away", "null"], "that one is away is a failed check, not another policy");
    assert!(some.devices.contains_key("null") && some.absent_devices.contains_key("away"));
    let checks = crate::selftest::mounts(&some, false);
    let told: Vec<_> = checks.iter().map(|check| (check.name.as_str(), check.passed, check.blocks.clone())).collect();
    let away = dsg_schemas::wire::Work::Device("away".to_owned());
    assert_eq!(told, [("device away", false, Some(away)), ("device null", true, None)]);
    assert!(!checks.iter().any(|check| check.note.contains('/')), "where they are is nobody's business: {checks:?}");
    for wrong in ["/dev/tty", "/etc/hostname", "dev/null"] {
        assert!(policy(&[("x", wrong)]).is_err_and(|why| why.contains("device `x`")), "{wrong}");
    }
}
