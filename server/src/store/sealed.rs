//! A value as it lies in the store: a checksum, the form of what follows, and the row itself.
//!
//! The sum covers table and key, too: a row that turns up under another one's key is as wrong as one with a flipped bit.
use crate::checksum::checksum;

pub const HEAD: usize = 5;
/// JSON; of specs and blocks the bytes themselves. The only form so far.
const PLAIN: u8 = 1;

pub fn seal(table: &str, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut value = [&[0; HEAD], payload].concat();
    seal_in_place(table, key, &mut value);
    value
}

/// The same for a payload that stands behind room for its head.
pub fn seal_in_place(table: &str, key: &[u8], value: &mut [u8]) {
    if let Some((head, payload)) = value.split_first_chunk_mut::<HEAD>() {
        head[..4].copy_from_slice(&sum(table, key, PLAIN, payload).to_le_bytes());
        head[4] = PLAIN;
    }
}

/// `None` if this is not what was once sealed under this key.
pub fn unseal<'a>(table: &str, key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (head, payload) = value.split_at_checked(HEAD)?;
    let expected = sum(table, key, PLAIN, payload).to_le_bytes();
    (head[..4] == expected && head[4] == PLAIN).then_some(payload)
}

fn sum(table: &str, key: &[u8], form: u8, payload: &[u8]) -> u32 {
    checksum(&[table.as_bytes(), key, &[form], payload])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_a_cut_or_another_key_is_noticed() {
        let value = seal("jobs", b"7", b"{\"name\":\"hello\"}");
        assert_eq!(unseal("jobs", b"7", &value), Some(&b"{\"name\":\"hello\"}"[..]));
        assert_eq!(unseal("jobs", b"8", &value), None);
        assert_eq!(unseal("runners", b"7", &value), None);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal("jobs", b"7", &flipped), None, "bit {bit}");
        }
        for cut in 0..value.len() {
            assert_eq!(unseal("jobs", b"7", &value[..cut]), None, "cut {cut}");
        }
    }
}
