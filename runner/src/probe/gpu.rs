//! NVIDIA GPUs through the driver's own library. That there is none is the normal case; that one is broken must not hide the rest.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dsg_schemas::wire::{Gpu, GpuLoad};
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::xid::{Xid, Xids};

/// The driver's library, open as long as the runner lives.
pub struct GpuProbe {
    /// Never closed: the events that are waited for borrow it, and it goes with the process.
    nvml: Option<&'static Nvml>,
    note: Option<String>,
    xids: Xids,
}

/// What the driver shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpus {
    pub gpus: Vec<Gpu>,
    /// Why there are none, or fewer than the driver shows.
    pub note: Option<String>,
    /// Of those that are ill, the ones that nothing but a reset makes well.
    pub until_restart: BTreeSet<String>,
}

/// What is wrong with a GPU.
struct Fault {
    why: String,
    until_restart: bool,
}

impl GpuProbe {
    /// Without a GPU, whatever the host has.
    pub fn none() -> GpuProbe {
        GpuProbe { nvml: None, note: None, xids: Xids::default() }
    }

    /// Opens the driver's library, or remembers why not. `library` is `--nvml-lib`.
    pub fn open(library: Option<&Path>) -> GpuProbe {
        let opened = match library {
            Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
            None => Nvml::init().or_else(|first| {
                // Some distributions ship only the plain name, some only the numbered one.
                let other = Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init();
                other.map_err(|second| if is_missing(&second) { first } else { second })
            }),
        };
        match opened {
            Ok(nvml) => {
                let nvml: &'static Nvml = Box::leak(Box::new(nvml));
                GpuProbe { nvml: Some(nvml), note: None, xids: Xids::listen(nvml) }
            }
            Err(error) => {
                let note = why_none(&error, library);
                if is_missing(&error) && library.is_none() {
                    tracing::info!("{note}");
                } else {
                    tracing::warn!("{note}");
                }
                GpuProbe { nvml: None, note: Some(note), xids: Xids::default() }
            }
        }
    }

    pub fn gpus(&self) -> Gpus {
        let Some(nvml) = &self.nvml else { return Gpus { note: self.note.clone(), ..Gpus::default() } };
        let xids = self.xids.since_the_last_look();
        let driver = nvml.sys_driver_version().ok();
        let mut found = Gpus::default();
        let mut lost = Vec::new();
        for index in 0..nvml.device_count().unwrap_or(0) {
            let xid_of = |uuid: &str| xids.get(uuid).copied();
            match nvml.device_by_index(index).and_then(|device| read(&device, index, driver.as_deref(), xid_of)) {
                Ok((gpus, until_restart)) => {
                    found.until_restart.extend(gpus.iter().filter(|_| until_restart).map(|gpu| gpu.uuid.clone()));
                    found.gpus.extend(gpus);
                }
                Err(error) => lost.push(format!("GPU {index}: {error}")),
            }
        }
        if !lost.is_empty() {
            let note = format!("left out, because the driver cannot use them: {}; see nvidia-smi", lost.join(", "));
            found.note = Some(note);
        } else if found.gpus.is_empty() {
            found.note = Some("the NVIDIA driver works, and shows no GPU".to_owned());
        }
        found
    }

    /// What the GPUs are doing; one that cannot be asked is left out.
    pub fn load(&self) -> Vec<GpuLoad> {
        let Some(nvml) = &self.nvml else { return Vec::new() };
        let devices = (0..nvml.device_count().unwrap_or(0)).filter_map(|index| nvml.device_by_index(index).ok());
        devices
            .flat_map(|device| {
                let instances = instances(&device);
                let celsius = device.temperature(TemperatureSensor::Gpu).ok();
                if instances.is_empty() {
                    vec![load_of(&device, celsius)]
                } else {
                    instances.iter().map(|instance| load_of(instance, celsius)).collect()
                }
            })
            .filter(|load| !load.uuid.is_empty())
            .collect()
    }
}

