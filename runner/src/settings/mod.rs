//! `runner.toml`: what the runner is started with where no flag and no variable says otherwise, and the owner's policy, which has
//! neither. Read whole or not at all: a policy of which a part was not understood is none.
mod file;
mod keys;
mod owner;
mod place;
mod render;
mod section;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dsg_schemas::policy::{MountRule, Policy};
use dsg_schemas::units::{Bytes, Millis};

use crate::container::docker::Registries;
use crate::owner::Owner;
use crate::policy::{Absent, Device, GpuShares, LocalPolicy, Mount};
use crate::room::Marks;
#[cfg(test)]
pub use file::parse;
pub use keys::{KEYS, table};

/// What a file says; all of it may be left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub engine: Option<String>,
    pub nvml_lib: Option<PathBuf>,
    pub cpus_milli: Option<u64>,
    pub memory: Option<Bytes>,
    pub tags: Option<Vec<String>>,
    pub labels: BTreeMap<String, String>,
    pub cache: Option<Bytes>,
    pub insecure_http: Option<bool>,
    pub log_json: Option<bool>,
    pub reserve_cpus_milli: Option<u64>,
    pub reserve_memory: Option<Bytes>,
    pub reserve_disk: Option<Bytes>,
    pub marks: Marks,
    pub registries: Registries,
    pub policy: Policy,
    pub gpus: Option<Vec<String>>,
    pub gpu_shares: GpuShares,
    pub devices: BTreeMap<String, PathBuf>,
    pub mounts: BTreeMap<String, Named>,
    pub owner: Owner,
    pub lifetime: Option<Millis>,
    pub idle_timeout: Option<Millis>,
    pub secrets_dir: Option<PathBuf>,
}

/// A mount as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub path: PathBuf,
    pub write: bool,
}

/// A variable that nobody reads is a mistake that nobody sees.
pub fn unknown_variable(names: impl Iterator<Item = String>) -> Option<String> {
    let known = || KEYS.iter().map(|key| key.variable).filter(|variable| !variable.is_empty());
    let mut ours = names.filter(|name| name.starts_with("DSG_RUNNER_"));
    let name = ours.find(|name| !known().any(|known| known == name))?;
    let hint = dsg_schemas::spec::did_you_mean(&name, known()).map(|near| format!("; did you mean {near}?"));
    Some(format!("there is no setting {name}{}", hint.unwrap_or_default()))
}

/// The file that was named, or the usual one where it is there.
pub fn read(named: Option<&Path>) -> anyhow::Result<Settings> {
    let usual = usual();
    let path = match (named, &usual) {
        (Some(named), _) => named,
        (None, Some(usual)) if usual.exists() => usual,
        (None, _) => return Ok(Settings::default()),
    };
    let shown = path.display();
    let meta =
        fs::metadata(path).with_context(|| format!("cannot read {shown}, which says what this runner may do"))?;
    if meta.is_file() && meta.mode() & 0o022 != 0 {
        bail!("{shown} says what this runner may do, and others may write it; do chmod go-w {shown} first");
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let settings = file::parse(&text).map_err(|problems| anyhow::anyhow!("{}", render::all(path, &text, &problems)))?;
    tracing::info!(file = %shown, "settings and policy");
    Ok(settings)
}

/// Beside `dsg`'s own for people, in `/etc` for the host.
fn usual() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/etc/dsg/runner.toml"));
    }
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = from("XDG_CONFIG_HOME").or_else(|| from("HOME").map(|home| home.join(".config")));
    base.map(|base| base.join("dsg/runner.toml"))
}

impl Settings {
    /// The policy, with its mounts as they are now. One whose folder is not there is no reason to run nothing.
    pub fn local_policy(&self, state: &Path) -> anyhow::Result<LocalPolicy> {
        let (mut mounts, mut absent) = (BTreeMap::new(), BTreeMap::new());
        for (name, Named { path, write }) in &self.mounts {
            if path.is_absolute() && matches!(path.try_exists(), Ok(false)) {
                let rule = MountRule { write: *write };
                absent.insert(name.clone(), Absent { path: path.clone(), rule });
                continue;
            }
            let mount = Mount::at_start(name, path, *write, &[state])
                .map_err(|why| anyhow::anyhow!("the policy's mount `{name}`: {why}"))?;
            mounts.insert(name.clone(), mount);
        }
        for (name, mount) in &mounts {
            if let Some((other, _)) = mounts.iter().find(|(_, other)| mount.is_beneath_writable(other)) {
                bail!(
                    "the policy's mount `{name}` lies in `{other}`, where containers write: they could turn it into a link; name folders beside each other"
                );
            }
        }
        let (devices, absent_devices) = self.devices_now()?;
        let policy = LocalPolicy::new(self.policy.clone(), mounts, self.gpus.clone()).without(absent);
        Ok(policy.with_devices(devices, absent_devices).with_shares(self.gpu_shares.clone()))
    }

    /// The policy's devices that are there, and those that are not.
    fn devices_now(&self) -> anyhow::Result<(BTreeMap<String, Device>, BTreeMap<String, PathBuf>)> {
        let (mut devices, mut absent) = (BTreeMap::new(), BTreeMap::new());
        for (name, path) in &self.devices {
            if path.is_absolute() && matches!(path.try_exists(), Ok(false)) {
                absent.insert(name.clone(), path.clone());
                continue;
            }
            let device =
                Device::at_start(name, path).map_err(|why| anyhow::anyhow!("the policy's device `{name}`: {why}"))?;
            devices.insert(name.clone(), device);
        }
        Ok((devices, absent))
    }
}
