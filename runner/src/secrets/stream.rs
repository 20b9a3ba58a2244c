//! Masks one stream as it comes, however it is cut into pieces. Each byte of a value becomes a star, so that every byte stays where it
//! was: offsets, counts and the comparison with the engine's own log mean the same with secrets as without. Ends of lines stay.
//!
//! Held back is only what may be the beginning of a value, until the next bytes tell: whole lines of other output are never late.
use std::sync::Arc;

use aho_corasick::automaton::StateID;
use dsg_schemas::limits::SECRET_BYTES_LEAST;

use super::mask::Mask;

#[derive(Debug)]
pub struct Stream {
    mask: Arc<Mask>,
    state: StateID,
    held: Vec<u8>,
}

impl Stream {
    pub fn new(mask: Arc<Mask>) -> Stream {
        Stream { state: mask.start(), mask, held: Vec::new() }
    }

    /// Gives what can be told by now.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut begun, already) = (self.held.len(), self.held.len());
        self.held.extend_from_slice(bytes);
        for at in already..self.held.len() {
            let (state, ended, now_begun) = self.mask.step(self.state, bytes[at - already]);
            (self.state, begun) = (state, now_begun);
            if ended > 0 {
                let from = (at + 1).saturating_sub(ended);
                stars(&mut self.held[from..=at]);
            }
        }
        let told = self.held.len().saturating_sub(begun);
        self.held.drain(..told).collect()
    }

    /// No more comes. The beginning of a value is masked where it is as long as the shortest value may be.
    pub fn finish(&mut self) -> Vec<u8> {
        if self.held.len() >= SECRET_BYTES_LEAST {
            stars(&mut self.held);
        }
        self.state = self.mask.start();
        std::mem::take(&mut self.held)
    }
}

fn stars(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| !matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b'*');
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const VALUE: &str = "hunter2-hunter2-p@ss word";
    const KEY: &str = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0B\nend\n-----END KEY-----\n";

    fn mask() -> Arc<Mask> {
        Mask::new(&[VALUE.as_bytes().to_vec(), KEY.as_bytes().to_vec()]).expect("something to mask")
    }

    /// The same for every cut of the pieces.
    fn masked(text: &[u8]) -> String {
        let mask = mask();
        let whole = |size: usize| {
            let mut stream = Stream::new(mask.clone());
            let mut out: Vec<u8> = text.chunks(size).flat_map(|piece| stream.take(piece)).collect();
            out.extend(stream.finish());
            out
        };
        let out = whole(text.len().max(1));
        assert_eq!(out.len(), text.len(), "every byte stays where it was");
        for size in 1..40 {
            assert_eq!(whole(size), out, "in pieces of {size} bytes");
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_spelling_is_masked_however_the_output_is_cut() {
        let stars = |n: usize| "*".repeat(n);
        assert_eq!(masked(format!("token={VALUE};").as_bytes()), format!("token={};", stars(VALUE.len())));
        assert_eq!(masked(format!("{VALUE}{VALUE}").as_bytes()), stars(2 * VALUE.len()));
        let url = "https://x/?t=hunter2-hunter2-p%40ss%20word&y";
        assert_eq!(masked(url.as_bytes()), format!("https://x/?t={}&y", stars(url.len() - 15)));
        for before in 0..3 {
            let text = STANDARD.encode(format!("{}{VALUE}!!!", "u:p"[..before].to_owned()));
            let seen = masked(text.as_bytes()).trim_matches('*').len();
            assert!(masked(text.as_bytes()).contains(&stars(VALUE.len() * 8 / 6 - 1)), "{text}");
            assert!(seen <= text.len());
        }
        let json = serde_json::json!({"key": KEY, "n": 1}).to_string();
        let shown = masked(json.as_bytes());
        assert!(shown.starts_with("{\"key\":\"****") && shown.ends_with("\",\"n\":1}"), "{shown}");
        assert!(!shown.contains("MIIE") && !shown.contains("BEGIN"));
    }

    #[test]
    fn of_several_lines_the_whole_and_each_line_are_masked_and_lines_stay_lines() {
        let shown = masked(format!("a\n{KEY}b\n").as_bytes());
        let expected: Vec<String> = KEY.lines().map(|line| "*".repeat(line.len())).collect();
        assert_eq!(
            shown.lines().map(str::to_owned).collect::<Vec<_>>(),
            [vec!["a".to_owned()], expected, vec!["b".to_owned()]].concat()
        );
        assert_eq!(masked(b"only MIIEvQIBADANBgkq here"), "only **************** here");
        assert_eq!(masked(b"weekend\nend\n"), "weekend\nend\n", "a short line is in every log");
    }

    #[test]
    fn other_output_is_left_alone_and_never_late() {
        let mut stream = Stream::new(mask());
        assert_eq!(stream.take(b"a whole line\n"), b"a whole line\n");
        assert_eq!(stream.take(b"password: hunt"), b"password: ", "what may be the beginning waits");
        assert_eq!(stream.take(b"ing season\n"), b"hunting season\n");
        assert_eq!(stream.take(b"hunter2-hunter2-p@ss wor"), b"");
        assert_eq!(stream.take(b"d"), "*".repeat(VALUE.len()).as_bytes());
        assert_eq!(stream.take(b"hunter2-hunter2-p@ss word"), "*".repeat(VALUE.len()).as_bytes(), "at once");
        assert_eq!((stream.take(b"hunter2"), stream.finish()), (Vec::new(), b"hunter2".to_vec()), "too short to tell");
        assert_eq!((stream.take(b"hunter2-h"), stream.finish()), (Vec::new(), b"*********".to_vec()), "cut by the end");
        assert_eq!(masked(b"2retnuh-drow ss@p"), "2retnuh-drow ss@p", "what is turned round is not found");
        let nul = [b"\0\xff".as_slice(), VALUE.as_bytes(), b"\xfe"].concat();
        let mut stream = Stream::new(mask());
        assert_eq!(stream.take(&nul), [b"\0\xff".as_slice(), "*".repeat(VALUE.len()).as_bytes(), b"\xfe"].concat());
    }

    #[test]
    fn the_longest_values_are_masked_too() {
        // Without repetition, so that each place of it is one state.
        let long: Vec<u8> = (0..16_384_u32).flat_map(|n| format!("{n:04x}").into_bytes()).collect();
        let mask = Mask::new(std::slice::from_ref(&long)).expect("something");
        let mut stream = Stream::new(mask);
        let mut out: Vec<u8> = long.chunks(1000).flat_map(|piece| stream.take(piece)).collect();
        out.extend(stream.take(b" end"));
        assert_eq!(out, [vec![b'*'; long.len()], b" end".to_vec()].concat());
    }
}
