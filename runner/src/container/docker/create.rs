//! Creating a container, once per attempt: a name that is taken is our own earlier call, or a leftover to replace.
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::Ordering;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigLogConfig, Mount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use dsg_schemas::reason::EndReason;

use super::failure::Trouble;
use super::gpu::{GpuWay, is_granted};
use super::hardening::{Ceilings, LOG_MAX_SIZE, SCRATCH, bounds, capabilities, environment, granted};
use super::plain::escaped_path;
use super::{DockerEngine, Kind, libpod};
use crate::container::{Bind, ContainerPlan, Failure, label};

/// What the engine and the image decide, not the plan.
#[derive(Clone)]
pub(super) struct Settled {
    pub init: bool,
    pub way: Option<GpuWay>,
    pub ceilings: Ceilings,
    pub capabilities: &'static [&'static str],
    /// Names of the variables that the image sets.
    pub images_env: BTreeSet<String>,
}

impl DockerEngine {
    pub(super) async fn create_or_adopt(&self, plan: &ContainerPlan) -> Result<String, Failure> {
        sources_exist(plan)?;
        let id = match self.create_anew(plan).await {
            Ok(id) => id,
            Err(trouble) if name_is_taken(&trouble) => match self.same_attempt(plan).await? {
                Some(id) => id,
                None => {
                    self.remove_with_volumes(&plan.name).await?;
                    self.create_anew(plan).await.map_err(|trouble| failed(plan, trouble))?
                }
            },
            Err(trouble) => return Err(failed(plan, trouble)),
        };
        let ready = match self.make_folders(&id, &plan.folders).await {
            Ok(()) => self.has_gpus(&id, &plan.gpus).await,
            missing => missing,
        };
        if let Err(failure) = ready {
            // A container without its folders or its GPUs must not be found by the next try and run.
            let _ = self.remove_with_volumes(&id).await;
            return Err(failure);
        }
        Ok(id)
    }

    /// An engine may make a container without the GPUs that were asked for, and say nothing.
    async fn has_gpus(&self, id: &str, gpus: &[String]) -> Result<(), Failure> {
        let (Kind::Docker, false, Some(way)) = (self.kind, gpus.is_empty(), self.present_way()) else { return Ok(()) };
        let inspected = self.plain.get(&format!("/containers/{id}/json")).await;
        let inspected = inspected.map_err(|trouble| trouble.failed("see whether the container has its GPUs"))?;
        if is_granted(&inspected, way, gpus) {
            return Ok(());
        }
        Err(Failure {
            reason: EndReason::GpuError,
            message: format!(
                "failed to give the container its GPUs {}: the engine accepted {} and ignored it; dsg-runner's self-test says which way works here",
                gpus.join(", "),
                way.name()
            ),
            engine_gone: false,
        })
    }

    fn present_way(&self) -> Option<GpuWay> {
        self.gpu_ways.get(self.gpu_way.load(Ordering::Relaxed)).copied()
    }

    async fn create_anew(&self, plan: &ContainerPlan) -> Result<String, Trouble> {
        let defaults = self.image_defaults(&plan.image).await?;
        let settled = self.settled(plan.user.as_deref().unwrap_or(&defaults.user), defaults.env.clone());
        match self.create_with(plan, &settled).await {
            // Podman without catatonit. A container without an init is worse at dying, not at working.
            Err(trouble) if settled.init && trouble.says(&["container-init binary", "catatonit"]) => {
                self.no_init.store(true, Ordering::Relaxed);
                self.create_with(plan, &Settled { init: false, ..settled.clone() }).await
            }
            done => done,
        }
    }

    async fn create_with(&self, plan: &ContainerPlan, settled: &Settled) -> Result<String, Trouble> {
        if settled.way == Some(GpuWay::Libpod) && !plan.gpus.is_empty() {
            let body = libpod::body(plan, &settled.images_env, settled.init, &settled.ceilings, settled.capabilities);
            let made = self.plain.post(libpod::CREATE, &body).await?;
            let id = made["Id"].as_str().ok_or_else(|| Trouble::Strange(format!("no id in {made}")))?;
            return Ok(id.to_owned());
        }
        let options = CreateContainerOptionsBuilder::default().name(&plan.name).build();
        Ok(self.deadline(self.short.create_container(Some(options), body(plan, settled))).await?.id)
    }

    /// What is asked of the engine for a plan: for the benchmark that makes the same containers without a runner.
    pub fn request_for(&self, plan: &ContainerPlan) -> ContainerCreateBody {
        body(plan, &self.settled(plan.user.as_deref().unwrap_or_default(), BTreeSet::new()))
    }

    fn settled(&self, user: &str, images_env: BTreeSet<String>) -> Settled {
        Settled {
            init: !self.no_init.load(Ordering::Relaxed),
            way: self.present_way(),
            ceilings: self.ceilings,
            capabilities: capabilities(user),
            images_env,
        }
    }

