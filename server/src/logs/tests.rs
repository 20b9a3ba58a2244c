//! Whatever is lost, doubled, cut or torn on the way: lines and raw bytes are exactly what the container wrote.
use std::fs;
use std::path::Path;

use dsg_schemas::api::LogPage;
use dsg_schemas::ids::AttemptId;
use dsg_schemas::limits::LOG_LINE_BYTES;
use dsg_schemas::wire::log::{LogHave, Piece, Stream};

use super::log::Caps;
use super::{LogQuery, LogStore};

const SMALL: Caps = Caps { segment_bytes: 600, head_segments: 3, tail_segments: 4, packed_bytes: 500 };
/// So large that nothing is dropped.
const WIDE: Caps = Caps { segment_bytes: 2000, head_segments: 3, tail_segments: 10_000, packed_bytes: 500 };
const ONE: AttemptId = AttemptId(1);

/// A small generator: a seed gives the same test again.
struct Dice(u64);
impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
    fn text(&mut self, lines: usize, longest: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for line in 0..lines {
            text.extend_from_slice(format!("{line}:").as_bytes());
            let length = self.below(longest);
            text.extend(std::iter::repeat_n(b'a' + (line % 26) as u8, length));
            text.push(b'\n');
        }
        text
    }
}

fn store(dir: &Path, caps: Caps) -> LogStore {
    LogStore::with_caps(dir, caps).expect("the store opens")
}

fn raw(store: &LogStore, attempt: AttemptId, stream: Option<Stream>) -> Vec<u8> {
    let raw = store.raw(attempt, stream).expect("raw");
    let mut all = Vec::new();
    while (all.len() as u64) < raw.length {
        let bytes = raw.read(all.len() as u64, u64::MAX).expect("reads");
        assert!(!bytes.is_empty(), "{} of {} bytes", all.len(), raw.length);
        all.extend(bytes);
    }
    all
}

/// All lines by pages of this many.
fn lines(store: &LogStore, attempt: AttemptId, limit: usize, stream: Option<Stream>) -> Vec<(u64, String)> {
    let mut from = 0;
    let mut all = Vec::new();
    loop {
        let query = LogQuery { from: Some(from), limit: Some(limit), stream, ..LogQuery::default() };
        let page = store.page(attempt, query).expect("a page");
        all.extend(page.lines.into_iter().map(|line| (line.n, line.text)));
        if page.next >= page.total {
            return all;
        }
        assert!(page.next > from);
        from = page.next;
    }
}

fn write(store: &LogStore, attempt: AttemptId, stream: Stream, offset: u64, bytes: &[u8]) -> LogHave {
    store.append(attempt, &[Piece { stream, time_ms: offset, offset, bytes }]).expect("is taken").have
}

fn page(store: &LogStore, attempt: AttemptId) -> LogPage {
    store.page(attempt, LogQuery::default()).expect("a page")
}

#[test]
fn pieces_cut_and_sent_again_at_random_give_exactly_what_was_written() {
    for seed in 1..60 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let dir = tempfile::tempdir().expect("a folder");
        let mut logs = store(dir.path(), WIDE);
        let lines_each = dice.below(300);
        let wrote = [dice.text(lines_each, 90), dice.text(dice.0 as usize % 50, 400)];
        let mut have = LogHave::default();
        while (have.stdout, have.stderr) != (wrote[0].len() as u64, wrote[1].len() as u64) {
            let mut batch = Vec::new();
            for _ in 0..1 + dice.below(4) {
                let (stream, all, at) = match dice.below(2) {
                    0 => (Stream::Stdout, &wrote[0], have.stdout as usize),
                    _ => (Stream::Stderr, &wrote[1], have.stderr as usize),
                };
                // From before what is there to beyond it: doubled, exact, or with a gap, which must be refused.
                let start = (at + dice.below(80)).saturating_sub(60).min(all.len());
                let end = (start + 1 + dice.below(700)).min(all.len());
                batch.push(Piece { stream, time_ms: 5, offset: start as u64, bytes: &all[start..end] });
            }
            batch.retain(|piece| !piece.bytes.is_empty());
            have = logs.append(ONE, &batch).expect("is taken").have;
            let most = LogHave { stdout: wrote[0].len() as u64, stderr: wrote[1].len() as u64 };
            assert!(have.stdout <= most.stdout && have.stderr <= most.stderr, "seed {seed}: doubled bytes");
            if dice.below(8) == 0 {
                // As after a kill: nothing but the files is left.
                logs = store(dir.path(), WIDE);
                assert_eq!(logs.have(ONE).expect("reads"), have, "seed {seed}");
            }
        }
        for closed in [false, true] {
            if closed {
                assert_eq!(logs.end(ONE, have).expect("ends"), LogHave::default());
                logs = store(dir.path(), WIDE);
            }
            agree(&logs, &wrote, &mut dice, seed);
            assert_eq!((page(&logs, ONE).ended, page(&logs, ONE).missing_bytes), (closed, 0));
        }
    }
}

