//! Which of the proved GPUs may be used now. A fault keeps one out until it was well at several looks in a row, or until the runner starts
//! again and proves it anew. What held it when it broke does not pay for it.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dsg_schemas::wire::Gpu;
use tokio::sync::watch;

use crate::config::GpuSource;
use crate::probe::Gpus;

/// Good looks in a row after which a GPU is trusted again, about a minute: what comes and goes would be given and taken all day.
const WELL: u32 = 8;
/// Bad looks in a row after which what runs there is stopped: one alone may be a hiccup of the driver.
const BROKEN: u32 = 2;

pub struct GpuWatch {
    source: Option<GpuSource>,
    gpus: Mutex<BTreeMap<String, Course>>,
    looks: watch::Sender<u64>,
}

/// How it went with one GPU.
#[derive(Clone, Debug, Default, PartialEq)]
struct Course {
    /// What is or was wrong with it, as long as it is not trusted.
    fault: Option<String>,
    bad_looks: u32,
    good_looks: u32,
    /// No look makes this one good again.
    until_restart: bool,
    /// Ill at the start, so that the self-test left it out: not offered before the next, which is no reason to stop what runs there.
    unproved: bool,
}

impl GpuWatch {
    pub fn new(source: Option<GpuSource>) -> GpuWatch {
        GpuWatch { source, gpus: Mutex::default(), looks: watch::Sender::new(0) }
    }

    /// These were shown at a self-test. Of the healthy ones it saw the devices in a container; the others are not proved. What broke since
    /// the start keeps its course: a later self-test does not take the place of a minute without a fault.
    pub fn begin(&self, gpus: &[Gpu]) {
        let mut courses = self.lock();
        for gpu in gpus {
            if courses.get(&gpu.uuid).is_some_and(|course| course.fault.is_some() && !course.unproved) {
                continue;
            }
            let (fault, unproved) = (gpu.unhealthy.clone(), gpu.unhealthy.is_some());
            courses.insert(gpu.uuid.clone(), Course { fault, unproved, ..Course::default() });
        }
    }

    /// Looked at now and then.
    pub async fn look(&self) {
        self.take_in(true).await;
    }

    /// A look out of turn, because something failed on a GPU. It makes none better.
    pub async fn look_closely(&self) {
        self.take_in(false).await;
    }

    async fn take_in(&self, in_turn: bool) {
        let Some(source) = self.source.clone().filter(|_| !self.lock().is_empty()) else { return };
        // The driver may take its time, and a broken one more than that.
        let Ok(now) = tokio::task::spawn_blocking(move || source()).await else { return };
        for (uuid, course) in self.lock().iter_mut() {
            course.go_on(fault(uuid, &now), now.until_restart.contains(uuid), in_turn);
        }
        self.looks.send_modify(|looks| *looks += 1);
    }

    /// Says of each GPU whether it may be used.
    pub fn mark(&self, gpus: &mut [Gpu]) {
        let courses = self.lock();
        for gpu in gpus {
            if let Some(course) = courses.get(&gpu.uuid) {
                gpu.unhealthy = course.told();
            }
        }
    }

    /// What is wrong with one of these, if there is something.
    pub fn fault_of(&self, gpus: &[String]) -> Option<String> {
        let courses = self.lock();
        gpus.iter().find_map(|uuid| Some(format!("GPU {uuid}: {}", courses.get(uuid)?.fault.as_ref()?)))
    }

