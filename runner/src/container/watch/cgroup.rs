//! A container's cgroup: where it is, and what its files say, on both versions.
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where the kernel counts one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cgroup {
    V1 { memory: PathBuf, cpu: PathBuf, disks: PathBuf },
    V2 { folder: PathBuf },
}

/// One look at the counters; each may be missing on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub oom_kills: Option<u64>,
    pub peak_memory_bytes: Option<u64>,
    pub cpu_ms: Option<u64>,
    pub read_bytes: Option<u64>,
    pub written_bytes: Option<u64>,
}

/// The cgroup of a container, once it exists. Engines name it in a few ways, by driver and by root or not; the process tells in
/// all others.
pub(super) fn find(root: &Path, id: &str, process: Option<u32>) -> Option<Cgroup> {
    let memory = root.join("memory");
    let is_v1 = memory.is_dir();
    let base = if is_v1 { memory.as_path() } else { root };
    let by_name = usual(id).into_iter().find(|path| base.join(path).is_dir());
    let path = by_name.or_else(|| process.and_then(|process| of_process(process, id, is_v1)))?;
    let folder = base.join(&path);
    if !folder.is_dir() {
        return None;
    }
    Some(match is_v1 {
        true => {
            Cgroup::V1 { memory: folder, cpu: root.join("cpuacct").join(&path), disks: root.join("blkio").join(&path) }
        }
        false => Cgroup::V2 { folder },
    })
}

fn usual(id: &str) -> [String; 4] {
    [
        format!("docker/{id}"),
        format!("system.slice/docker-{id}.scope"),
        format!("libpod_parent/libpod-{id}"),
        format!("machine.slice/libpod-{id}.scope"),
    ]
}

fn of_process(process: u32, id: &str, is_v1: bool) -> Option<String> {
    let lines = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    path_in(&lines, id, is_v1)
}

/// From lines like `4:memory:/docker/ID` or `0::/user.slice/…/libpod-ID.scope/container`: the folder that bears the id.
fn path_in(lines: &str, id: &str, is_v1: bool) -> Option<String> {
    let path = lines.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let wanted = if is_v1 { controllers.split(',').any(|one| one == "memory") } else { controllers.is_empty() };
        parts.next().filter(|_| wanted)
    })?;
    let at = path.find(id)?;
    let end = path[at..].find('/').map_or(path.len(), |slash| at + slash);
    Some(path[..end].trim_start_matches('/').to_owned())
}

impl Cgroup {
    /// The folder where it was made.
    pub(super) fn place(&self) -> Option<&Path> {
        match self {
            Cgroup::V1 { memory: folder, .. } | Cgroup::V2 { folder } => folder.parent(),
        }
    }

    pub(super) fn exists(&self) -> bool {
        match self {
            Cgroup::V1 { memory, .. } => memory.join("memory.oom_control").exists(),
            Cgroup::V2 { folder } => folder.join("memory.events").exists(),
        }
    }

    pub(super) fn gauges(&self) -> Gauges {
        let gauge = |folder: &Path, name: &str| Gauge { path: folder.join(name), file: None };
        match self {
            Cgroup::V1 { memory, cpu, disks } => Gauges::V1 {
                oom: gauge(memory, "memory.oom_control"),
                peak: gauge(memory, "memory.max_usage_in_bytes"),
                cpu: gauge(cpu, "cpuacct.usage"),
                disks: gauge(disks, "blkio.throttle.io_service_bytes"),
            },
            Cgroup::V2 { folder } => Gauges::V2 {
                oom: gauge(folder, "memory.events"),
                peak: gauge(folder, "memory.peak"),
                current: gauge(folder, "memory.current"),
                cpu: gauge(folder, "cpu.stat"),
                disks: gauge(folder, "io.stat"),
            },
        }
    }
}

/// The files that count, opened once: looks are many, and an open file of a cgroup that is gone says so.
pub(super) enum Gauges {
    V1 { oom: Gauge, peak: Gauge, cpu: Gauge, disks: Gauge },
    V2 { oom: Gauge, peak: Gauge, current: Gauge, cpu: Gauge, disks: Gauge },
}

pub(super) struct Gauge {
    path: PathBuf,
    /// `None`: not there yet, since the kernel makes the folders of version one after each other.
    file: Option<File>,
}

impl Gauges {
    pub(super) fn read(&mut self) -> Counters {
        match self {
            Gauges::V1 { oom, peak, cpu, disks } => {
                let disks = disks.text();
                Counters {
                    oom_kills: oom.field("oom_kill"),
                    peak_memory_bytes: peak.number(),
                    cpu_ms: cpu.number().map(|nanoseconds| nanoseconds / 1_000_000),
                    read_bytes: words(disks.as_deref(), second_word("Read")),
                    written_bytes: words(disks.as_deref(), second_word("Write")),
                }
            }
            Gauges::V2 { oom, peak, current, cpu, disks } => {
                let disks = disks.text();
                Counters {
                    oom_kills: oom.field("oom_kill"),
                    // Kernels before 5.19 have no peak; the caller keeps the largest of what it saw.
                    peak_memory_bytes: peak.number().or_else(|| current.number()),
                    cpu_ms: cpu.field("usage_usec").map(|microseconds| microseconds / 1_000),
                    read_bytes: words(disks.as_deref(), |line| named(line, "rbytes=")),
                    written_bytes: words(disks.as_deref(), |line| named(line, "wbytes=")),
                }
            }
        }
    }
}

