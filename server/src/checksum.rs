//! Tells a record that was written whole from one that a crash or a power cut tore. Not against malice: the files are ours.

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const STEP: u64 = 0xff51_afd7_ed55_8ccd;

/// A 32-bit sum over the parts as if they were one. Never 0 for zeros, which is what a torn page is made of.
pub fn checksum(parts: &[&[u8]]) -> u32 {
    let mut state = SEED;
    for part in parts {
        let mut words = part.chunks_exact(8);
        for word in &mut words {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            state = (state.rotate_left(23) ^ u64::from_le_bytes(eight)).wrapping_mul(STEP);
        }
        let mut last = [0; 8];
        let rest = words.remainder();
        last[..rest.len()].copy_from_slice(rest);
        state = (state.rotate_left(23) ^ u64::from_le_bytes(last)).wrapping_mul(STEP);
        state = (state.rotate_left(23) ^ part.len() as u64).wrapping_mul(STEP);
    }
    (state ^ (state >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_changes_the_sum() {
        let bytes: Vec<u8> = (0..67u8).collect();
        let whole = checksum(&[b"head", &bytes]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(&[b"head", &flipped]), whole, "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_ne!(checksum(&[b"head", &bytes[..cut]]), whole, "cut {cut}");
            let mut zeroed = bytes.clone();
            zeroed[cut..].fill(0);
            if zeroed != bytes {
                assert_ne!(checksum(&[b"head", &zeroed]), whole, "zeros from {cut}");
            }
        }
        assert_ne!(checksum(&[&[0; 25]]), 0);
    }
}