    /// The container of that name, if an earlier call for the same attempt made it.
    async fn same_attempt(&self, plan: &ContainerPlan) -> Result<Option<String>, Failure> {
        let path = format!("/containers/{}/json", escaped_path(&plan.name));
        let found = match self.plain.get(&path).await {
            Ok(found) => found,
            Err(trouble) if trouble.missing() => return Ok(None),
            Err(trouble) => return Err(trouble.failed(&format!("look at {}, which exists already", plan.name))),
        };
        let same = |name: &str| found["Config"]["Labels"][name].as_str() == plan.labels.get(name).map(String::as_str);
        let ours = plan.labels.contains_key(label::ATTEMPT)
            && same(label::ATTEMPT)
            && same(label::GRID)
            && same(label::POLICY);
        Ok(found["Id"].as_str().filter(|_| ours).map(str::to_owned))
    }
}

fn failed(plan: &ContainerPlan, trouble: Trouble) -> Failure {
    let reason = if trouble.says(&["unresolvable cdi"]) {
        EndReason::GpuError
    } else if trouble.says(&["no space left on device"]) {
        EndReason::DiskFull
    } else {
        EndReason::EngineError
    };
    trouble.sorted(&format!("create container {}", plan.name), reason)
}

fn name_is_taken(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused { status: 409, .. }) || trouble.says(&["already in use"])
}

/// Engines make a missing source themselves, as an empty folder of root: a chunk would run without its data.
fn sources_exist(plan: &ContainerPlan) -> Result<(), Failure> {
    let missing = plan.binds.iter().find(|bind| !Path::new(&bind.host).exists());
    missing.map_or(Ok(()), |bind| {
        let message = format!("failed to create container {}: {} does not exist on this host", plan.name, bind.host);
        Err(Failure { reason: EndReason::EngineError, message, engine_gone: false })
    })
}

pub(super) fn body(plan: &ContainerPlan, settled: &Settled) -> ContainerCreateBody {
    let env = environment(plan, &settled.images_env, settled.way == Some(GpuWay::Hook));
    ContainerCreateBody {
        image: Some(plan.image.clone()),
        entrypoint: plan.entrypoint.clone(),
        cmd: (!plan.command.is_empty()).then(|| plan.command.clone()),
        env: Some(env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(plan.labels.clone().into_iter().collect()),
        working_dir: plan.workdir.clone(),
        user: plan.user.clone(),
        tty: Some(false),
        open_stdin: Some(false),
        host_config: Some(host_config(plan, settled)),
        ..ContainerCreateBody::default()
    }
}

/// Not `rprivate` where the folder alone is meant: crun (seen with 1.21) binds what is beneath it along, and leaves that writable.
fn propagation(bind: &Bind) -> MountBindOptionsPropagationEnum {
    match bind.named {
        true => MountBindOptionsPropagationEnum::PRIVATE,
        false => MountBindOptionsPropagationEnum::RPRIVATE,
    }
}

fn host_config(plan: &ContainerPlan, settled: &Settled) -> HostConfig {
    let bounds = bounds(plan, &settled.ceilings);
    let ulimit = |(name, value): &(&str, i64)| ResourcesUlimits {
        name: Some((*name).to_owned()),
        soft: Some(*value),
        hard: Some(*value),
    };
    let mount = |bind: &Bind| Mount {
        typ: Some(MountType::BIND),
        source: Some(bind.host.clone()),
        target: Some(bind.container.clone()),
        read_only: Some(!bind.write),
        bind_options: Some(MountBindOptions {
            propagation: Some(propagation(bind)),
            non_recursive: bind.named.then_some(true),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    };
    let device = |device: &crate::container::HostDevice| DeviceMapping {
        path_on_host: Some(device.host.clone()),
        path_in_container: Some(device.container.clone()),
        // Not m: no other device is made of it.
        cgroup_permissions: Some("rw".to_owned()),
    };
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(granted(settled.capabilities, plan)),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        network_mode: Some(plan.network.clone()),
        ipc_mode: Some("private".to_owned()),
        memory: Some(bounds.memory),
        // The same as memory: no swap.
        memory_swap: Some(bounds.memory),
        nano_cpus: Some(bounds.nano_cpus),
        pids_limit: Some(bounds.pids),
        ulimits: Some(bounds.ulimits.iter().map(ulimit).collect()),
        shm_size: plan.shm_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        init: settled.init.then_some(true),
        // Never removed by itself: its exit would be lost with it.
        auto_remove: Some(false),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([("max-size".to_owned(), LOG_MAX_SIZE.to_owned())])),
        }),
        mounts: Some(plan.binds.iter().map(mount).collect()),
        tmpfs: (!plan.scratch.is_empty())
            .then(|| plan.scratch.iter().map(|path| (path.clone(), SCRATCH.join(","))).collect()),
        devices: (!plan.devices.is_empty()).then(|| plan.devices.iter().map(device).collect()),
        device_requests: settled.way.and_then(|way| way.request(&plan.gpus)),
        ..HostConfig::default()
    }
}
