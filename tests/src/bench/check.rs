//! How long a wrong job file can keep the check busy: every file of `schemas/bad`, and some made to be expensive.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{Upload, Uploads};
use dsg_schemas::limits::SPEC_BYTES;
use dsg_schemas::spec::{Sources, check};

use super::{ROUNDS, print, spread};

const BAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/bad");
/// The slowest that are named beside the figure.
const SHOWN: usize = 8;

/// A job file and what is sent with it.
struct Case {
    name: String,
    text: String,
    uploads: Uploads,
    set: BTreeMap<String, String>,
}

impl Case {
    /// Refused is what each of them must be.
    fn is_refused(&self) -> bool {
        let read = |path: &str| match path {
            "unreadable.csv" => Err(std::io::Error::other("the disk is on fire")),
            path => std::fs::read(Path::new(BAD).join("files").join(path)),
        };
        check(&self.text, &self.set, &Sources { uploads: &self.uploads, read: &read, secrets: None }).is_err()
    }

    fn median_ms(&self) -> f64 {
        let times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let begun = Instant::now();
                std::hint::black_box(self.is_refused());
                begun.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        spread(&times).median
    }
}

/// Prints `check_worst_ms`: of the case that takes longest, the median of its rounds. One that is accepted would say nothing.
pub fn worst() -> Result<()> {
    let cases: Vec<Case> = kept()?.into_iter().chain(made()).collect();
    let mut times = Vec::new();
    for case in &cases {
        ensure!(case.is_refused(), "{} is accepted", case.name);
        times.push((case.median_ms(), case.name.as_str()));
    }
    times.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (time, name) in times.iter().take(SHOWN) {
        eprintln!("check: {time:.2} ms: {name}");
    }
    print("check_worst_ms", times.first().context("there are no wrong files")?.0, "ms");
    Ok(())
}

/// Those of the repository. `# uploads: n` in one stands for so many files, `# set: name=value` for `--set`.
fn kept() -> Result<Vec<Case>> {
    let nothing = || Upload { size: 0, sha256: "0".repeat(64) };
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(BAD).context(BAD)? {
        let path: PathBuf = entry?.path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        let many = text.lines().find_map(|line| line.strip_prefix("# uploads: ")?.parse::<u32>().ok()).unwrap_or(0);
        let mut uploads: Uploads = (0..many).map(|number| (format!("many/{number}"), nothing())).collect();
        for file in std::fs::read_dir(Path::new(BAD).join("files"))?.flatten().filter(|file| file.path().is_file()) {
            let size = file.metadata()?.len();
            uploads.insert(file.file_name().to_string_lossy().into_owned(), Upload { size, ..nothing() });
        }
        let pairs = text.lines().filter_map(|line| line.strip_prefix("# set: ")?.split_once('='));
        let set = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        cases.push(Case { name: path.display().to_string(), text, uploads, set });
    }
    Ok(cases)
}

/// Each tries to make the check do more work than its size is worth.
fn made() -> Vec<Case> {
    const HEAD: &str = "name: hostile\nimage: x:1\n";
    let case =
        |name: &str, text: String| Case { name: name.to_owned(), text, uploads: Uploads::new(), set: BTreeMap::new() };
    // Up to the limit, and no further: a longer file is refused unread.
    let full = |head: &str, line: &dyn Fn(usize) -> String| {
        let mut text = head.to_owned();
        for number in 0.. {
            let next = line(number);
            if text.len() + next.len() > SPEC_BYTES {
                break;
            }
            text.push_str(&next);
        }
        text
    };
    let axes = (0..6).fold(format!("{HEAD}chunks:\n  matrix:\n"), |mut text, axis| {
        let values: Vec<String> = (0..100).map(|value| value.to_string()).collect();
        let _ = writeln!(text, "    axis{axis}: [{}]", values.join(", "));
        text
    });
    let bomb = (1..30).fold(format!("{HEAD}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"), |mut text, level| {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(text, "a{level}: &a{level} [{below}]");
        text
    });
    let stairs = (0..1000).fold(HEAD.to_owned(), |text, level| format!("{text}{}k:\n", " ".repeat(level)));
    vec![
        case("an alias bomb", bomb),
        case("a matrix of 10^12 chunks", axes),
        case("100,000 open brackets", format!("{HEAD}env: {}", "[".repeat(100_000))),
        case("1,000 maps in each other", stairs),
        case("64 MiB", "x".repeat(64 << 20)),
        case("1 MiB of keys that are none", full(HEAD, &|number| format!("comand{number}: x\n"))),
        case("1 MiB of one key", full(HEAD, &|_| "labels: {a: b}\n".to_owned())),
        case("1 MiB of nodes", full(&format!("{HEAD}chunks: {{items: ["), &|_| "1,".to_owned())),
        case(
            "1 MiB of references that lead nowhere",
            full(&format!("{HEAD}command:\n"), &|_| "- '{{itme.x}}'\n".into()),
        ),
        case("1 MiB of items of the wrong kind", full(&format!("{HEAD}inputs:\n"), &|number| format!("- {number}\n"))),
        case(
            "1 MiB of environment that is none",
            full(&format!("{HEAD}env:\n"), &|number| format!("  '{number} ': x\n")),
        ),
        case("1 MiB of control characters", full(HEAD, &|_| "\u{1}".to_owned())),
        case("1 MiB in one word", full(&format!("{HEAD}chunks: "), &|_| "é".to_owned())),
    ]
}
