//! What is to be masked, as one automaton over all spellings of all values of a container.
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::noncontiguous::NFA;

use super::spell::spellings;
use super::stream::Stream;

pub struct Mask {
    nfa: NFA,
    start: StateID,
    /// By state: the longest spelling that ends here, and how much of a spelling was seen at most.
    states: Vec<(u32, u32)>,
}

/// A log of the runner must not have what the log of the container has not.
impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} spellings", self.nfa.patterns_len())
    }
}

impl Mask {
    /// `None`: there is nothing to mask.
    pub fn new(values: &[Vec<u8>]) -> Option<Arc<Mask>> {
        let known: BTreeSet<Vec<u8>> = values.iter().flat_map(|value| spellings(value)).collect();
        if known.is_empty() {
            return None;
        }
        // It can only be too large; values are bounded, and so it is not.
        let nfa = NFA::new(&known).ok()?;
        let start = nfa.start_state(Anchored::No).ok()?;
        let mut mask = Mask { nfa, start, states: Vec::new() };
        known.iter().for_each(|spelling| mask.learn(spelling));
        // Nothing goes on behind a spelling that no other begins with: it waits for no more than its own end begins. Shorter ones first,
        // because that end may be one of them.
        let goes_on = |spelling: &Vec<u8>| {
            let next = known.range::<Vec<u8>, _>((Bound::Excluded(spelling), Bound::Unbounded)).next();
            next.is_some_and(|next| next.starts_with(spelling))
        };
        let mut last: Vec<&Vec<u8>> = known.iter().filter(|spelling| !goes_on(spelling)).collect();
        last.sort_by_key(|spelling| spelling.len());
        for spelling in last {
            let (state, of_end) = (mask.walk(spelling), mask.walk(&spelling[1..]));
            let begun = mask.states.get(of_end.as_usize()).map_or(0, |(_, begun)| *begun);
            if let Some(known) = mask.states.get_mut(state.as_usize()) {
                known.1 = begun;
            }
        }
        Some(Arc::new(mask))
    }

    fn learn(&mut self, spelling: &[u8]) {
        let mut state = self.start;
        for (at, byte) in spelling.iter().enumerate() {
            state = self.nfa.next_state(Anchored::No, state, *byte);
            if self.states.len() <= state.as_usize() {
                self.states.resize(state.as_usize() + 1, (0, 0));
            }
            let count = if self.nfa.is_match(state) { self.nfa.match_len(state) } else { 0 };
            let ends = (0..count).map(|index| self.nfa.pattern_len(self.nfa.match_pattern(state, index)) as u32);
            // The automaton is in the state of the longest beginning that fits, and this one does.
            self.states[state.as_usize()] = (ends.max().unwrap_or(0), at as u32 + 1);
        }
    }

    fn walk(&self, bytes: &[u8]) -> StateID {
        bytes.iter().fold(self.start, |state, byte| self.nfa.next_state(Anchored::No, state, *byte))
    }

    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// The state after a byte, how long the longest spelling is that ends with it, and how much of one may have begun.
    pub(super) fn step(&self, state: StateID, byte: u8) -> (StateID, usize, usize) {
        let next = self.nfa.next_state(Anchored::No, state, byte);
        let (ended, begun) = self.states.get(next.as_usize()).copied().unwrap_or_default();
        (next, ended as usize, begun as usize)
    }

    /// One text as a whole.
    pub fn text(self: &Arc<Self>, text: &str) -> String {
        let mut stream = Stream::new(self.clone());
        let mut masked = stream.take(text.as_bytes());
        masked.extend(stream.finish());
        String::from_utf8_lossy(&masked).into_owned()
    }
}
