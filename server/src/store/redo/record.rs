//! The frozen forms of the log: the head of a file and the record of one commit.
use std::io::{self, Read};

use crate::checksum::checksum;
use crate::store::tables::Reached;

const MAGIC: &[u8; 8] = b"DSGREDO1";
const GRID: usize = 32;
/// Magic, number of the first commit u64, grid, checksum u32; little-endian.
pub const HEADER: usize = 8 + 8 + GRID + 4;
/// Length u32, checksum u32; then number and time of the commit u64, and its steps.
const HEAD: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the first commit in the file.
    pub first: u64,
    pub grid: String,
}

impl Header {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.first.to_le_bytes());
        let mut grid = self.grid.clone().into_bytes();
        grid.resize(GRID, 0);
        bytes.extend_from_slice(&grid);
        bytes.extend_from_slice(&checksum(&[&bytes]).to_le_bytes());
        bytes
    }

    /// `None`: it was never written whole, or is damaged.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Header>> {
        let bytes = take(from, HEADER)?;
        let Some((body, sum)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
        if bytes.len() != HEADER || checksum(&[body]).to_le_bytes() != *sum || !body.starts_with(MAGIC) {
            return Ok(None);
        }
        let grid = String::from_utf8_lossy(&body[16..]).trim_end_matches('\0').to_owned();
        Ok(body[8..].first_chunk().map(|first| Header { first: u64::from_le_bytes(*first), grid }))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub reached: Reached,
    pub steps: Vec<u8>,
}

impl Record {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + 16 + self.steps.len());
        bytes.extend_from_slice(&((16 + self.steps.len()) as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.reached.revision.to_le_bytes());
        bytes.extend_from_slice(&self.reached.at_ms.to_le_bytes());
        bytes.extend_from_slice(&self.steps);
        let sum = checksum(&[&bytes[..4], &bytes[HEAD..]]);
        bytes[4..HEAD].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `Ok(Err(left))`: there is no whole record any more, but so many bytes (or more) that were to be one.
    pub fn read(from: &mut impl Read) -> io::Result<Result<(Record, u64), u64>> {
        let head = take(from, HEAD)?;
        let Some((length, sum)) = head.split_first_chunk::<4>().filter(|_| head.len() == HEAD) else {
            return Ok(Err(head.len() as u64));
        };
        let body = take(from, u32::from_le_bytes(*length) as usize)?;
        let whole =
            body.len() == u32::from_le_bytes(*length) as usize && checksum(&[length, &body]).to_le_bytes() == *sum;
        let size = (HEAD + body.len()) as u64;
        let parts =
            body.split_first_chunk::<8>().and_then(|(revision, rest)| Some((revision, rest.split_first_chunk()?)));
        Ok(match parts.filter(|_| whole) {
            Some((revision, (at_ms, steps))) => {
                let (revision, at_ms) = (u64::from_le_bytes(*revision), u64::from_le_bytes(*at_ms));
                Ok((Record { reached: Reached { revision, at_ms }, steps: steps.to_vec() }, size))
            }
            None => Err(size),
        })
    }
}

/// At most so many bytes; grows with what is there, so that a damaged length asks for no memory.
fn take(from: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut taken = Vec::new();
    from.take(bytes as u64).read_to_end(&mut taken)?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_whole_or_not_at_all() {
        let record = Record { reached: Reached { revision: 7, at_ms: 9 }, steps: b"steps".to_vec() };
        let bytes = record.bytes();
        let read = |bytes: &[u8]| Record::read(&mut &*bytes).expect("readable");
        assert_eq!(read(&bytes), Ok((record, bytes.len() as u64)));
        assert_eq!(read(&[]), Err(0));
        for cut in 1..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Err(cut as u64));
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_says_whose_it_is_or_nothing() {
        let header = Header { first: 3, grid: "ca3b9b6a2c3cd35e".into() };
        let bytes = header.bytes();
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(Header::read(&mut &*bytes).expect("readable"), Some(header));
        assert_eq!(Header::read(&mut &bytes[..HEADER - 1]).expect("readable"), None);
    }
}
