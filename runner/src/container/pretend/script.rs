//! What a pretended container does, read from its command, and the files that it leaves.
use std::collections::BTreeMap;

use bytes::Bytes;
use dsg_schemas::wire::log::Stream;

use crate::container::ContainerPlan;

/// What a pretended command does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// `run_ms=N`: how long it runs; `forever` ends by a stop only.
    pub run_ms: u64,
    pub forever: bool,
    /// `exit=N`
    pub exit: i32,
    /// `oom=true`: its memory limit is reached.
    pub oom: bool,
    /// `lines=N`, `errors=N`: lines on stdout and stderr.
    pub lines: u64,
    pub errors: u64,
    /// `line_bytes=N`: how long each line is, newline included.
    pub line_bytes: usize,
    /// `every_ms=N`: a line every so often, in place of all at once.
    pub every_ms: u64,
    /// On stdout, at once and first: what the self-test's program says, or `cat=PATH`: a file that is bound there.
    pub says: String,
    /// `write=PATH=TEXT`: a file in the container.
    pub files: BTreeMap<String, String>,
    /// `flood=true`: output without an end, faster than anybody can read it.
    pub flood: bool,
    /// `fills=N`: bytes in its own layer, besides its files.
    pub fills: u64,
    /// `rotate=N`: its log is emptied when it has more lines than that.
    pub rotate: Option<usize>,
    /// `deaf=true`: TERM is ignored.
    pub deaf: bool,
    /// `bad_command=true`: cannot be started.
    pub bad_command: bool,
    /// `cut_attach=true`: the live stream breaks off after half, as engines do; the log has all of it.
    pub cut_attach: bool,
}

impl Script {
    pub fn read(plan: &ContainerPlan) -> Script {
        let mut script = Script::default();
        for word in &plan.command {
            let Some((key, value)) = word.split_once('=') else { continue };
            let number = || value.parse::<u64>().unwrap_or(0);
            match key {
                "run_ms" if value == "forever" => script.forever = true,
                "run_ms" => script.run_ms = number(),
                "exit" => script.exit = value.parse().unwrap_or(0),
                "oom" => script.oom = value == "true",
                "lines" => script.lines = number(),
                "errors" => script.errors = number(),
                "line_bytes" => script.line_bytes = number() as usize,
                "every_ms" => script.every_ms = number(),
                "flood" => script.flood = value == "true",
                "fills" => script.fills = number(),
                "rotate" => script.rotate = Some(number() as usize),
                "deaf" => script.deaf = value == "true",
                "bad_command" => script.bad_command = value == "true",
                "cut_attach" => script.cut_attach = value == "true",
                "cat" => {
                    let host = plan.binds.iter().find(|bind| bind.container == value).map(|bind| &bind.host);
                    let text = host.and_then(|host| std::fs::read_to_string(host).ok());
                    script.says.push_str(&text.unwrap_or_else(|| format!("{value} is not there")));
                    script.says.push('\n');
                }
                "write" => {
                    if let Some((path, text)) = value.split_once('=') {
                        script.files.insert(path.to_owned(), text.to_owned());
                    }
                }
                _ => {}
            }
        }
        script
    }

    pub fn line(&self, stream: Stream, n: u64) -> Bytes {
        let mut line = match stream {
            Stream::Stdout => format!("line {n}"),
            Stream::Stderr => format!("error {n}"),
        };
        while line.len() + 1 < self.line_bytes {
            line.push('.');
        }
        line.push('\n');
        line.into()
    }
}

/// As an engine would pack `path`: a file alone, or a folder with everything below it.
pub(super) fn archive(files: &BTreeMap<String, String>, path: &str) -> Option<Vec<u8>> {
    let path = path.trim_end_matches('/');
    let base = path.rsplit('/').next().unwrap_or(path);
    let mut archive = tar::Builder::new(Vec::new());
    let mut found = false;
    for (name, text) in files {
        let Some(under) = name.strip_prefix(path).filter(|under| under.is_empty() || under.starts_with('/')) else {
            continue;
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{base}{under}"), text.as_bytes()).ok()?;
        found = true;
    }
    archive.into_inner().ok().filter(|_| found)
}
