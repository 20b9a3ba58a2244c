//! A set of chunk indexes in one bit each, with its smallest member found quickly however large it is.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    size: u32,
    words: Vec<u64>,
    /// One bit per word that is not zero.
    summary: Vec<u64>,
    len: u64,
}

impl Bits {
    /// An empty set for members below `size`.
    pub fn new(size: u32) -> Bits {
        let words = (size as usize).div_ceil(64);
        Bits { size, words: vec![0; words], summary: vec![0; words.div_ceil(64)], len: 0 }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn contains(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    pub fn insert(&mut self, index: u32) {
        let at = index as usize / 64;
        let Some(word) = self.words.get_mut(at).filter(|_| index < self.size) else { return };
        let bit = 1 << (index % 64);
        self.len += u64::from(*word & bit == 0);
        *word |= bit;
        self.summary[at / 64] |= 1 << (at % 64);
    }

    pub fn remove(&mut self, index: u32) {
        let at = index as usize / 64;
        let Some(word) = self.words.get_mut(at) else { return };
        let bit = 1 << (index % 64);
        self.len -= u64::from(*word & bit != 0);
        *word &= !bit;
        if *word == 0 {
            self.summary[at / 64] &= !(1 << (at % 64));
        }
    }

    pub fn fill(&mut self) {
        (0..self.size).for_each(|index| self.insert(index));
    }

    pub fn clear(&mut self) {
        self.words.fill(0);
        self.summary.fill(0);
        self.len = 0;
    }

    pub fn first(&self) -> Option<u32> {
        self.iter().next()
    }

    /// Members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let ones = |base: usize, mut word: u64| {
            std::iter::from_fn(move || {
                (word != 0).then(|| {
                    let bit = word.trailing_zeros() as usize;
                    word &= word - 1;
                    base * 64 + bit
                })
            })
        };
        let words = self.summary.iter().enumerate().flat_map(move |(at, word)| ones(at, *word));
        words.flat_map(move |at| ones(at, self.words[at])).map(|index| index as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_behaves_like_an_ordered_set() {
        let (mut bits, mut set, mut dice) = (Bits::new(10_000), BTreeSet::new(), 7u64);
        for _ in 0..20_000 {
            dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let index = (dice >> 33) as u32 % 10_000;
            if dice >> 60 < 7 {
                bits.insert(index);
                set.insert(index);
            } else {
                bits.remove(index);
                set.remove(&index);
            }
            assert_eq!(bits.first(), set.first().copied());
            assert_eq!(bits.len(), set.len() as u64);
        }
        assert_eq!(bits.iter().collect::<Vec<_>>(), set.into_iter().collect::<Vec<_>>());
        bits.insert(20_000);
        assert!(!bits.contains(20_000), "members beyond the size are not taken");
    }
}
