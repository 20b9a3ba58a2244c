//! Where a reading of the engine's own log goes on from what the spool has. Counting from byte 0 is right until the engine has rotated
//! its log away: then the last bytes that are known are looked for in it, and what cannot be placed is declared missing.
use memchr::memmem::{Finder, FinderRev};

use crate::spool::TAIL_BYTES;

/// Fewer bytes than that could stand anywhere.
const TAIL_LEAST: usize = 16;
/// What Docker's log, which holds text, has in the place of each byte that is no UTF-8.
const REPLACED: &str = "\u{fffd}";

/// How to take one stream of a reading that begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// So many bytes are known already.
    pub skip: u64,
    /// After them something is missing. How much, nobody knows.
    pub gap: bool,
}

/// Looks through the log of one stream, from its beginning to its end, for the place where the spool ends.
#[derive(Debug)]
pub struct Search {
    written: u64,
    /// The last bytes of those; all of them if there are fewer than `TAIL_BYTES`.
    tail: Vec<u8>,
    /// What to look for: the tail, and the tail as Docker's log has it.
    needles: Vec<Needle>,
    seen: u64,
    head: Vec<u8>,
    /// The end of the log so far: a tail may come in several pieces.
    window: Vec<u8>,
    at_written: bool,
    first: Option<u64>,
    last: Option<u64>,
}

#[derive(Debug)]
struct Needle {
    bytes: Vec<u8>,
    first: Finder<'static>,
    last: FinderRev<'static>,
}

impl Needle {
    fn new(bytes: Vec<u8>) -> Needle {
        let (first, last) = (Finder::new(&bytes).into_owned(), FinderRev::new(&bytes).into_owned());
        Needle { bytes, first, last }
    }
}

impl Search {
    pub fn new(written: u64, tail: Vec<u8>) -> Search {
        let text = as_text(&tail);
        let mut needles = Vec::new();
        if text != tail && text.len() >= TAIL_LEAST {
            needles.push(Needle::new(text));
        }
        if tail.len() >= TAIL_LEAST {
            needles.push(Needle::new(tail.clone()));
        }
        let (head, window) = (Vec::new(), Vec::new());
        Search { written, tail, needles, seen: 0, head, window, at_written: written == 0, first: None, last: None }
    }

    pub fn look(&mut self, bytes: &[u8]) {
        let wanted = TAIL_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..wanted]);
        let (base, before) = (self.seen - self.window.len() as u64, self.seen);
        self.window.extend_from_slice(bytes);
        self.seen += bytes.len() as u64;
        if before < self.written && self.written <= self.seen {
            let here = self.window.get(..(self.written - base) as usize);
            self.at_written |= here.is_some_and(|known| known.ends_with(&self.tail));
        }
        for needle in &self.needles {
            let end = |at| base + (at + needle.bytes.len()) as u64;
            self.first = self.first.or(needle.first.find(&self.window).map(end));
            self.last = self.last.max(needle.last.rfind(&self.window).map(end));
        }
        let longest = self.needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or(self.tail.len());
        let keep = self.window.len().saturating_sub(longest);
        self.window.drain(..keep);
    }

    /// `None`: this log and the spool have nothing in common.
    pub fn place(&self) -> Option<Place> {
        let known = |skip| Some(Place { skip, gap: false });
        // An engine that keeps no log has nothing to go on from.
        if self.at_written || self.seen == 0 || self.lags_behind() {
            return known(self.written);
        }
        if self.needles.iter().any(|needle| self.window.ends_with(&needle.bytes)) {
            return known(self.seen);
        }
        match (self.first, self.last) {
            (Some(first), Some(last)) if first == last => return known(last),
            // The same again and again: it is one of these places, or none of them.
            (Some(_), Some(last)) => return Some(Place { skip: last, gap: true }),
            (_, _) => {}
        }
        // Rotated within the bytes that are known: it begins with the last of them.
        let most = self.tail.len().min(self.head.len());
        let shared = (TAIL_LEAST..=most).rev().find(|n| self.head[..*n] == self.tail[self.tail.len() - n..]);
        shared.and_then(|bytes| known(bytes as u64))
    }

    /// Whether the engine may only be late in writing down what was already seen live.
    pub fn is_behind(&self) -> bool {
        self.seen < self.written
    }

    /// So many bytes of the stream are in the log.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether the log has anything that the spool has not.
    pub fn has_more(&self, place: Place) -> bool {
        place.gap || self.seen > place.skip
    }

    /// Where nothing in common is to be found, all of it is new, and what was between is lost.
    pub const LOST: Place = Place { skip: 0, gap: true };

    /// Live output may be ahead of the engine's log, which waits for the end of a line.
    fn lags_behind(&self) -> bool {
        let behind = self.written.saturating_sub(self.seen);
        let common = self.tail.len().saturating_sub(behind as usize);
        let whole = self.written == self.tail.len() as u64;
        behind > 0 && (common >= TAIL_LEAST || whole) && self.window.ends_with(&self.tail[..common])
    }
}

