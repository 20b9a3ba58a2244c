//! What the host is doing now.
use std::sync::{Arc, Mutex, PoisonError};

use dsg_schemas::wire::Load;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::gpu::GpuProbe;

/// Keeps what a difference needs: processor use is measured between two samples.
pub struct LoadProbe {
    system: Mutex<Option<System>>,
    gpus: Arc<GpuProbe>,
}

impl LoadProbe {
    pub fn new(gpus: Arc<GpuProbe>) -> LoadProbe {
        let refresh = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        LoadProbe { system: Mutex::new(System::new_with_specifics(refresh).ok()), gpus }
    }

    /// One sample; the first one knows no processor use yet. Takes a millisecond, more with GPUs: call it off the async threads
    /// (`spawn_blocking`) where that matters. Free disk space is the engine's to tell.
    pub fn sample(&self, disk_free_bytes: u64) -> Load {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        let (cpu_percent, memory_used_bytes) = match system.as_mut() {
            Some(system) => {
                system.refresh_cpu_usage();
                system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
                (system.global_cpu_usage(), system.total_memory().saturating_sub(system.available_memory()))
            }
            None => (0.0, 0),
        };
        Load { cpu_percent, memory_used_bytes, disk_free_bytes, gpus: self.gpus.load() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_within_what_the_host_has() {
        let probe = LoadProbe::new(Arc::new(GpuProbe::none()));
        let load = probe.sample(7);
        assert!((0.0..=100.0).contains(&load.cpu_percent), "{load:?}");
        assert!(load.memory_used_bytes > 0 && load.memory_used_bytes < crate::probe::host().memory_bytes.max(1 << 50));
        assert_eq!((load.disk_free_bytes, load.gpus.len()), (7, 0));
    }
}
