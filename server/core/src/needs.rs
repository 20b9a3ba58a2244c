//! Whether a chunk fits a runner, and if not, why: placing and explaining ask the same function.
use std::collections::BTreeMap;
use std::fmt;

use dsg_schemas::policy::{Asked, Objection};
use dsg_schemas::spec::{Constraints, Placement};
use dsg_schemas::units::{self, Bytes};
use dsg_schemas::wire::{Facts, Gpu};

use crate::event::Millis;
use crate::planted::{Bug, planted};
use crate::policy::Needs;

/// What is reserved on a runner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub cpus_milli: u64,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub gpus: BTreeMap<String, Taken>,
}

/// How many hold one GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Those that were promised to be alone on it.
    pub alone: u32,
    pub shares: u32,
}

impl Taken {
    fn of_mut(&mut self, needs: &Needs) -> &mut u32 {
        if needs.gpu_share { &mut self.shares } else { &mut self.alone }
    }
}

impl Used {
    pub fn add(&mut self, needs: &Needs, gpus: &[String]) {
        self.cpus_milli = self.cpus_milli.saturating_add(needs.cpus_milli);
        self.memory_bytes = self.memory_bytes.saturating_add(needs.memory_bytes);
        self.disk_bytes = self.disk_bytes.saturating_add(needs.disk_bytes);
        for gpu in gpus {
            *self.gpus.entry(gpu.clone()).or_default().of_mut(needs) += 1;
        }
    }

    pub fn take_away(&mut self, needs: &Needs, gpus: &[String]) {
        self.cpus_milli = self.cpus_milli.saturating_sub(needs.cpus_milli);
        self.memory_bytes = self.memory_bytes.saturating_sub(needs.memory_bytes);
        self.disk_bytes = self.disk_bytes.saturating_sub(needs.disk_bytes);
        for gpu in gpus {
            let Some(taken) = self.gpus.get_mut(gpu) else { continue };
            let count = taken.of_mut(needs);
            *count = count.saturating_sub(1);
            if *taken == Taken::default() {
                self.gpus.remove(gpu);
            }
        }
    }

    /// How many chunks with these needs the GPU has room for: alone on it, or as many as its owner lets share it.
    fn room_on(&self, gpu: &Gpu, needs: &Needs) -> u32 {
        let taken = self.gpus.get(&gpu.uuid).copied().unwrap_or_default();
        let crowded = taken.shares > 0 && !planted(Bug::SharedGivenAlone);
        match needs.gpu_share {
            _ if taken.alone > 0 => 0,
            true if planted(Bug::SharesUncounted) => u32::MAX,
            true => gpu.most_shares().saturating_sub(taken.shares),
            false => u32::from(!crowded),
        }
    }

    fn is_shared(&self, gpu: &Gpu) -> bool {
        self.gpus.get(&gpu.uuid).is_some_and(|taken| taken.shares > 0)
    }
}

/// The first rule that keeps a class away from a runner.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Misfit {
    Require(String),
    Avoid(String),
    /// Its owner's policy is against it.
    Policy(Objection),
    /// What it would need failed when the runner tried it at its start.
    SelfTest {
        cannot: String,
        check: String,
        note: String,
    },
    Cpus {
        needs: u64,
        used: u64,
        has: u64,
    },
    Memory {
        needs: u64,
        used: u64,
        has: u64,
    },
    Disk {
        needs: u64,
        used: u64,
        has: u64,
    },
    /// It ends by itself before the chunk must be over.
    Ends {
        left: Millis,
        needs: Millis,
    },
    NoGpu {
        note: String,
    },
    GpuKind {
        needs: u32,
        fitting: u32,
        what: String,
        /// Why one that would fit is not used, if there is one.
        ill: Option<String>,
    },
    GpuBusy {
        needs: u32,
        free: u32,
        fitting: u32,
        /// Of those that are not free, so many are shared; all their shares are taken, or it wants to be alone.
        shared: u32,
        share: bool,
    },
}

