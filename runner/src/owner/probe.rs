//! What tells whether somebody uses the host: the kernel's count of processor time, and terminals on which somebody typed, as `w` shows
//! them.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::idle::others_percent;
use super::{OnlyWhenIdle, Seen};

/// `/proc/stat` counts in these.
const TICK_MS: u64 = 10;

/// Processor time of our own containers, by their names.
pub type Ours = BTreeMap<String, u64>;

/// Keeps what a difference needs.
pub struct Probe {
    proc: PathBuf,
    dev: PathBuf,
    last: Option<(Instant, u64, Ours)>,
    busy_at: Option<Instant>,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe::new("/proc".into(), "/dev".into())
    }
}

impl Probe {
    /// For tests: other folders than the host's.
    pub fn new(proc: PathBuf, dev: PathBuf) -> Probe {
        Probe { proc, dev, last: None, busy_at: None }
    }

    /// One look. The first one knows no processor time, and takes the host for used: who starts a runner sits before it.
    pub fn look(&mut self, rule: Option<&OnlyWhenIdle>, ours: Ours, at: Instant) -> Seen {
        let now = Timestamp::now();
        let Some(rule) = rule else { return Seen { now, busy_ago: None, others_percent: 0, typed_ago: None } };
        let (busy_ms, processors) = self.busy().unwrap_or_default();
        let percent = self.last.as_ref().map(|(then, busy_then, ours_then)| {
            let grown = |(name, ms): (&String, &u64)| ms.saturating_sub(ours_then.get(name).copied().unwrap_or(0));
            let ours_ms = ours.iter().map(grown).sum();
            others_percent(busy_ms.saturating_sub(*busy_then), ours_ms, at.duration_since(*then), processors)
        });
        if percent.is_none_or(|percent| percent > rule.cpu_percent) {
            self.busy_at = Some(at);
        }
        self.last = Some((at, busy_ms, ours));
        let busy_ago = self.busy_at.map(|busy| at.duration_since(busy));
        Seen { now, busy_ago, others_percent: percent.unwrap_or(0), typed_ago: self.typed_ago() }
    }

    /// Time that processors were not idle, all together, and how many there are.
    fn busy(&self) -> Option<(u64, u64)> {
        let text = fs::read_to_string(self.proc.join("stat")).ok()?;
        let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
        // User, nice, system, (idle, waiting for a disk,) interrupts of two kinds, stolen; guests are counted in the first two.
        let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum::<u64>();
        let is_one = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
        Some((busy * TICK_MS, text.lines().filter(is_one).count() as u64))
    }

    /// Since somebody last typed on any terminal: what is read from one sets its time of access. A graphical session has no terminal
    /// of its own for its keys, and shows in the processor time alone.
    fn typed_ago(&self) -> Option<Duration> {
        let folders = [self.dev.join("pts"), self.dev.clone()];
        let names = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let terminals = names.filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix("tty").unwrap_or(&name);
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        let typed = terminals.filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            // A console on which nobody is logged in is root's.
            let in_use = meta.uid() != 0 || entry.path().parent().is_some_and(|folder| folder.ends_with("pts"));
            in_use.then(|| UNIX_EPOCH + Duration::from_secs(meta.atime().max(0).unsigned_abs()))
        });
        let last = typed.max()?;
        Some(SystemTime::now().duration_since(last).unwrap_or(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_looks_tell_what_others_use_and_terminals_when_somebody_typed() {
        let root = tempfile::tempdir().expect("a folder");
        let (proc, dev) = (root.path().join("proc"), root.path().join("dev"));
        fs::create_dir_all(&proc).and_then(|()| fs::create_dir_all(dev.join("pts"))).expect("folders");
        let stat = |user: u64| {
            fs::write(proc.join("stat"), format!("cpu  {user} 0 0 900 5 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 5\n"))
        };
        stat(1_000).expect("written");
        let rule = OnlyWhenIdle { cpu_percent: 20, quiet: Duration::from_secs(60) };
        let mut probe = Probe::new(proc.clone(), dev.clone());
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let ours = |ms| Ours::from([("a".to_owned(), ms)]);
        let first = probe.look(Some(&rule), ours(50_000), at(0));
        assert_eq!((first.busy_ago, first.typed_ago), (Some(Duration::ZERO), None), "nothing is known yet");
        // In 10 s of two processors: 10 s in all, 8 s of them ours.
        stat(2_000).expect("written");
        let second = probe.look(Some(&rule), ours(58_000), at(10));
        assert_eq!((second.others_percent, second.busy_ago), (10, Some(Duration::from_secs(10))));
        stat(3_000).expect("written");
        let third = probe.look(Some(&rule), ours(59_000), at(20));
        assert_eq!((third.others_percent, third.busy_ago), (45, Some(Duration::ZERO)));
        fs::write(dev.join("pts/3"), "").expect("written");
        fs::write(dev.join("pts/ptmx"), "").expect("written");
        let typed = probe.look(Some(&rule), Ours::new(), at(30)).typed_ago.expect("somebody typed");
        assert!(typed < Duration::from_secs(3_600), "{typed:?}");
        assert_eq!(probe.look(None, Ours::new(), at(40)).busy_ago, None, "nobody asked");
    }
}
