//! NVIDIA GPUs through the driver's own library. That there is none is the normal case; that one is broken must not hide the rest.
use std::path::{Path, PathBuf};

use dsg_schemas::wire::{Gpu, GpuLoad};
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

/// The driver's library, open as long as the runner lives.
pub struct GpuProbe {
    nvml: Option<Nvml>,
    note: Option<String>,
}

/// What the driver shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpus {
    pub gpus: Vec<Gpu>,
    /// Why there are none, or fewer than the driver shows.
    pub note: Option<String>,
}

impl GpuProbe {
    /// Without a GPU, whatever the host has.
    pub fn none() -> GpuProbe {
        GpuProbe { nvml: None, note: None }
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
            Ok(nvml) => GpuProbe { nvml: Some(nvml), note: None },
            Err(error) => {
                let note = why_none(&error, library);
                if is_missing(&error) && library.is_none() {
                    tracing::info!("{note}");
                } else {
                    tracing::warn!("{note}");
                }
                GpuProbe { nvml: None, note: Some(note) }
            }
        }
    }

    pub fn gpus(&self) -> Gpus {
        let Some(nvml) = &self.nvml else { return Gpus { gpus: Vec::new(), note: self.note.clone() } };
        let driver = nvml.sys_driver_version().ok();
        let mut found = Gpus::default();
        let mut lost = Vec::new();
        for index in 0..nvml.device_count().unwrap_or(0) {
            match nvml.device_by_index(index).and_then(|device| read(&device, index, driver.as_deref())) {
                Ok(gpus) => found.gpus.extend(gpus),
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

/// The GPU, or its MIG instances where it is split: then they are what can be asked for.
fn read(device: &Device<'_>, index: u32, driver: Option<&str>) -> Result<Vec<Gpu>, NvmlError> {
    let compute_capability =
        device.cuda_compute_capability().ok().map(|version| format!("{}.{}", version.major, version.minor));
    let whole = Gpu {
        uuid: device.uuid()?,
        index,
        model: device.name()?,
        memory_bytes: device.memory_info().map_or(0, |memory| memory.total),
        driver: driver.map(str::to_owned),
        compute_capability,
        unhealthy: unhealthy(device),
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
    Ok(if parts.is_empty() { vec![whole] } else { parts })
}

fn instances<'a>(device: &Device<'a>) -> Vec<Device<'a>> {
    let split = device.mig_mode().is_ok_and(|mode| mode.current == 1);
    let count = if split { device.mig_device_count().unwrap_or(0) } else { 0 };
    (0..count).filter_map(|index| device.mig_device_by_index(index).ok()).collect()
}

/// A GPU that fell off the bus still has a name, and answers everything else with an error.
fn unhealthy(device: &Device<'_>) -> Option<String> {
    match device.memory_info() {
        Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::IrqIssue | NvmlError::Unknown)) => {
            Some(format!("{error}; see nvidia-smi, and reboot the host or reset the GPU"))
        }
        Ok(_) | Err(_) => None,
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