impl Misfit {
    /// True if waiting does not help: the runner could not hold it even when idle.
    pub fn is_for_ever(&self) -> bool {
        match self {
            Misfit::Require(_)
            | Misfit::Avoid(_)
            | Misfit::Policy(_)
            | Misfit::Ends { .. }
            | Misfit::SelfTest { .. }
            | Misfit::NoGpu { .. }
            | Misfit::GpuKind { .. } => true,
            Misfit::Cpus { needs, has, .. } | Misfit::Memory { needs, has, .. } | Misfit::Disk { needs, has, .. } => {
                needs > has
            }
            Misfit::GpuBusy { .. } => false,
        }
    }
}

/// What keeps a class away from a runner of which `used` is reserved; `None` if it fits.
pub(crate) fn misfit(
    now: Millis,
    name: &str,
    facts: &Facts,
    used: &Used,
    needs: &Needs,
    rules: &Constraints,
) -> Option<Misfit> {
    let left = facts.ends_ms.map(|ends| ends.saturating_sub(now)).filter(|_| !planted(Bug::EndsUnasked));
    if let Some((left, needs)) = left.zip(needs.run_ms).filter(|(left, needs)| needs > left) {
        return Some(Misfit::Ends { left, needs });
    }
    if let Some(missing) = missing(&rules.require, name, facts) {
        return Some(Misfit::Require(missing));
    }
    if let Some(hit) = hit(&rules.avoid, name, facts) {
        return Some(Misfit::Avoid(hit));
    }
    if let Some(objection) = facts.policy.objection(&asked(needs)) {
        return Some(Misfit::Policy(objection));
    }
    if let Some((check, work)) = facts.blocked_by(&asked(needs), needs.gpus) {
        let (check, note) = (check.name.clone(), check.note.clone());
        return Some(Misfit::SelfTest { cannot: work.cannot(), check, note });
    }
    let (needed, taken, has) = (needs.cpus_milli, used.cpus_milli, facts.cpus_milli);
    if needed > has.saturating_sub(taken) {
        return Some(Misfit::Cpus { needs: needed, used: taken, has });
    }
    let (needed, taken, has) = (needs.memory_bytes, used.memory_bytes, facts.memory_bytes);
    if needed > has.saturating_sub(taken) {
        return Some(Misfit::Memory { needs: needed, used: taken, has });
    }
    let (needed, taken, has) = (needs.disk_bytes, used.disk_bytes, facts.disk_bytes);
    if needed > has.saturating_sub(taken) {
        return Some(Misfit::Disk { needs: needed, used: taken, has });
    }
    gpu_misfit(facts, used, needs)
}

/// How many chunks with these needs there is room for, where there is room for one at all.
pub(crate) fn fits(facts: &Facts, used: &Used, needs: &Needs) -> u64 {
    let fitting = facts.gpus.iter().filter(|gpu| needs.gpus > 0 && gpu_fits(gpu, needs));
    let gpus = fitting.map(|gpu| u64::from(used.room_on(gpu, needs))).sum();
    let times = [
        (facts.cpus_milli.saturating_sub(used.cpus_milli), needs.cpus_milli),
        (facts.memory_bytes.saturating_sub(used.memory_bytes), needs.memory_bytes),
        (facts.disk_bytes.saturating_sub(used.disk_bytes), needs.disk_bytes),
        (gpus, u64::from(needs.gpus)),
    ];
    times.into_iter().filter_map(|(free, need)| free.checked_div(need)).min().unwrap_or(u64::MAX)
}

fn asked(needs: &Needs) -> Asked<'_> {
    Asked {
        image: &needs.image,
        network: if needs.network { "bridge" } else { "none" },
        mounts: &needs.mounts,
        devices: &needs.devices,
        cpus_milli: needs.cpus_milli,
        memory_bytes: needs.memory_bytes,
        disk_bytes: needs.disk_bytes,
        run_ms: needs.run_ms,
        secrets: !needs.secrets.is_empty(),
    }
}