/// Raw bytes, ranges, pages of any size and tails all tell the same.
fn agree(logs: &LogStore, wrote: &[Vec<u8>; 2], dice: &mut Dice, seed: u64) {
    let both = [(Stream::Stdout, &wrote[0]), (Stream::Stderr, &wrote[1])];
    let size = 1 + dice.below(40);
    let all = lines(logs, ONE, size, None);
    assert!(all.iter().enumerate().all(|(at, (n, _))| at as u64 == *n), "seed {seed}: numbers without gaps");
    let mut count = 0;
    for (stream, bytes) in both {
        assert_eq!(&raw(logs, ONE, Some(stream)), bytes, "seed {seed}");
        let of_stream = lines(logs, ONE, size, Some(stream));
        count += of_stream.len();
        let text: String = of_stream.iter().map(|(_, text)| format!("{text}\n")).collect();
        assert_eq!(text.as_bytes(), &bytes[..], "seed {seed}");
        assert!(of_stream.iter().all(|line| all[line.0 as usize] == *line));
        let tail = LogQuery { tail: Some(size), stream: Some(stream), ..LogQuery::default() };
        let tail = logs.page(ONE, tail).expect("a page").lines;
        let tail: Vec<(u64, String)> = tail.into_iter().map(|line| (line.n, line.text)).collect();
        assert_eq!(tail, of_stream[of_stream.len().saturating_sub(size)..], "seed {seed}");
    }
    assert_eq!(count, all.len());
    let whole = raw(logs, ONE, None);
    assert_eq!(whole.len(), wrote[0].len() + wrote[1].len());
    let (start, end) = (dice.below(whole.len() + 1), dice.below(whole.len() + 1));
    let range = logs.raw(ONE, None).expect("raw");
    let mut part = Vec::new();
    while start + part.len() < end {
        part.extend(range.read((start + part.len()) as u64, end as u64).expect("reads"));
    }
    assert_eq!(part, whole.get(start..end).unwrap_or_default(), "seed {seed}: {start}..{end}");
}

#[test]
fn a_crash_at_any_byte_of_the_last_record_loses_that_record_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = store(dir.path(), WIDE);
    write(&logs, ONE, Stream::Stdout, 0, b"first\n");
    let file = dir.path().join("00000000/1/000000");
    let before = fs::read(&file).expect("reads").len();
    write(&logs, ONE, Stream::Stdout, 6, b"second\n");
    let whole = fs::read(&file).expect("reads");
    for cut in before..whole.len() {
        for torn in [whole[..cut].to_vec(), [&whole[..cut], &vec![0; whole.len() - cut][..]].concat()] {
            fs::write(&file, torn).expect("writes");
            let again = store(dir.path(), WIDE);
            assert_eq!(again.have(ONE).expect("opens"), LogHave { stdout: 6, stderr: 0 }, "cut at {cut}");
            assert_eq!(fs::metadata(&file).expect("there").len(), before as u64, "the torn end is cut off");
            write(&again, ONE, Stream::Stdout, 6, b"third\n");
            assert_eq!(raw(&again, ONE, None), b"first\nthird\n", "cut at {cut}");
        }
    }
    for cut in 0..before - b"first\n".len() - super::record::HEAD {
        fs::write(&file, &whole[..cut]).expect("writes");
        assert_eq!(store(dir.path(), WIDE).have(ONE).expect("opens"), LogHave::default(), "cut at {cut}");
    }
}

