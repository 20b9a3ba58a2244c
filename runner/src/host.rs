//! What the host is, read from /proc: the part of the probe that needs no engine and no driver.
use dsg_schemas::wire::Facts;

/// The host's own name.
pub fn name() -> String {
    read("/proc/sys/kernel/hostname").unwrap_or_else(|| "runner".to_owned())
}

pub fn facts() -> Facts {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let memory = read("/proc/meminfo").and_then(|text| {
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        kib.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    });
    Facts {
        cpus_milli: cpus * 1000,
        memory_bytes: memory.unwrap_or(0) << 10,
        kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        ..Facts::default()
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
