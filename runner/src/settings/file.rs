//! From the text to settings: all that is wrong is said at once, with its place.
use std::cell::RefCell;
use std::path::PathBuf;

use dsg_schemas::api::SpecProblem;
use dsg_schemas::limits::PIDS;
use dsg_schemas::mark::Mark;
use dsg_schemas::policy::{Most, Policy};
use dsg_schemas::spec::is_name;
use dsg_schemas::units::{Bytes, Millis};
use toml::de::DeTable;

use super::owner::owner;
use super::section::{Notes, Section};
use super::{Named, Settings};
use crate::container::docker::CAPABILITIES;
use crate::room::Marks;

pub(super) const DURATION: &str = "a duration, as in \"2h\"";
/// Chunks on one GPU at once: NVIDIA's own way of sharing (MPS) ends at 48.
const SHARES: u32 = 48;
const SIZE: &str = "a size, as in \"512MiB\"";
const MARK: &str = "a mark of a disk, as in \"5%,2GiB\"";

pub fn parse(text: &str) -> Result<Settings, Vec<SpecProblem>> {
    let notes = Notes { text, problems: RefCell::default(), asked: RefCell::default() };
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in &errors {
            notes.add("not_toml", "", &error.span().unwrap_or(0..0), error.message());
        }
        return Err(notes.problems.into_inner());
    }
    let settings = whole(&notes, table.get_ref());
    let mut problems = notes.problems.into_inner();
    problems.sort_by_key(|problem| (problem.line, problem.column));
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

pub fn whole<'t>(notes: &Notes<'t>, table: &DeTable<'t>) -> Settings {
    let top = Section::new(notes, table);
    let mut settings = Settings {
        engine: top.text("engine"),
        nvml_lib: top.text("nvml_lib").map(PathBuf::from),
        cpus_milli: top.cores("cpus", 0.001),
        memory: top.parsed::<Bytes>("memory", SIZE),
        tags: top.words("tags", &[], |_| Ok(())),
        labels: top.pairs("labels").into_iter().collect(),
        cache: top.parsed::<Bytes>("cache", SIZE),
        insecure_http: top.truth("insecure_http"),
        log_json: top.truth("log_json"),
        lifetime: top.parsed::<Millis>("lifetime", DURATION),
        idle_timeout: top.parsed::<Millis>("idle_timeout", DURATION),
        secrets_dir: top.text("secrets_dir").map(PathBuf::from),
        ..Settings::default()
    };
    let reserve = top.section("reserve");
    settings.reserve_cpus_milli = reserve.cores("cpus", 0.0);
    settings.reserve_memory = reserve.parsed::<Bytes>("memory", SIZE);
    settings.reserve_disk = reserve.parsed::<Bytes>("disk", SIZE);
    reserve.finish();
    let (disk, usual) = (top.section("disk"), Marks::default());
    let mark = |key, usual| disk.parsed::<Mark>(key, MARK).unwrap_or(usual);
    settings.marks =
        Marks { clean: mark("clean", usual.clean), until: mark("until", usual.until), stop: mark("stop", usual.stop) };
    disk.finish();
    settings.owner = owner(&top.section("owner"));
    settings.registries.files = top.section("registry").named(registry).into_iter().collect();
    policy(&top.section("policy"), &mut settings);
    top.finish();
    settings
}

fn policy(policy: &Section<'_, '_>, settings: &mut Settings) {
    let most = policy.section("most");
    let mounts = policy.section("mounts");
    let devices = policy.section("devices");
    settings.gpus = policy.words("gpus", &[], |_| Ok(()));
    (settings.gpu_shares.all, settings.gpu_shares.of) = policy.count_or_counts("gpu_shares", 1..=SHARES);
    settings.policy = Policy {
        images: policy.words("images", &[], pattern),
        networks: policy.words("networks", &["none", "bridge"], |_| Ok(())),
        capabilities: policy.words("capabilities", &CAPABILITIES, |_| Ok(())),
        most: Most {
            cpus_milli: most.cores("cpus", 0.001),
            memory_bytes: most.parsed::<Bytes>("memory", SIZE).map(|bytes| bytes.0),
            disk_bytes: most.parsed::<Bytes>("disk", SIZE).map(|bytes| bytes.0),
            run_ms: most.parsed::<Millis>("time", DURATION).map(|time| time.0),
            pids: most.count("pids", 1..=PIDS.unsigned_abs()),
        },
        secrets: policy.truth("secrets"),
        ..Policy::default()
    };
    settings.mounts = mounts.named(mount).into_iter().collect();
    settings.devices = devices.named(device).into_iter().collect();
    most.finish();
    policy.finish();
}

fn registry(section: &Section<'_, '_>, at: &std::ops::Range<usize>) -> Option<PathBuf> {
    let path = section.text("credentials_file").map(PathBuf::from);
    section.finish();
    if !section.is_named(is_registry) {
        section.wrong(at, "a registry is `host` or `host:port` in quotes, as in [registry.\"ghcr.io\"], without https:// and without a path");
    }
    match &path {
        None => section.missing("credentials_file", at),
        Some(path) if !path.is_absolute() => section.wrong(at, "credentials_file must be an absolute path"),
        Some(_) => {}
    }
    path
}

/// As the first part of an image's full name.
fn is_registry(name: &str) -> bool {
    let (host, port) = name.split_once(':').map_or((name, None), |(host, port)| (host, Some(port)));
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    let has_name =
        !host.is_empty() && host.chars().all(fine) && (host.contains('.') || port.is_some() || host == "localhost");
    has_name && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn mount(section: &Section<'_, '_>, at: &std::ops::Range<usize>) -> Option<Named> {
    let (path, write) = (section.text("path"), section.truth("write").unwrap_or(false));
    section.finish();
    right_name(section, at, "mount");
    if path.is_none() {
        section.missing("path", at);
    }
    Some(Named { path: PathBuf::from(path?), write })
}

fn device(section: &Section<'_, '_>, at: &std::ops::Range<usize>) -> Option<PathBuf> {
    let path = section.text("path");
    section.finish();
    right_name(section, at, "device");
    if path.is_none() {
        section.missing("path", at);
    }
    path.map(PathBuf::from)
}

fn right_name(section: &Section<'_, '_>, at: &std::ops::Range<usize>, what: &str) {
    if !section.is_named(is_name) {
        let form = "begins with a letter and has only a-z, 0-9, _ and -, at most 63 of them";
        section.wrong(at, &format!("the name of a {what} {form}"));
    }
}

/// A pattern that can mean no image at all is a mistake.
fn pattern(text: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "*/:@._-".contains(c);
    if text.is_empty() || !text.chars().all(fine) || text.contains("***") {
        return Err("is no pattern of images, as in \"ghcr.io/lab/*\", \"python:3.*\" or \"sha256:…\"".to_owned());
    }
    Ok(())
}