#[test]
fn above_the_cap_head_and_tail_stay_and_the_hole_is_exact() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dice = Dice(77);
    let text = dice.text(2000, 40);
    let mut logs = store(dir.path(), SMALL);
    let mut at = 0;
    while at < text.len() {
        let end = (at + 1 + dice.below(150)).min(text.len());
        let have = write(&logs, ONE, Stream::Stdout, at as u64, &text[at..end]);
        assert_eq!(have.stdout, end as u64);
        at = end;
        if dice.below(20) == 0 {
            logs = store(dir.path(), SMALL);
        }
    }
    assert!(logs.end(ONE, LogHave { stdout: at as u64, stderr: 0 }).is_ok());
    let kept: u64 = fs::read_dir(dir.path().join("00000000/1"))
        .expect("lists")
        .map(|entry| entry.expect("an entry").metadata().expect("there").len())
        .sum();
    assert!(kept < 9 * 1000, "{kept} bytes are kept");
    for logs in [&logs, &store(dir.path(), SMALL)] {
        let shown = page(logs, ONE);
        assert_eq!((shown.total, shown.stdout_bytes, shown.ended), (2000, text.len() as u64, true));
        let raw = raw(logs, ONE, Some(Stream::Stdout));
        let mark =
            format!("\n[dsg: {} bytes are missing here: the log is longer than what is kept]\n", shown.missing_bytes);
        let hole = raw.windows(mark.len()).position(|window| window == mark.as_bytes()).expect("the hole is marked");
        let (head, tail) = (&raw[..hole], &raw[hole + mark.len()..]);
        assert!(text.starts_with(head) && text.ends_with(tail) && hole > 1000);
        assert_eq!((head.len() + tail.len()) as u64 + shown.missing_bytes, text.len() as u64);
        let expected: Vec<&str> = std::str::from_utf8(&text).expect("text").lines().collect();
        let lines = lines(logs, ONE, 7, None);
        assert!(lines.iter().all(|(n, text)| expected[*n as usize] == text), "numbers go on over the hole");
        assert!(lines.windows(2).filter(|pair| pair[0].0 + 1 != pair[1].0).count() == 1);
        let tail = logs.page(ONE, LogQuery { tail: Some(3), ..LogQuery::default() }).expect("a page").lines;
        assert_eq!(tail.iter().map(|line| line.n).collect::<Vec<_>>(), [1997, 1998, 1999]);
    }
}

#[test]
fn a_gap_is_refused_unless_it_is_declared_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = store(dir.path(), WIDE);
    assert_eq!(write(&logs, ONE, Stream::Stdout, 0, b"abc").stdout, 3);
    assert_eq!(write(&logs, ONE, Stream::Stdout, 10, b"later").stdout, 3);
    assert_eq!(write(&logs, ONE, Stream::Stdout, 10, b"").stdout, 10);
    assert_eq!(write(&logs, ONE, Stream::Stdout, 10, b"later").stdout, 15);
    let shown = page(&logs, ONE);
    assert_eq!((shown.missing_bytes, shown.total, &shown.open[0].text[..]), (7, 2, "later"));
    assert_eq!(raw(&logs, ONE, None), b"abc\n[dsg: log incomplete: 7 bytes of stdout were lost here]\nlater");
    let absurd = Piece { stream: Stream::Stdout, time_ms: 0, offset: u64::MAX, bytes: b"" };
    assert!(logs.append(ONE, &[absurd]).is_err());
    assert_eq!(logs.end(ONE, LogHave { stdout: 20, stderr: 4 }).expect("answers"), LogHave { stdout: 5, stderr: 4 });
    assert!(!page(&logs, ONE).ended, "bytes are still to come");
    logs.close(ONE, LogHave { stdout: 20, stderr: 4 }).expect("closes");
    let shown = page(&logs, ONE);
    assert_eq!((shown.ended, shown.missing_bytes, shown.stdout_bytes, shown.stderr_bytes), (true, 16, 20, 4));
}

