//! What was used lately, so that memory does not grow with the number of attempts.
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared values by key. One that somebody still holds is never forgotten, so that there is only one of each.
pub struct Recent<K, V> {
    most: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    uses: u64,
    values: HashMap<K, (u64, Arc<V>)>,
}

impl<K: Copy + Eq + Hash, V: Default> Recent<K, V> {
    pub fn new(most: usize) -> Recent<K, V> {
        Recent { most, state: Mutex::new(State { uses: 0, values: HashMap::new() }) }
    }

    pub fn get(&self, key: K) -> Arc<V> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let uses = state.uses;
        let entry = state.values.entry(key).or_default();
        entry.0 = uses;
        let value = Arc::clone(&entry.1);
        if state.values.len() > self.most {
            state.forget(self.most / 2);
        }
        value
    }

    /// Forgets down to this many.
    pub fn shrink(&self, most: usize) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).forget(most);
    }

    pub fn all(&self) -> Vec<(K, Arc<V>)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.values.iter().map(|(key, (_, value))| (*key, Arc::clone(value))).collect()
    }
}

impl<K: Copy + Eq + Hash, V> State<K, V> {
    fn forget(&mut self, most: usize) {
        let mut ages: Vec<(u64, K)> = self.values.iter().map(|(key, (used, _))| (*used, *key)).collect();
        ages.sort_unstable_by_key(|(used, _)| *used);
        let surplus = ages.len().saturating_sub(most);
        let idle = |key: &K| self.values.get(key).is_some_and(|(_, value)| Arc::strong_count(value) == 1);
        let gone: Vec<K> = ages.into_iter().map(|(_, key)| key).filter(idle).take(surplus).collect();
        for key in gone {
            self.values.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn the_oldest_idle_ones_go_and_held_ones_stay() {
        let recent: Recent<u32, AtomicU32> = Recent::new(4);
        let held = recent.get(0);
        for key in 0..5 {
            recent.get(key).store(key + 10, Ordering::Relaxed);
        }
        assert_eq!(held.load(Ordering::Relaxed), 10);
        assert!(Arc::ptr_eq(&held, &recent.get(0)), "held by somebody: must stay the only one");
        assert_eq!(recent.get(1).load(Ordering::Relaxed), 0, "forgotten, so made anew");
        assert_eq!(recent.get(4).load(Ordering::Relaxed), 14, "used lately");
    }
}