/// The GPU, or its MIG instances where it is split: then they are what can be asked for. And whether nothing but a reset makes it well.
fn read(
    device: &Device<'_>,
    index: u32,
    driver: Option<&str>,
    xid_of: impl Fn(&str) -> Option<Xid>,
) -> Result<(Vec<Gpu>, bool), NvmlError> {
    let compute_capability =
        device.cuda_compute_capability().ok().map(|version| format!("{}.{}", version.major, version.minor));
    let uuid = device.uuid()?;
    let xid = xid_of(&uuid).map(|xid| Fault { why: xid.to_string(), until_restart: xid.needs_a_reset() });
    // What it is now says more than what it reported meanwhile.
    let fault = fault(device).or(xid);
    let until_restart = fault.as_ref().is_some_and(|fault| fault.until_restart);
    let whole = Gpu {
        uuid,
        index,
        model: device.name()?,
        memory_bytes: device.memory_info().map_or(0, |memory| memory.total),
        driver: driver.map(str::to_owned),
        compute_capability,
        unhealthy: fault.map(|fault| fault.why),
        // Its owner's to say.
        shares: 0,
    };
    let parts: Vec<Gpu> = instances(device)
        .iter()
        .filter_map(|instance| {
            let memory_bytes = instance.memory_info().map_or(0, |memory| memory.total);
            let model = instance.name().unwrap_or_else(|_| format!("{} MIG", whole.model));
            Some(Gpu { uuid: instance.uuid().ok()?, model, memory_bytes, ..whole.clone() })
        })
        .collect();
    Ok((if parts.is_empty() { vec![whole] } else { parts }, until_restart))
}

fn instances<'a>(device: &Device<'a>) -> Vec<Device<'a>> {
    let split = device.mig_mode().is_ok_and(|mode| mode.current == 1);
    let count = if split { device.mig_device_count().unwrap_or(0) } else { 0 };
    (0..count).filter_map(|index| device.mig_device_by_index(index).ok()).collect()
}

/// A GPU that fell off the bus still has a name, and answers everything else with an error.
fn fault(device: &Device<'_>) -> Option<Fault> {
    let fault = |why: String, until_restart| Some(Fault { why, until_restart });
    match device.memory_info() {
        Err(error @ NvmlError::GpuLost) => {
            let next = "see nvidia-smi, reset the GPU or reboot the host, and start the runner again";
            return fault(format!("it fell off the bus ({error}); {next}"), true);
        }
        Err(error @ (NvmlError::ResetRequired | NvmlError::IrqIssue | NvmlError::Unknown)) => {
            return fault(format!("{error}; see nvidia-smi, and reboot the host or reset the GPU"), false);
        }
        Ok(_) | Err(_) => {}
    }
    // Counted since its last reset. One without ECC does not know.
    let errors = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).unwrap_or(0);
    let times = if errors == 1 { "once".to_owned() } else { format!("{errors} times") };
    let next = "see nvidia-smi -q -d ECC, and reset the GPU";
    if errors == 0 {
        None
    } else {
        fault(format!("its memory lost what was in it {times} since its last reset; {next}"), false)
    }
}

fn load_of(device: &Device<'_>, celsius: Option<u32>) -> GpuLoad {
    GpuLoad {
        uuid: device.uuid().unwrap_or_default(),
        busy_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        memory_used_bytes: device.memory_info().ok().map(|memory| memory.used),
        celsius,
    }
}

fn is_missing(error: &NvmlError) -> bool {
    matches!(error, NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound)
}

fn why_none(error: &NvmlError, library: Option<&Path>) -> String {
    let from = library.map(PathBuf::from).map(|path| format!(" at {}", path.display())).unwrap_or_default();
    match error {
        NvmlError::LibloadingError(cause) if library.is_some() => {
            format!("no GPUs: failed to load NVIDIA's library{from}: {cause}")
        }
        error if is_missing(error) => "no GPUs: no NVIDIA driver is installed".to_owned(),
        NvmlError::LibRmVersionMismatch => format!(
            "no GPUs: NVIDIA's library{from} and the loaded kernel driver have different versions; the driver was upgraded, so reboot this host"
        ),
        NvmlError::DriverNotLoaded => {
            format!(
                "no GPUs: NVIDIA's library{from} is here, but the kernel driver is not loaded; try modprobe nvidia, or nvidia-smi to see why"
            )
        }
        NvmlError::NoPermission => {
            "no GPUs: this user may not use NVIDIA's devices; look at the rights of /dev/nvidia*".to_owned()
        }
        NvmlError::FailedToLoadSymbol(name) => {
            format!("no GPUs: the library{from} is not NVIDIA's, or too old: it lacks {name}")
        }
        other => format!("no GPUs: NVIDIA's library{from} does not start: {other}"),
    }
}

#[cfg(test)]
#[path = "gpu_tests.rs"]
mod tests;