#[test]
fn unfinished_lines_are_shown_and_become_lines_at_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = store(dir.path(), WIDE);
    write(&logs, ONE, Stream::Stdout, 0, b"one\n 50%");
    write(&logs, ONE, Stream::Stderr, 0, &[b'w', 0xff]);
    let shown = page(&logs, ONE);
    let texts: Vec<&str> = shown.lines.iter().chain(&shown.open).map(|line| &line.text[..]).collect();
    assert_eq!((texts, shown.total, shown.next), (vec!["one", " 50%", "w\u{fffd}"], 1, 1));
    logs.end(ONE, logs.have(ONE).expect("reads")).expect("ends");
    let shown = page(&logs, ONE);
    let texts: Vec<(u64, &str)> = shown.lines.iter().map(|line| (line.n, &line.text[..])).collect();
    assert_eq!(texts, [(0, "one"), (1, " 50%"), (2, "w\u{fffd}")]);
    assert_eq!((shown.total, shown.next, shown.open.len()), (3, 3, 0));
}

#[test]
fn a_line_without_end_costs_no_memory_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = LogStore::open(dir.path()).expect("opens");
    let piece = vec![b'x'; 1 << 20];
    for at in 0..5u64 {
        write(&logs, ONE, Stream::Stdout, at << 20, &piece);
    }
    let shown = page(&logs, ONE);
    assert_eq!(shown.total, (5 << 20) / LOG_LINE_BYTES as u64 - 1);
    assert!(shown.lines.iter().all(|line| line.cut && line.text.len() == LOG_LINE_BYTES));
    assert!(shown.lines.len() < 40, "a page is bounded in bytes, too: {} lines", shown.lines.len());
    assert_eq!(raw(&logs, ONE, None).len(), 5 << 20);
}

#[test]
fn many_short_logs_share_a_file_and_may_go_on_or_be_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut logs = store(dir.path(), WIDE);
    let append =
        |id| (AttemptId(id), write(&logs, AttemptId(id), Stream::Stdout, 0, format!("log of {id}\n").as_bytes()));
    let ended: Vec<_> = (0..40).map(append).collect();
    logs.end(ended[0].0, ended[0].1).expect("ends");
    logs.close_all(&ended).expect("closing twice is closing once");
    logs.end(AttemptId(40), LogHave::default()).expect("one that wrote nothing ends as well");
    let files = |name: &str| fs::read_dir(dir.path().join(name)).expect("lists").count();
    assert_eq!(files("00000000"), 1, "nothing but the pack");
    // A lost attempt that comes back writes on.
    write(&logs, AttemptId(7), Stream::Stdout, 9, b"and more\n");
    assert!(!page(&logs, AttemptId(7)).ended);
    logs = store(dir.path(), WIDE);
    assert_eq!(raw(&logs, AttemptId(7), None), b"log of 7\nand more\n", "the live folder wins over the pack");
    logs.end(AttemptId(7), LogHave { stdout: 18, stderr: 0 }).expect("ends");
    logs.remove(&[AttemptId(0), AttemptId(8)]).expect("removes");
    for _ in 0..2 {
        assert_eq!(raw(&logs, AttemptId(7), None), b"log of 7\nand more\n");
        assert_eq!(raw(&logs, AttemptId(39), None), b"log of 39\n");
        assert_eq!(raw(&logs, AttemptId(8), None), b"");
        assert!(page(&logs, AttemptId(40)).ended && !page(&logs, AttemptId(8)).ended);
        logs = store(dir.path(), WIDE);
    }
    logs.remove(&(0..41).map(AttemptId).collect::<Vec<_>>()).expect("removes");
    assert_eq!(files("."), 0);
}