fn gpu_misfit(facts: &Facts, used: &Used, needs: &Needs) -> Option<Misfit> {
    if needs.gpus == 0 {
        return None;
    }
    if facts.gpus.is_empty() {
        return Some(Misfit::NoGpu { note: facts.gpu_note.clone().unwrap_or_default() });
    }
    let fitting = facts.gpus.iter().filter(|gpu| gpu_fits(gpu, needs));
    let (mut count, mut free, mut shared) = (0, 0, 0);
    for gpu in fitting {
        let has_room = used.room_on(gpu, needs) > 0;
        count += 1;
        free += u32::from(has_room);
        shared += u32::from(!has_room && used.is_shared(gpu));
    }
    if count < needs.gpus {
        let mut ill = facts.gpus.iter().filter(|gpu| is_wanted(gpu, needs)).filter_map(|gpu| gpu.unhealthy.clone());
        return Some(Misfit::GpuKind { needs: needs.gpus, fitting: count, what: gpu_words(needs), ill: ill.next() });
    }
    let busy = Misfit::GpuBusy { needs: needs.gpus, free, fitting: count, shared, share: needs.gpu_share };
    (free < needs.gpus).then_some(busy)
}

/// The very devices for a chunk that fits: the smallest that will do, so that large ones stay free for those who need them. One that
/// is content with a share goes to others like it, so that whole ones stay free as well.
pub(crate) fn choose_gpus(facts: &Facts, used: &Used, needs: &Needs) -> Vec<String> {
    if needs.gpus == 0 {
        return Vec::new();
    }
    let is_free = |gpu: &Gpu| used.room_on(gpu, needs) > 0 || planted(Bug::GpuGivenTwice);
    let mut free: Vec<&Gpu> = facts.gpus.iter().filter(|gpu| gpu_fits(gpu, needs) && is_free(gpu)).collect();
    free.sort_by_key(|gpu| {
        let company = needs.gpu_share.then(|| (!used.is_shared(gpu), gpu.most_shares() == 1));
        (company, gpu.memory_bytes, gpu.index)
    });
    free.iter().take(needs.gpus as usize).map(|gpu| gpu.uuid.clone()).collect()
}

fn gpu_fits(gpu: &Gpu, needs: &Needs) -> bool {
    gpu.unhealthy.is_none() && is_wanted(gpu, needs)
}

/// Whatever its health.
fn is_wanted(gpu: &Gpu, needs: &Needs) -> bool {
    let model = gpu.model.to_lowercase();
    gpu.memory_bytes >= needs.gpu_min_memory_bytes
        && (needs.gpu_models.is_empty() || needs.gpu_models.iter().any(|part| model.contains(&part.to_lowercase())))
        && needs.gpu_min_capability.is_none_or(|least| capability(gpu).is_some_and(|has| has >= least))
}

