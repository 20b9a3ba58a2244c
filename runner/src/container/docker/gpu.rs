//! The ways of asking an engine for GPUs. Which one works is proved by the self-test, because some engines accept a request and
//! ignore it.
use bollard::models::DeviceRequest;
use serde_json::Value;

use super::Kind;
use super::connect::numbers;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GpuWay {
    /// Docker and NVIDIA's runtime hook.
    Hook,
    /// A CDI device request: Docker from 25, Podman from 5.4.
    Cdi,
    /// A CDI device in libpod's own create call, for older Podman.
    Libpod,
}

impl GpuWay {
    pub(super) fn name(self) -> &'static str {
        match self {
            GpuWay::Hook => "NVIDIA's runtime hook",
            GpuWay::Cdi => "a CDI device request",
            GpuWay::Libpod => "a CDI device through libpod",
        }
    }

    /// For the compat create call; libpod's has its own form.
    pub(super) fn request(self, gpus: &[String]) -> Option<Vec<DeviceRequest>> {
        let one = match self {
            GpuWay::Hook => DeviceRequest {
                driver: Some("nvidia".to_owned()),
                device_ids: Some(gpus.to_vec()),
                capabilities: Some(vec![vec!["gpu".to_owned(), "utility".to_owned(), "compute".to_owned()]]),
                ..DeviceRequest::default()
            },
            GpuWay::Cdi => DeviceRequest {
                driver: Some("cdi".to_owned()),
                device_ids: Some(gpus.iter().map(|gpu| cdi_name(gpu)).collect()),
                ..DeviceRequest::default()
            },
            GpuWay::Libpod => return None,
        };
        (!gpus.is_empty()).then(|| vec![one])
    }
}

/// Whether a container that was made has the devices that were asked for, as Docker's inspect shows its requests. Podman's shows none:
/// there the self-test at the start is all the proof.
pub(super) fn is_granted(inspected: &Value, way: GpuWay, gpus: &[String]) -> bool {
    let requests = inspected["HostConfig"]["DeviceRequests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ids: Vec<_> = requests.iter().filter_map(|one| one["DeviceIDs"].as_array()).flatten().collect();
    gpus.iter().all(|gpu| {
        let name = if way == GpuWay::Cdi { cdi_name(gpu) } else { gpu.clone() };
        ids.iter().any(|id| id.as_str() == Some(&name))
    })
}

pub(super) fn cdi_name(gpu: &str) -> String {
    format!("nvidia.com/gpu={gpu}")
}

/// What is worth trying here, best first: NVIDIA calls CDI the way to go, the hook is what most hosts still have. Whether CDI is switched
/// on and has descriptions is for the engine to know: a runner in a container sees none of its folders, and they may be written later.
pub(super) fn gpu_ways(kind: Kind, version: &str) -> Vec<GpuWay> {
    match kind {
        Kind::Podman if numbers(version) >= (5, 4) => vec![GpuWay::Cdi],
        Kind::Podman => vec![GpuWay::Libpod],
        Kind::Docker if numbers(version) >= (25, 0) => vec![GpuWay::Cdi, GpuWay::Hook],
        Kind::Docker => vec![GpuWay::Hook],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_is_asked_in_a_way_that_it_knows() {
        let cases = [
            (Kind::Docker, "20.10.24+dfsg1", vec![GpuWay::Hook]),
            (Kind::Docker, "24.0.9", vec![GpuWay::Hook]),
            (Kind::Docker, "26.1.5+dfsg1", vec![GpuWay::Cdi, GpuWay::Hook]),
            (Kind::Podman, "4.3.1", vec![GpuWay::Libpod]),
            (Kind::Podman, "5.3.9", vec![GpuWay::Libpod]),
            (Kind::Podman, "5.4.0", vec![GpuWay::Cdi]),
        ];
        for (kind, version, ways) in cases {
            assert_eq!(gpu_ways(kind, version), ways, "{kind:?} {version}");
        }
    }

    #[test]
    fn a_request_names_devices_and_never_a_count() {
        for way in [GpuWay::Hook, GpuWay::Cdi] {
            let request = way.request(&["GPU-1".to_owned()]).expect("one");
            assert!(request[0].count.is_none(), "both at once is an error");
            assert_eq!(request[0].device_ids.as_ref().map(Vec::len), Some(1));
            assert_eq!(way.request(&[]), None);
        }
    }
}