/// Whether an attempt has a folder is known from one listing of its home, and from what was made since.
#[test]
fn a_log_that_began_after_its_home_was_listed_is_found_when_memory_has_forgotten_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = store(dir.path(), WIDE);
    assert_eq!(logs.have(ONE).expect("reads"), LogHave::default());
    let live = AttemptId(2);
    write(&logs, live, Stream::Stdout, 0, b"a line\n");
    for other in 1000..6000 {
        logs.have(AttemptId(other)).expect("reads");
    }
    assert_eq!(raw(&logs, live, None), b"a line\n");
    write(&logs, live, Stream::Stdout, 7, b"another\n");
    assert_eq!(raw(&logs, live, None), b"a line\nanother\n");
}

#[test]
fn a_crash_between_packing_and_removing_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = store(dir.path(), WIDE);
    let have = write(&logs, ONE, Stream::Stdout, 0, b"whole\n");
    let folder = dir.path().join("00000000/1");
    let segment = fs::read(folder.join("000000")).expect("reads");
    logs.end(ONE, have).expect("ends");
    fs::create_dir(&folder).expect("makes");
    fs::write(folder.join("000000"), &segment).expect("writes");
    let again = store(dir.path(), WIDE);
    assert!(page(&again, ONE).ended && !folder.exists());
    // A power cut that took the packed bytes, but not the folder.
    let pack = dir.path().join("00000000/pack");
    let mut bytes = fs::read(&pack).expect("reads");
    let end = bytes.len();
    bytes[end - 6..].fill(0);
    fs::write(&pack, bytes).expect("writes");
    fs::create_dir(&folder).expect("makes");
    fs::write(folder.join("000000"), &segment).expect("writes");
    let again = store(dir.path(), WIDE);
    assert_eq!(raw(&again, ONE, None), b"whole\n");
}

#[tokio::test]
async fn a_follower_sees_each_line_once_until_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = store(dir.path(), WIDE);
    let mut follower = logs.follow(ONE, 0, None);
    assert_eq!(follower.next().await.expect("the first page").lines.len(), 0);
    let writer = {
        let logs = logs.clone();
        tokio::task::spawn_blocking(move || {
            let mut offset = 0;
            for n in 0..500 {
                let text = format!("line {n}\n");
                let (first, second) = text.split_at(n % 6);
                for part in [first, second] {
                    offset = write(&logs, ONE, Stream::Stdout, offset, part.as_bytes()).stdout;
                }
            }
            logs.end(ONE, LogHave { stdout: offset, stderr: 0 }).expect("ends")
        })
    };
    let mut seen = Vec::new();
    loop {
        let page = follower.next().await.expect("a page");
        seen.extend(page.lines.into_iter().map(|line| line.text));
        if page.ended && page.next == page.total {
            break;
        }
    }
    assert_eq!(writer.await.expect("writes"), LogHave::default());
    let expected: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn what_was_written_reaches_the_disk_by_flush_however_many_files_it_are() {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = store(dir.path(), WIDE);
    for count in [1, 3, 50] {
        for id in 0..count {
            let have = logs.have(AttemptId(id)).expect("reads");
            write(&logs, AttemptId(id), Stream::Stdout, have.stdout, b"x");
        }
        logs.flush().expect("flushes");
    }
    logs.remove(&[ONE]).expect("removes");
    logs.flush().expect("what is gone is no error");
}

/// What the runner may drop is what a power cut cannot take any more.
#[test]
fn only_what_was_forced_to_disk_is_called_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let logs = store(dir.path(), WIDE);
    let append = |offset, bytes| {
        logs.append(ONE, &[Piece { stream: Stream::Stdout, time_ms: 1, offset, bytes }]).expect("is taken")
    };
    let out = |stdout| LogHave { stdout, stderr: 0 };
    assert_eq!(append(0, b"one\n").durable, out(0));
    logs.flush().expect("synced");
    let answer = append(4, b"two\n");
    assert_eq!((answer.have, answer.durable), (out(8), out(4)));
    logs.flush().expect("synced");
    assert_eq!(append(8, b"").durable, out(8));
    // A log that is read anew from its files is promised nothing until it is synced again.
    let again = store(dir.path(), WIDE);
    assert_eq!(again.append(ONE, &[]).expect("is taken").durable, out(0));
}
