//! All keys of `runner.toml`, with the flags and variables of the same meaning: the table in docs/runner-config.md is made from
//! this, and tests compare it with what the file's reader asks for and with what the command line takes.
use std::fmt::Write;

pub struct Key {
    /// In the file; empty where there is only a flag.
    pub path: &'static str,
    /// Empty where there is only the file.
    pub flag: &'static str,
    pub variable: &'static str,
    pub form: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
}

const fn both(
    path: &'static str,
    flag: &'static str,
    variable: &'static str,
    form: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { path, flag, variable, form, default, meaning }
}

const fn only_file(path: &'static str, form: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { path, flag: "", variable: "", form, default, meaning }
}

const fn only_flag(
    flag: &'static str,
    variable: &'static str,
    form: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { path: "", flag, variable, form, default, meaning }
}

const MARK: &str = "share of the disk, size, or both (the less counts), as in `5%,2GiB`";

pub const KEYS: &[Key] = &[
    only_flag(
        "config",
        "DSG_RUNNER_CONFIG",
        "path",
        "`/etc/dsg/runner.toml` as root, else `$XDG_CONFIG_HOME/dsg/runner.toml`, if there is one",
        "this file",
    ),
    only_flag(
        "state",
        "DSG_RUNNER_STATE",
        "path",
        "`/var/lib/dsg-runner` as root, else `$XDG_STATE_HOME/dsg-runner`",
        "identity, spool and cache",
    ),
    only_flag("pretend", "DSG_RUNNER_PRETEND", "", "off", "run nothing, and say that all went well"),
    both("engine", "engine", "DSG_RUNNER_ENGINE", "`unix://` and a socket", "found by itself", "the container engine"),
    both("nvml_lib", "nvml-lib", "DSG_RUNNER_NVML_LIB", "path", "its usual place", "the NVML library"),
    both(
        "cpus",
        "cpus",
        "DSG_RUNNER_CPUS",
        "number",
        "all of them, less `reserve.cpus`",
        "cores to offer, all containers together",
    ),
    both(
        "memory",
        "memory",
        "DSG_RUNNER_MEMORY",
        "size",
        "all of it, less `reserve.memory`",
        "memory to offer, all containers together",
    ),
    both("tags", "tags", "DSG_RUNNER_TAGS", "list of words", "none", "words that jobs can ask for"),
    both(
        "labels",
        "label",
        "DSG_RUNNER_LABELS",
        "table, as a flag `KEY=VALUE`",
        "none",
        "labels that jobs can ask for",
    ),
    both("cache", "cache", "DSG_RUNNER_CACHE", "size", "`20GiB`", "space for cached inputs"),
    both(
        "insecure_http",
        "insecure-http",
        "DSG_RUNNER_INSECURE_HTTP",
        "`true` or `false`",
        "`false`",
        "plain HTTP to a server on another host",
    ),
    both("log_json", "log-json", "DSG_RUNNER_LOG_JSON", "`true` or `false`", "`false`", "log as JSON lines"),
    both(
        "lifetime",
        "lifetime",
        "DSG_RUNNER_LIFETIME",
        "duration",
        "no end",
        "how long this runner lives, as in a batch system's allocation: it takes nothing whose `timeouts.run` is longer than what is left, stops at the end what still runs (`evicted`), and ends with status 0",
    ),
    both(
        "idle_timeout",
        "idle-timeout",
        "DSG_RUNNER_IDLE_TIMEOUT",
        "duration",
        "no end",
        "without an attempt for so long the runner ends with status 0",
    ),
    both(
        "secrets_dir",
        "secrets-dir",
        "DSG_RUNNER_SECRETS_DIR",
        "path",
        "`/run/dsg-runner` as root, else `$XDG_RUNTIME_DIR/dsg-runner`; `/dev/shm/dsg-runner-UID` where only that is in memory",
        "where secrets lie while their containers run: on a tmpfs, or chunks with secrets are not taken",
    ),
    both(
        "reserve.cpus",
        "reserve-cpus",
        "DSG_RUNNER_RESERVE_CPUS",
        "number",
        "`0`",
        "cores that stay the owner's, where `cpus` is not given",
    ),
    both(
        "reserve.memory",
        "reserve-memory",
        "DSG_RUNNER_RESERVE_MEMORY",
        "size",
        "`512MiB`",
        "memory that stays the owner's, where `memory` is not given",
    ),
    both(
        "reserve.disk",
        "reserve-disk",
        "DSG_RUNNER_RESERVE_DISK",
        "size",
        "`0B`",
        "disk that stays the owner's: it is not offered, and with less free nothing new is taken",
    ),
    only_file(
        "disk.clean",
        MARK,
        "`10%,20GiB`",
        "with less free, images that this runner brought and cached inputs are removed, oldest use first",
    ),
    only_file("disk.until", MARK, "`20%,40GiB`", "until so much is free"),
    only_file("disk.stop", MARK, "`5%,2GiB`", "with less free nothing new is taken, until there is more again"),
    only_file(
        "owner.windows",
        "list of windows",
        "always",
        "when the grid may use this host, as in `mon-fri 18:00-08:00`, `sat,sun 00:00-24:00`, `daily 22:00-06:00`; a window that ends before it begins ends on the next day",
    ),
    only_file(
        "owner.zone",
        "as in `Europe/Berlin`, `+01:00`, `UTC`",
        "the host's own",
        "the time zone of the windows; a change of its clock makes a night longer or shorter",
    ),
    only_file(
        "owner.at_end",
        "`finish`, `pause` or `evict`",
        "`finish`",
        "what becomes of what runs when the owner wants the host back: it ends by itself, is frozen in place, or is stopped (after its `timeouts.grace`) and waits again at no cost",
    ),
    only_file(
        "owner.only_when_idle.cpu_percent",
        "1 to 100",
        "`20`",
        "what all others may use of the processors; the section alone says that the host must be idle",
    ),
    only_file(
        "owner.only_when_idle.quiet",
        "duration",
        "`15m`",
        "for so long others must not have used more, and nobody have typed on a terminal",
    ),
    only_file(
        "registry.NAME.credentials_file",
        "absolute path of a file",
        "none",
        "credentials for pulls from this registry alone, which is `host` or `host:port` in quotes; as `docker login` and `podman login --authfile` write it",
    ),
    only_file(
        "policy.images",
        "list of patterns",
        "all",
        "images that may run: `*` is anything within one part of a name, `**` anything; with a tag, that tag; with `@sha256:…`, or `sha256:…` alone, that content",
    ),
    only_file("policy.networks", "list of `none`, `bridge`", "both", "networks that a container may have"),
    only_file("policy.gpus", "list of UUIDs", "all", "the GPUs that are offered; `[]`: none"),
    only_file(
        "policy.gpu_shares",
        "number, or table of UUIDs and numbers",
        "`1`",
        "how many chunks with `resources.gpus.share` may have one GPU at once, as in `2`, or `{\"GPU-…\" = 4}`; nothing divides its memory between them",
    ),
    only_file(
        "policy.capabilities",
        "list",
        "all six of them",
        "of the capabilities that a container of root has, only these",
    ),
    only_file("policy.secrets", "`true` or `false`", "`true`", "whether containers with secrets may run here"),
    only_file("policy.most.cpus", "number", "no bound", "cores for one container"),
    only_file("policy.most.memory", "size", "no bound", "memory for one container"),
    only_file(
        "policy.most.disk",
        "size",
        "no bound",
        "what one container may write; also where the job sets no `resources.disk`",
    ),
    only_file(
        "policy.most.time",
        "duration",
        "no bound",
        "how long one container may run; then every job must set `timeouts.run`",
    ),
    only_file("policy.most.pids", "number", "`4096`", "processes in one container"),
    only_file(
        "policy.mounts.NAME.path",
        "absolute path of a folder",
        "required",
        "a folder of the host that jobs may name; links are followed at the start, and it must lead to the same place at each use",
    ),
    only_file("policy.mounts.NAME.write", "`true` or `false`", "`false`", "whether jobs may write there"),
    only_file(
        "policy.devices.NAME.path",
        "path in `/dev`",
        "required",
        "a character device that jobs may name, as `/dev/fuse`; the container may read and write it, and finds it at this path. Whoever gets one gets what its driver gives",
    ),
];

const IN_A_FILE: &str = "secrets stay in a file of their own: name it with `credentials_file`";

/// Words that one might look for, and what to do.
pub const NOT_HERE: &[(&str, &str)] = &[
    ("policy.privileged", "no container is ever privileged; name what it needs in `policy.devices` or `policy.mounts`"),
    ("state", "the state folder is named with --state or DSG_RUNNER_STATE"),
    ("policy.most.gpus", "use `policy.gpus`"),
    ("registry.NAME.password", IN_A_FILE),
    ("registry.NAME.username", IN_A_FILE),
];

/// For docs/runner-config.md.
pub fn table() -> String {
    let mut text = String::from(
        "| in the file | flag | variable | form | default | meaning |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for Key { path, flag, variable, form, default, meaning } in KEYS {
        let code = |word: &str| if word.is_empty() { "–".to_owned() } else { format!("`{word}`") };
        let flag = if flag.is_empty() { String::new() } else { format!("--{flag}") };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {form} | {default} | {meaning} |",
            code(path),
            code(&flag),
            code(variable)
        );
    }
    text
}