fn as_text(bytes: &[u8]) -> Vec<u8> {
    // The first bytes may be the rest of a character that was cut.
    let cut = bytes.iter().take(3).take_while(|byte| (0x80..0xc0).contains(*byte)).count();
    let mut text = Vec::with_capacity(bytes.len());
    for chunk in bytes[cut..].utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        text.extend(REPLACED.as_bytes().repeat(chunk.invalid().len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(known: &[u8], log: &[u8]) -> Option<Place> {
        let tail = known[known.len().saturating_sub(TAIL_BYTES)..].to_vec();
        let places: Vec<_> = [97, 4096, usize::MAX]
            .into_iter()
            .map(|size| {
                let mut search = Search::new(known.len() as u64, tail.clone());
                log.chunks(size.min(log.len().max(1))).for_each(|piece| search.look(piece));
                search.place()
            })
            .collect();
        assert!(places.iter().all(|place| *place == places[0]), "the cut of the pieces matters: {places:?}");
        places[0]
    }

    fn lines(from: u32, to: u32) -> Vec<u8> {
        (from..to).flat_map(|n| format!("line {n}\n").into_bytes()).collect()
    }

    #[test]
    fn a_whole_log_goes_on_where_the_spool_ends() {
        let (known, log) = (lines(0, 2_000), lines(0, 3_000));
        let at = |skip: usize| Some(Place { skip: skip as u64, gap: false });
        assert_eq!(place(&known, &log), at(known.len()));
        assert_eq!(place(&known, &known), at(known.len()));
        assert_eq!(place(b"", &log), at(0));
        assert_eq!(place(b"line 0\n", &log), at(7), "little is enough at its own place");
        assert_eq!(place(&known, &known[..known.len() - 3]), at(known.len()), "the log waits for the end of a line");
        let same = b"y\n".repeat(50_000);
        assert_eq!(place(&same[..40_000], &same), at(40_000));
    }

    #[test]
    fn a_rotated_log_is_placed_by_the_last_bytes_that_are_known() {
        let at = |skip: usize| Some(Place { skip: skip as u64, gap: false });
        let known = lines(0, 2_000);
        assert_eq!(place(&known, &lines(500, 2_500)), at(lines(500, 2_000).len()), "lost nothing");
        assert_eq!(place(&known, &lines(1_000, 2_000)), at(lines(1_000, 2_000).len()), "and has nothing new");
        assert_eq!(place(&known, &lines(1_990, 2_500)), at(lines(1_990, 2_000).len()), "rotated just before");
        assert_eq!(place(&known, &lines(2_100, 2_500)), None, "what is between is lost");
        let same = b"y\n".repeat(50_000);
        let unsure = place(&same, &[&same[..20_000], b"end of it\n"].concat());
        assert_eq!(unsure.map(|place| place.gap), Some(true), "{unsure:?}");
    }

    #[test]
    fn a_log_that_holds_text_is_placed_as_text() {
        let raw: Vec<u8> =
            (0..2_000_u32).flat_map(|n| [format!("{n} ").as_bytes(), b"\xff\xc3\xa4\n"].concat()).collect();
        let text = as_text(&raw);
        let more = [&text[..], b"and more\n"].concat();
        assert_eq!(place(&raw, &more), Some(Place { skip: text.len() as u64, gap: false }));
    }
}
