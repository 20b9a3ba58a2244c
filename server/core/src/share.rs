//! What owners use, have used and may use: the measure of fair share, and their limits.
use std::collections::BTreeMap;

use dsg_schemas::api::OwnerView;

use crate::event::Millis;
use crate::grid::Grid;
use crate::needs::cpus;
use crate::planted::{Bug, planted};
use crate::policy::Needs;
use crate::row::{OwnerLimit, OwnerRow};

/// After this time a past use counts half.
pub const HALF_LIFE_MS: Millis = 86_400_000;
/// The limit under this name is for every owner who has none of their own. No person is called so.
pub const EVERYBODY: &str = "*";

pub(crate) struct Shares {
    /// 0: the past does not count.
    half_life_ms: Millis,
    /// Of the event that is being applied.
    now: Millis,
    owners: BTreeMap<String, Owner>,
    /// Attempts are counted that were current all the time since the rows were written.
    loading: bool,
}

#[derive(Default)]
struct Owner {
    row: OwnerRow,
    /// What current attempts reserve.
    holds: Holds,
}

/// What the current attempts of one owner reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holds {
    pub cpus_milli: u64,
    pub gpus: u64,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares { half_life_ms: HALF_LIFE_MS, now: 0, owners: BTreeMap::new(), loading: false }
    }
}

impl Shares {
    pub fn set_half_life(&mut self, half_life_ms: Millis) {
        self.half_life_ms = half_life_ms;
    }

    /// Brings the time of the event that is applied next.
    pub fn at(&mut self, now: Millis) {
        self.now = now;
    }

    /// Milli-cpus: those in use now, and the average of the past in which a day ago counts half (with the half-life of a day).
    /// The first makes two who come at once share evenly; the second gives way to those who had less.
    pub fn had_by(&self, owner: &str) -> u64 {
        let Some(owner) = self.owners.get(owner) else { return 0 };
        owner.holds.cpus_milli.saturating_add(self.average(owner))
    }

    fn average(&self, owner: &Owner) -> u64 {
        if self.half_life_ms == 0 {
            return 0;
        }
        (self.used_until_now(owner) as f64 / self.window()) as u64
    }

    /// What a constant use of 1 adds up to after a long time, in milliseconds.
    fn window(&self) -> f64 {
        self.half_life_ms as f64 / std::f64::consts::LN_2
    }

    /// Milli-cpu-milliseconds, older ones counted less.
    fn used_until_now(&self, owner: &Owner) -> u64 {
        let elapsed = self.now.saturating_sub(owner.row.at_ms);
        if elapsed == 0 || self.half_life_ms == 0 {
            return owner.row.used;
        }
        let left = (-(elapsed as f64) / self.half_life_ms as f64).exp2();
        let grown = owner.holds.cpus_milli as f64 * self.window() * (1.0 - left);
        (owner.row.used as f64 * left + grown).round() as u64
    }

    /// An attempt becomes current (`more`), or is no longer.
    pub fn count(&mut self, name: &str, needs: &Needs, more: bool) {
        self.fold(name);
        let Some(owner) = self.owners.get_mut(name) else { return };
        let Holds { cpus_milli, gpus } = &mut owner.holds;
        let change = |value: &mut u64, by: u64| {
            *value = if more { value.saturating_add(by) } else { value.saturating_sub(by) };
        };
        change(cpus_milli, needs.cpus_milli);
        change(gpus, u64::from(needs.gpus));
    }

    /// From now on what is used changes: what was used until now is put down.
    fn fold(&mut self, name: &str) {
        if self.loading && self.owners.contains_key(name) {
            return;
        }
        let now = self.now;
        let used = self.owners.get(name).map(|owner| self.used_until_now(owner));
        if let Some((owner, used)) = self.owners.get_mut(name).zip(used) {
            owner.row.used = used;
            owner.row.at_ms = now;
        } else {
            let row = OwnerRow { at_ms: now, ..OwnerRow::default() };
            self.owners.insert(name.to_owned(), Owner { row, holds: Holds::default() });
        }
    }

    /// The row of everyone of whom something is to be remembered.
    pub fn rows(&mut self) -> BTreeMap<String, OwnerRow> {
        let forgotten: Vec<String> =
            self.owners.iter().filter(|(_, owner)| self.is_idle(owner)).map(|(name, _)| name.clone()).collect();
        for name in forgotten {
            self.owners.remove(&name);
        }
        self.owners.iter().map(|(name, owner)| (name.clone(), owner.row.clone())).collect()
    }

    fn is_idle(&self, owner: &Owner) -> bool {
        owner.holds == Holds::default() && owner.row.limit.is_none() && self.average(owner) == 0
    }

    /// What is counted until [`Shares::loaded`] was in use ever since the rows were written.
    pub fn load(&mut self, now: Millis, rows: BTreeMap<String, OwnerRow>) {
        self.now = now;
        self.owners = rows.into_iter().map(|(name, row)| (name, Owner { row, holds: Holds::default() })).collect();
        self.loading = true;
    }

    pub fn loaded(&mut self) {
        self.loading = false;
    }

    pub fn holds(&self) -> BTreeMap<String, Holds> {
        let held = self.owners.iter().filter(|(_, owner)| owner.holds != Holds::default());
        held.map(|(name, owner)| (name.clone(), owner.holds)).collect()
    }

