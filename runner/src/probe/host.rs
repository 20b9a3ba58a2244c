//! Processors, memory and names of the host.
use std::thread::available_parallelism;

use dsg_schemas::wire::Facts;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::selftest::this_arch;

/// The host's part of the facts: all that it has, before its owner's reserve. Engine, GPUs, disk, tags and checks are filled in by
/// others. What cannot be found out stays empty.
pub fn host() -> Facts {
    let (cpus_milli, memory_bytes) = capacity();
    Facts {
        arch: this_arch(),
        os: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        cpus_milli,
        memory_bytes,
        ..Facts::default()
    }
}

/// Thousandths of processors, and bytes of memory, that this process may use: a runner in a container or a slice of its own has
/// only what that was given. `available_parallelism` knows affinity and quota.
fn capacity() -> (u64, u64) {
    let cpus = available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let memory = System::new_with_specifics(refresh).map_or(0, |system| {
        let total = system.total_memory();
        match system.cgroup_limits() {
            Some(limits) if limits.total_memory > 0 => total.min(limits.total_memory),
            _ => total,
        }
    });
    (cpus * 1_000, memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_seen() {
        let facts = host();
        assert!(facts.arch.is_some() && !facts.kernel.is_empty() && !facts.os.is_empty(), "{facts:?}");
        assert!(facts.cpus_milli >= 1_000 && facts.cpus_milli.is_multiple_of(1_000));
        let text = std::fs::read_to_string("/proc/meminfo").expect("Linux");
        let kibibytes: u64 = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
            .expect("a total");
        assert!(facts.memory_bytes > 0 && facts.memory_bytes <= kibibytes * 1024);
    }
}