    /// Returns when one of these cannot be worked on any more; never where there are none.
    pub async fn broken(&self, gpus: &[String]) {
        let mut looks = self.looks.subscribe();
        let is_broken = || gpus.iter().any(|uuid| self.lock().get(uuid).is_some_and(Course::is_broken));
        if gpus.is_empty() || looks.wait_for(|_| is_broken()).await.is_err() {
            std::future::pending().await
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Course>> {
        self.gpus.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Course {
    fn go_on(&mut self, fault: Option<String>, until_restart: bool, in_turn: bool) {
        match fault {
            Some(why) => {
                self.fault = Some(why);
                self.bad_looks += u32::from(in_turn);
                self.good_looks = 0;
                self.until_restart |= until_restart;
            }
            None if self.fault.is_some() && in_turn => {
                (self.bad_looks, self.good_looks) = (0, self.good_looks + 1);
                if self.good_looks >= WELL && !self.until_restart && !self.unproved {
                    *self = Course::default();
                }
            }
            None => {}
        }
    }

    fn is_broken(&self) -> bool {
        self.fault.is_some() && (self.until_restart || self.bad_looks >= BROKEN)
    }

    fn told(&self) -> Option<String> {
        let fault = self.fault.as_ref()?;
        Some(match (self.good_looks > 0, self.until_restart || self.unproved) {
            (false, _) => fault.clone(),
            (true, false) => format!("{fault}; it seems well again, and is offered if it stays so for a minute"),
            (true, true) => format!("{fault}; it seems well again: start the runner again, which proves it"),
        })
    }
}

fn fault(uuid: &str, now: &Gpus) -> Option<String> {
    match now.gpus.iter().find(|found| found.uuid == uuid) {
        Some(found) => found.unhealthy.clone(),
        None => {
            let note = now.note.as_deref().unwrap_or("without a word");
            Some(format!("the driver shows it no more ({note}); see nvidia-smi"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A driver that shows one GPU, with what is scripted for each look; the last stays.
    fn watched(script: &[Option<&str>], until_restart: bool) -> GpuWatch {
        let script: Vec<Option<String>> = script.iter().map(|why| why.map(str::to_owned)).collect();
        let looks = std::sync::atomic::AtomicUsize::new(0);
        let source = move || {
            let look = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed).min(script.len() - 1);
            let gpu = Gpu { uuid: "GPU-a".to_owned(), unhealthy: script[look].clone(), ..Gpu::default() };
            let lost = gpu.unhealthy.iter().filter(|_| until_restart).map(|_| gpu.uuid.clone()).collect();
            Gpus { gpus: vec![gpu], until_restart: lost, ..Gpus::default() }
        };
        let watch = GpuWatch::new(Some(Arc::new(source)));
        watch.begin(&[Gpu { uuid: "GPU-a".to_owned(), ..Gpu::default() }]);
        watch
    }

    fn told(watch: &GpuWatch) -> Option<String> {
        let mut gpus = [Gpu { uuid: "GPU-a".to_owned(), ..Gpu::default() }];
        watch.mark(&mut gpus);
        gpus[0].unhealthy.clone()
    }

    fn held() -> Vec<String> {
        vec!["GPU-a".to_owned()]
    }

    async fn is_broken(watch: &GpuWatch) -> bool {
        let gpus = held();
        tokio::select! {
            biased;
            () = watch.broken(&gpus) => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn a_fault_ends_after_enough_good_looks_in_a_row() {
        let watch = watched(&[None, Some("ill"), None, Some("ill"), None], false);
        watch.look().await;
        assert_eq!((told(&watch), watch.fault_of(&held())), (None, None));
        watch.look().await;
        assert_eq!((told(&watch).as_deref(), is_broken(&watch).await), (Some("ill"), false), "one look is no proof");
        watch.look().await;
        assert!(told(&watch).is_some_and(|why| why.contains("seems well again")));
        for _ in 0..WELL {
            watch.look().await;
            assert_eq!(watch.fault_of(&held()).as_deref(), Some("GPU GPU-a: ill"), "the good looks are counted anew");
        }
        watch.look().await;
        assert_eq!(told(&watch), None);
    }

    #[tokio::test]
    async fn what_stays_broken_stops_what_runs_there() {
        let watch = watched(&[Some("ill")], false);
        watch.look().await;
        watch.look_closely().await;
        assert!(!is_broken(&watch).await, "only looks in turn are counted");
        watch.look().await;
        assert!(is_broken(&watch).await);
        let other = ["GPU-b".to_owned()];
        let others = tokio::select! {
            biased;
            () = watch.broken(&other) => true,
            () = std::future::ready(()) => false,
        };
        assert!(!others, "what holds another one goes on");
    }

    #[tokio::test]
    async fn a_lost_one_is_broken_at_once_and_waits_for_the_next_start() {
        let watch = watched(&[Some("lost"), None], true);
        watch.look_closely().await;
        assert!(is_broken(&watch).await);
        for _ in 0..=WELL {
            watch.look().await;
        }
        assert!(told(&watch).is_some_and(|why| why.starts_with("lost") && why.contains("start the runner again")));
        assert!(is_broken(&watch).await);
        // So does one that was ill at the start: it was not proved.
        let watch = watched(&[None], false);
        watch.begin(&[Gpu { uuid: "GPU-a".to_owned(), unhealthy: Some("ill".to_owned()), ..Gpu::default() }]);
        assert!(!is_broken(&watch).await, "what an earlier life of the runner left there goes on");
        for _ in 0..=WELL {
            watch.look().await;
        }
        assert!(told(&watch).is_some_and(|why| why.contains("start the runner again")));
    }
}