impl Gauge {
    fn text(&mut self) -> Option<String> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let text = whole(self.file.as_ref()?);
        if text.is_err() {
            // Its cgroup is gone; another may be made in its place.
            self.file = None;
        }
        String::from_utf8(text.ok()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.text()?.trim().parse().ok()
    }

    fn field(&mut self, name: &str) -> Option<u64> {
        self.text()?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

fn whole(file: &File) -> io::Result<Vec<u8>> {
    let (mut text, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        match file.read_at(&mut piece, text.len() as u64)? {
            0 => return Ok(text),
            read => text.extend_from_slice(&piece[..read]),
        }
    }
}

/// The sum of what is found in each line, which is of one disk. An empty file: nothing was read or written yet.
fn words(text: Option<&str>, found: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    Some(text?.lines().filter_map(found).sum())
}

/// From lines like `8:0 Read 4096`.
fn second_word(name: &str) -> impl Fn(&str) -> Option<u64> {
    move |line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().filter(|word| *word == name)?;
        words.next()?.parse().ok()
    }
}

/// From lines like `8:0 rbytes=4096 wbytes=0 rios=1`.
fn named(line: &str, name: &str) -> Option<u64> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn version_one_is_found_and_read() {
        let root = tree(&[
            ("memory/docker/abc/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("memory/docker/abc/memory.max_usage_in_bytes", "4096\n"),
            ("cpuacct/docker/abc/cpuacct.usage", "7000000\n"),
            (
                "blkio/docker/abc/blkio.throttle.io_service_bytes",
                "8:0 Read 4096\n8:0 Write 10\n8:0 Sync 5\n8:0 Total 4106\n8:16 Read 1\n8:16 Write 2\nTotal 4109\n",
            ),
        ]);
        let cgroup = find(root.path(), "abc", None).expect("found");
        assert!(cgroup.exists());
        let counters = cgroup.gauges().read();
        let (read_bytes, written_bytes) = (Some(4097), Some(12));
        let counted =
            Counters { oom_kills: Some(2), peak_memory_bytes: Some(4096), cpu_ms: Some(7), read_bytes, written_bytes };
        assert_eq!(counters, counted);
        assert_eq!(find(root.path(), "abd", None), None);
    }

    #[test]
    fn version_two_is_found_and_read() {
        let root = tree(&[
            ("machine.slice/libpod-abc.scope/memory.events", "low 0\noom 1\noom_kill 1\noom_group_kill 0\n"),
            ("machine.slice/libpod-abc.scope/memory.current", "10\n"),
            ("machine.slice/libpod-abc.scope/cpu.stat", "usage_usec 5000\nuser_usec 1\n"),
            ("machine.slice/libpod-abc.scope/io.stat", "8:0 rbytes=7 wbytes=8 rios=1 wios=1\n8:16 rbytes=1 wbytes=0\n"),
        ]);
        let cgroup = find(root.path(), "abc", None).expect("found");
        let (read_bytes, written_bytes) = (Some(8), Some(8));
        let counted =
            Counters { oom_kills: Some(1), peak_memory_bytes: Some(10), cpu_ms: Some(5), read_bytes, written_bytes };
        assert_eq!(cgroup.gauges().read(), counted);
    }

    /// Version one makes its folders one after the other, and counters move.
    #[test]
    fn each_look_reads_anew_what_is_there_by_then() {
        let root = tree(&[("memory/docker/abc/memory.max_usage_in_bytes", "4096\n")]);
        let mut gauges = find(root.path(), "abc", None).expect("found").gauges();
        let seen = gauges.read();
        assert_eq!((seen.peak_memory_bytes, seen.cpu_ms, seen.oom_kills), (Some(4096), None, None));
        let late = root.path().join("cpuacct/docker/abc");
        fs::create_dir_all(&late).expect("a folder");
        fs::write(late.join("cpuacct.usage"), "7000000\n").expect("a file");
        let peak = root.path().join("memory/docker/abc/memory.max_usage_in_bytes");
        // Longer than one piece, as of a host with many disks.
        fs::write(&peak, format!("{}8192\n", " ".repeat(2_000))).expect("a file");
        let seen = gauges.read();
        assert_eq!((seen.peak_memory_bytes, seen.cpu_ms), (Some(8192), Some(7)));
    }

    #[test]
    fn a_process_tells_its_container_folder() {
        let v1 = "5:cpu:/other\n4:blkio,memory:/docker/outer/docker/abc/inner\n0::/\n";
        assert_eq!(path_in(v1, "abc", true).as_deref(), Some("docker/outer/docker/abc"));
        let v2 = "0::/user.slice/user-7.slice/user@7.service/user.slice/libpod-abc.scope/container\n";
        let found = path_in(v2, "abc", false);
        assert_eq!(found.as_deref(), Some("user.slice/user-7.slice/user@7.service/user.slice/libpod-abc.scope"));
        assert_eq!(path_in("0::/init.scope\n", "abc", false), None);
    }
}
