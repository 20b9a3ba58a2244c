//! What the driver reports of its GPUs by itself: an Xid is its number for what went wrong. Nothing waits for them: those that came
//! since the last look are taken at the next.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::{EventSet, Nvml};

/// At one look, of one GPU: a driver that cannot stop must not stop us.
const MOST: usize = 64;
/// The driver answers at once if something is there.
const WAIT_MS: u32 = 1;
/// The doing of the program that ran there, as NVIDIA's list of them has it: it crashed, reached for what is not its own, was ended.
const OF_PROGRAMS: [u64; 6] = [13, 31, 43, 45, 68, 109];
/// After these the GPU works again only when it was reset, by the same list.
const NEED_A_RESET: [u64; 12] = [46, 48, 62, 64, 74, 79, 95, 119, 120, 136, 140, 143];

/// An error that is not a program's. `None`: the driver does not say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xid(Option<u64>);

/// One set for each GPU that can report: a GPU that cannot would take the set of the others with it.
#[derive(Default)]
pub struct Xids(Mutex<Vec<EventSet<'static>>>);

impl Xids {
    pub fn listen(nvml: &'static Nvml) -> Xids {
        let mut sets = Vec::new();
        for index in 0..nvml.device_count().unwrap_or(0) {
            let Ok(device) = nvml.device_by_index(index) else { continue };
            let set = nvml.create_event_set().map_err(|error| error.to_string());
            let events = EventTypes::CRITICAL_XID_ERROR;
            match set.and_then(|set| device.register_events(events, set).map_err(|error| error.error.to_string())) {
                Ok(set) => sets.push(set),
                Err(why) => tracing::info!(gpu = index, why, "this GPU does not report errors by itself"),
            }
        }
        Xids(Mutex::new(sets))
    }

    /// The last error of each GPU, by its UUID. Those of programs are left out.
    pub fn since_the_last_look(&self) -> BTreeMap<String, Xid> {
        let mut found = BTreeMap::new();
        for set in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // An error says that there is nothing, or that the GPU is lost, which shows elsewhere.
            for event in std::iter::from_fn(|| set.wait(WAIT_MS).ok()).take(MOST) {
                let xid = match event.event_data {
                    Some(XidError::Value(number)) if OF_PROGRAMS.contains(&number) => continue,
                    Some(XidError::Value(number)) => Xid(Some(number)),
                    Some(XidError::Unknown) => Xid(None),
                    None => continue,
                };
                let Ok(uuid) = event.device.uuid() else { continue };
                let worse = found.get(&uuid).is_none_or(|before: &Xid| !before.needs_a_reset());
                if worse {
                    found.insert(uuid, xid);
                }
            }
        }
        found
    }
}

impl Xid {
    pub fn needs_a_reset(self) -> bool {
        self.0.is_some_and(|number| NEED_A_RESET.contains(&number))
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(number) = self.0 else { return write!(f, "the driver reported an error of it; see dmesg") };
        write!(f, "the driver reported Xid {number}")?;
        let known = match number {
            48 => " (memory lost what was in it)",
            62 | 119 | 120 => " (its own processor does not answer)",
            63 | 64 => " (broken memory was replaced by spare memory, or there is none left)",
            74 => " (its link to other GPUs)",
            79 => " (it fell off the bus)",
            94 | 95 => " (broken memory was read)",
            _ => "",
        };
        write!(f, "{known}; see dmesg")?;
        match self.needs_a_reset() {
            true => write!(f, ", reset the GPU or reboot the host, and start the runner again"),
            false => Ok(()),
        }
    }
}
