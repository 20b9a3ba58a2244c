//! A mark on a disk: how much of it is to be free.
use std::fmt;
use std::str::FromStr;

use crate::units::Bytes;

/// So much is to be free: a share of the disk, an amount, or of both whichever is less. Written `5%`, `2GiB`, `5%,2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    percent: Option<u8>,
    bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mark of a disk; write a share of it, an amount, or both with a comma between, as in 5%,2GiB")]
pub struct NotAMark(String);

impl Mark {
    /// Of both whichever is less.
    pub const fn of(percent: u8, bytes: u64) -> Mark {
        Mark { percent: Some(percent), bytes: Some(bytes) }
    }

    pub fn bytes(&self, total_bytes: u64) -> u64 {
        let share = self.percent.map(|percent| total_bytes / 100 * u64::from(percent));
        [share, self.bytes].into_iter().flatten().min().unwrap_or(0)
    }
}

impl FromStr for Mark {
    type Err = NotAMark;
    fn from_str(text: &str) -> Result<Mark, NotAMark> {
        let wrong = || NotAMark(text.to_owned());
        let mut mark = Mark { percent: None, bytes: None };
        for part in text.split(',') {
            match part.strip_suffix('%') {
                Some(share) if mark.percent.is_none() => {
                    mark.percent = Some(share.parse().ok().filter(|share| *share <= 100).ok_or_else(wrong)?);
                }
                None if mark.bytes.is_none() => mark.bytes = Some(part.parse::<Bytes>().map_err(|_| wrong())?.0),
                Some(_) | None => return Err(wrong()),
            }
        }
        Ok(mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.percent.map(|percent| format!("{percent}%"));
        let parts: Vec<String> = share.into_iter().chain(self.bytes.map(|bytes| Bytes(bytes).to_string())).collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_shares_or_amounts_and_the_lesser_counts() {
        let bytes = |text: &str, total: u64| text.parse::<Mark>().map(|mark| mark.bytes(total));
        let (small, large) = (10 << 30, 1 << 40);
        assert_eq!((bytes("5%", small), bytes("2GiB", small)), (Ok((10 << 30) / 100 * 5), Ok(2 << 30)));
        assert_eq!((bytes("5%,2GiB", small), bytes("2GiB,5%", large)), (Ok((10 << 30) / 100 * 5), Ok(2 << 30)));
        assert_eq!(bytes("0%", large), Ok(0));
        for wrong in ["", "5", "101%", "5%,5%", "1GiB,2GiB", "-1%", "5%;2GiB", "5%,"] {
            assert!(wrong.parse::<Mark>().is_err(), "{wrong:?}");
        }
        let mark = Mark::of(5, 2 << 30);
        assert_eq!(mark.to_string().parse(), Ok(mark));
    }
}