fn capability(gpu: &Gpu) -> Option<(u32, u32)> {
    let (major, minor) = gpu.compute_capability.as_deref()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The first thing that a runner lacks.
fn missing(require: &Placement, name: &str, facts: &Facts) -> Option<String> {
    let Placement { arch, runners, tags, labels } = require;
    if let Some(arch) = arch.filter(|arch| facts.arch != Some(*arch)) {
        return Some(format!("is not {}", format!("{arch:?}").to_lowercase()));
    }
    if !runners.is_empty() && !runners.iter().any(|wanted| wanted == name) {
        return Some(format!("is not {}", runners.join(" or ")));
    }
    if let Some(tag) = tags.iter().find(|tag| !facts.tags.contains(tag)) {
        return Some(format!("lacks tag {tag}"));
    }
    let label = labels.iter().find(|(key, value)| facts.labels.get(*key) != Some(value));
    label.map(|(key, value)| format!("lacks label {key}={value}"))
}

/// The first thing by which a runner matches.
pub(crate) fn hit(any: &Placement, name: &str, facts: &Facts) -> Option<String> {
    let Placement { arch, runners, tags, labels } = any;
    if let Some(arch) = arch.filter(|arch| facts.arch == Some(*arch)) {
        return Some(format!("is {}", format!("{arch:?}").to_lowercase()));
    }
    if runners.iter().any(|named| named == name) {
        return Some("is named".to_owned());
    }
    if let Some(tag) = tags.iter().find(|tag| facts.tags.contains(tag)) {
        return Some(format!("has tag {tag}"));
    }
    let label = labels.iter().find(|(key, value)| facts.labels.get(*key) == Some(value));
    label.map(|(key, value)| format!("has label {key}={value}"))
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Require(what) => write!(f, "{what}, which the job requires"),
            Misfit::Avoid(what) => write!(f, "{what}, which the job avoids"),
            Misfit::Policy(objection) => objection.fmt(f),
            Misfit::SelfTest { cannot, check, note } => {
                write!(f, "{cannot}: its self-test failed at `{check}` ({note})")
            }
            Misfit::Cpus { needs, used, has } => room(f, "cpus", cpus(*needs), cpus(*used), cpus(*has), needs > has),
            Misfit::Memory { needs, used, has } => {
                room(f, "of memory", size(*needs), size(*used), size(*has), needs > has)
            }
            Misfit::Disk { needs, used, has } => room(f, "of disk", size(*needs), size(*used), size(*has), needs > has),
            Misfit::Ends { left: 0, .. } => write!(f, "was to end by itself by now"),
            Misfit::Ends { left, needs } => {
                // Whole seconds are enough for people.
                let left = units::Millis((left / 1000).max(1) * 1000);
                write!(f, "ends by itself in {left}, and it may run for {}", units::Millis(*needs))
            }
            Misfit::NoGpu { note } if note.is_empty() => write!(f, "has no GPU"),
            Misfit::NoGpu { note } => write!(f, "has no GPU ({note})"),
            Misfit::GpuKind { needs, fitting, what, ill } => {
                write!(f, "has {fitting} of the {needs} GPUs it needs ({what}, healthy)")?;
                ill.as_ref().map_or(Ok(()), |why| write!(f, "; not healthy: {why}"))
            }
            Misfit::GpuBusy { needs, free, fitting, shared: 0, share: _ } => {
                write!(f, "{} of {fitting} GPUs are in use; it needs {needs}", fitting - free)
            }
            Misfit::GpuBusy { needs, free, fitting, shared, share: true } => {
                let busy = fitting - free;
                write!(
                    f,
                    "{busy} of {fitting} GPUs are in use, {shared} with all shares taken; it needs a share of {needs}"
                )
            }
            Misfit::GpuBusy { needs, free, fitting, shared, share: false } => {
                let busy = fitting - free;
                write!(f, "{busy} of {fitting} GPUs are in use, {shared} shared by others; it needs {needs} for itself")
            }
        }
    }
}

fn room(f: &mut fmt::Formatter<'_>, of: &str, needs: String, used: String, has: String, never: bool) -> fmt::Result {
    if never {
        write!(f, "has {has} {of}, it needs {needs}")
    } else {
        write!(f, "{used} of {has} {of} are in use; it needs {needs}")
    }
}

/// `2.5`.
pub(crate) fn cpus(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn size(bytes: u64) -> String {
    for (unit, name) in [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")] {
        if bytes >= unit && !bytes.is_multiple_of(unit) {
            return format!("{:.1}{name}", bytes as f64 / unit as f64);
        }
    }
    Bytes(bytes).to_string()
}

fn gpu_words(needs: &Needs) -> String {
    let mut words = Vec::new();
    if !needs.gpu_models.is_empty() {
        words.push(needs.gpu_models.join(" or "));
    }
    if needs.gpu_min_memory_bytes > 0 {
        words.push(format!("at least {}", size(needs.gpu_min_memory_bytes)));
    }
    if let Some((major, minor)) = needs.gpu_min_capability {
        words.push(format!("capability {major}.{minor} or better"));
    }
    if words.is_empty() { "any model".to_owned() } else { words.join(", ") }
}

/// `2 cpus, 4GiB, 1 gpu`.
pub(crate) fn needs_words(needs: &Needs) -> String {
    let mut words = vec![format!("{} cpu{}", cpus(needs.cpus_milli), if needs.cpus_milli == 1000 { "" } else { "s" })];
    words.push(size(needs.memory_bytes));
    if needs.disk_bytes > 0 {
        words.push(format!("{} disk", size(needs.disk_bytes)));
    }
    if needs.gpus > 0 {
        let plural = if needs.gpus == 1 { "" } else { "s" };
        let kind = gpu_words(needs);
        let kind = if kind == "any model" { String::new() } else { format!(" ({kind})") };
        let shared = if needs.gpu_share { "shared " } else { "" };
        words.push(format!("{} {shared}gpu{plural}{kind}", needs.gpus));
    }
    words.join(", ")
}
