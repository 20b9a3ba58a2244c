//! The spellings in which a value may stand in a log: as it is, in base64 wherever it begins in what is encoded, in an address, in JSON.
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use dsg_schemas::limits::SECRET_BYTES_LEAST;

/// At which programs break lines of base64.
const WRAPS: [usize; 2] = [64, 76];

pub fn spellings(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    // Most values come with the end of their line, which nobody prints with them.
    let core = Some(value.trim_ascii()).filter(|core| core.len() >= SECRET_BYTES_LEAST).unwrap_or(value);
    plain(core, &mut found);
    if core.contains(&b'\n') {
        for line in core.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            plain(line, &mut found);
        }
    }
    for whole in BTreeSet::from([value, core]) {
        encoded(whole, &mut found);
    }
    found.retain(|spelling| spelling.len() >= SECRET_BYTES_LEAST);
    found
}

fn plain(value: &[u8], found: &mut BTreeSet<Vec<u8>>) {
    // Of a line that is too short to be masked, no spelling is long enough to tell.
    if value.len() < SECRET_BYTES_LEAST {
        return;
    }
    found.insert(value.to_vec());
    let text = String::from_utf8_lossy(value);
    // As a log that holds text has it.
    found.insert(text.as_bytes().to_vec());
    found.insert(json(&text, false));
    found.insert(json(&text, true));
    for (upper, plus) in [(true, false), (true, true), (false, false), (false, true)] {
        found.insert(url(value, upper, plus));
    }
}

/// Between quotes, without them.
fn json(text: &str, ascii: bool) -> Vec<u8> {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    if !ascii {
        return inner.as_bytes().to_vec();
    }
    let mut out = String::new();
    for c in inner.chars() {
        match c {
            c if c.is_ascii() => out.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out.into_bytes()
}

fn url(value: &[u8], upper: bool, plus: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        match byte {
            b' ' if plus => out.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) => out.push(*byte),
            byte if upper => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            byte => out.extend_from_slice(format!("%{byte:02x}").as_bytes()),
        }
    }
    out
}

fn encoded(value: &[u8], found: &mut BTreeSet<Vec<u8>>) {
    for engine in [&STANDARD, &URL_SAFE] {
        let whole = engine.encode(value);
        for wrap in WRAPS.into_iter().filter(|wrap| whole.len() > *wrap) {
            found.extend(whole.as_bytes().chunks(wrap).map(<[u8]>::to_vec));
        }
        found.insert(whole.into_bytes());
        for before in 0..3 {
            let shifted = engine.encode([&[0; 2][..before], value].concat());
            // Those letters that what is before and behind has no part in.
            let (from, to) = ((before * 8).div_ceil(6), (before + value.len()) * 8 / 6);
            found.extend(shifted.as_bytes().get(from..to).map(<[u8]>::to_vec));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_known_wherever_the_value_begins_in_what_is_encoded() {
        let value = b"s3cret-\xffvalue";
        let known = spellings(value);
        for before in 0..7 {
            for behind in 0..4 {
                let all = [&b"........"[..before], value, &b"????"[..behind]].concat();
                for text in [STANDARD.encode(&all), URL_SAFE.encode(&all)] {
                    let covered = known.iter().filter_map(|spelling| {
                        let at = text.as_bytes().windows(spelling.len()).position(|window| window == spelling)?;
                        Some((at, at + spelling.len()))
                    });
                    let longest = covered.map(|(from, to)| to - from).max().unwrap_or(0);
                    assert!(
                        longest >= value.len() * 8 / 6 - 1,
                        "{before} before, {behind} behind: {longest} of {text}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_forms_of_addresses_and_of_json_are_known() {
        let known = spellings("p\"ss w\u{f6}rd/\u{1f511}".as_bytes());
        for form in [
            "p\"ss w\u{f6}rd/\u{1f511}",
            "p\\\"ss w\u{f6}rd/\u{1f511}",
            "p\\\"ss w\\u00f6rd/\\ud83d\\udd11",
            "p%22ss%20w%C3%B6rd%2F%F0%9F%94%91",
            "p%22ss+w%c3%b6rd%2f%f0%9f%94%91",
        ] {
            assert!(known.contains(form.as_bytes()), "{form}");
        }
    }

    #[test]
    fn of_several_lines_each_that_is_long_enough_is_known_by_itself() {
        let known = spellings(b"-----BEGIN-----\r\nMIIEvQIB\r\nshort\r\n-----END-----\n");
        let has = |text: &str| known.contains(text.as_bytes());
        assert!(has("MIIEvQIB") && has("-----BEGIN-----") && !has("short"));
        assert!(known.iter().all(|spelling| spelling.len() >= SECRET_BYTES_LEAST));
        assert!(has("-----BEGIN-----\\r\\nMIIEvQIB\\r\\nshort\\r\\n-----END-----"), "in JSON it is one line");
    }
}