    fn holds_of(&self, owner: &str) -> Holds {
        self.owners.get(owner).map(|owner| owner.holds).unwrap_or_default()
    }

    /// Sets or takes away the limit of an owner; says whether it was another before.
    pub fn set_limit(&mut self, name: &str, limit: Option<OwnerLimit>) -> bool {
        if self.owners.get(name).and_then(|owner| owner.row.limit.as_ref()) == limit.as_ref() {
            return false;
        }
        self.fold(name);
        if let Some(owner) = self.owners.get_mut(name) {
            owner.row.limit = limit;
        }
        true
    }

    /// Their own, else everybody's.
    fn limit_of(&self, owner: &str) -> Option<&OwnerLimit> {
        let own = |name: &str| self.owners.get(name).and_then(|owner| owner.row.limit.as_ref());
        own(owner).or_else(|| own(EVERYBODY))
    }

    /// Why the owner may have no chunk with these needs now, if so.
    pub fn over_limit(&self, owner: &str, needs: &Needs) -> Option<OverLimit> {
        let limit = self.limit_of(owner).filter(|_| !planted(Bug::OwnersUnlimited))?;
        let holds = self.holds_of(owner);
        let over = |limit: Option<u64>, holds: u64, needs: u64, what: fn(u64) -> String| {
            let limit = limit.filter(|limit| needs > 0 && holds.saturating_add(needs) > *limit)?;
            Some(OverLimit {
                for_ever: needs > limit,
                words: format!(
                    "the limit of {owner} is {}, {} in use; it needs {}",
                    what(limit),
                    what(holds),
                    what(needs)
                ),
            })
        };
        over(limit.cpus_milli, holds.cpus_milli, needs.cpus_milli, cpu_words)
            .or_else(|| over(limit.gpus.map(u64::from), holds.gpus, u64::from(needs.gpus), gpu_words))
    }
}

impl Grid {
    /// Everyone of whom something is known, the one who comes next first.
    pub fn owner_views(&self) -> Vec<OwnerView> {
        let shares = self.queue.shares();
        let view = |(name, owner): (&String, &Owner)| OwnerView {
            owner: name.clone(),
            used_cpus_milli: owner.holds.cpus_milli,
            used_gpus: owner.holds.gpus,
            average_cpus_milli: shares.average(owner),
            limit_cpus_milli: owner.row.limit.as_ref().and_then(|limit| limit.cpus_milli),
            limit_gpus: owner.row.limit.as_ref().and_then(|limit| limit.gpus),
        };
        let mut views: Vec<OwnerView> =
            shares.owners.iter().filter(|(_, owner)| !shares.is_idle(owner)).map(view).collect();
        views.sort_by_key(|view| view.used_cpus_milli.saturating_add(view.average_cpus_milli));
        views
    }
}

/// A chunk that an owner's limit keeps from starting.
pub(crate) struct OverLimit {
    /// Also if nothing else of the owner ran.
    pub for_ever: bool,
    /// `the limit of mara is 8 cpus, 7 cpus in use; it needs 2 cpus`.
    pub words: String,
}

pub(crate) fn cpu_words(milli: u64) -> String {
    format!("{} cpu{}", cpus(milli), if milli == 1000 { "" } else { "s" })
}

fn gpu_words(count: u64) -> String {
    crate::job::counted(count, "GPU")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_cpu() -> Needs {
        Needs { cpus_milli: 1000, ..Needs::default() }
    }

    #[test]
    fn the_past_counts_half_after_a_half_life() {
        let mut shares = Shares::default();
        shares.at(0);
        shares.count("mara", &one_cpu(), true);
        // After a long time the average is what was used all the time.
        shares.at(100 * HALF_LIFE_MS);
        shares.count("mara", &one_cpu(), false);
        assert_eq!(shares.had_by("mara"), 1000);
        shares.at(101 * HALF_LIFE_MS);
        assert_eq!(shares.had_by("mara"), 500);
        shares.at(103 * HALF_LIFE_MS);
        assert_eq!(shares.had_by("mara"), 125);
        assert_eq!(shares.rows().len(), 1);
        shares.at(120 * HALF_LIFE_MS);
        assert_eq!(shares.rows().len(), 0, "in the end nothing is remembered");
    }

    #[test]
    fn rows_say_what_memory_says() {
        let mut shares = Shares::default();
        shares.at(1_000);
        shares.count("mara", &one_cpu(), true);
        shares.at(5_000_000);
        shares.count("mara", &one_cpu(), true);
        let mut loaded = Shares::default();
        loaded.load(7_000_000, shares.rows());
        loaded.count("mara", &one_cpu(), true);
        loaded.count("mara", &one_cpu(), true);
        loaded.loaded();
        shares.at(7_000_000);
        assert!(shares.had_by("mara") > 2000);
        assert_eq!(loaded.had_by("mara"), shares.had_by("mara"));
    }

    #[test]
    fn without_a_half_life_only_the_present_counts() {
        let mut shares = Shares::default();
        shares.set_half_life(0);
        shares.count("mara", &one_cpu(), true);
        shares.at(HALF_LIFE_MS);
        assert_eq!(shares.had_by("mara"), 1000);
        shares.count("mara", &one_cpu(), false);
        assert_eq!(shares.had_by("mara"), 0);
    }
}
