//! Where the files of a job go: each output under the name that the job file gives it.
//!
//! An output that is one file is `<name>` with the ending of the file that the command wrote, so that the desktop knows it; an output
//! that is a pattern (`*`, `?`) is a folder `<name>`, however many files it matched in this chunk. Names of outputs differ, so no file
//! takes another's place, and an output has the same place in every chunk.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dsg_schemas::api::ManifestLine;
use dsg_schemas::wire::StoredFile;
use serde_json::Value;

use crate::clean;
use crate::fetch::Wanted;

/// Bytes of one part of a path; file systems end there.
const PART_BYTES: usize = 200;

/// Which outputs are patterns, and so folders.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Outputs of the chunks, and of the gather's container, that are patterns.
    chunk_folders: BTreeSet<String>,
    gather_folders: BTreeSet<String>,
}

impl Layout {
    /// From the job as the server understood it.
    pub fn of(spec: &Value) -> Layout {
        let folders = |outputs: &Value| -> Vec<String> {
            let outputs = outputs.as_array().map(Vec::as_slice).unwrap_or_default();
            let pattern = |output: &&Value| output["path"].as_str().is_some_and(|path| path.contains(['*', '?']));
            outputs.iter().filter(pattern).filter_map(|output| Some(output["name"].as_str()?.to_owned())).collect()
        };
        let steps = spec["gather"].as_array().map(Vec::as_slice).unwrap_or_default();
        Layout {
            chunk_folders: folders(&spec["outputs"]).into_iter().collect(),
            gather_folders: steps.iter().flat_map(|step| folders(&step["outputs"])).collect(),
        }
    }

    /// The files of one chunk: `main/<index>/<name>`.
    pub fn of_chunk(&self, line: &ManifestLine) -> Vec<Wanted> {
        let folder = Path::new("main").join(line.index.to_string());
        placed(&self.chunk_folders, &line.outputs).map(|(place, file)| wanted(folder.join(place), file)).collect()
    }

    /// The gathered files: beside `main`. What would take the place of something else goes into `gathered/`.
    pub fn of_gathered(&self, stored: &[StoredFile]) -> Vec<Wanted> {
        let mut taken: BTreeSet<PathBuf> = ["main", "gathered", "manifest.jsonl", ".dsg-job"].map(PathBuf::from).into();
        let free = |(place, file): (PathBuf, &StoredFile)| {
            let free = taken.insert(place.clone());
            wanted(if free { place } else { Path::new("gathered").join(place) }, file)
        };
        placed(&self.gather_folders, stored).map(free).collect()
    }
}

fn wanted(to: PathBuf, stored: &StoredFile) -> Wanted {
    Wanted { to, size: stored.size, sha256: stored.sha256.clone() }
}

fn placed<'a>(
    folders: &'a BTreeSet<String>,
    stored: &'a [StoredFile],
) -> impl Iterator<Item = (PathBuf, &'a StoredFile)> {
    stored.iter().map(|this| {
        let several = stored.iter().filter(|other| other.name == this.name).count() > 1;
        let name = safe(&this.name);
        let place = match folders.contains(&this.name) || several {
            true => name.join(safe(&this.file)),
            false => safe(&format!("{}{}", name.display(), ending(&this.file))),
        };
        (place, this)
    })
}

/// From the last dot on; of a compressed file with what it is beneath, as in `.nii.gz`.
fn ending(file: &str) -> &str {
    let file = file.rsplit('/').next().unwrap_or(file);
    let dot = |end: usize| file[..end].rfind('.').filter(|at| *at > 0);
    let Some(last) = dot(file.len()) else { return "" };
    let compressed = matches!(&file[last..], ".gz" | ".bz2" | ".xz" | ".zst" | ".lz4" | ".br");
    let from = if compressed { dot(last).unwrap_or(last) } else { last };
    &file[from..]
}

/// A path that stays where it is put, whatever the server says.
fn safe(file: &str) -> PathBuf {
    let part = |part: &str| {
        let mut clean: String = part
            .chars()
            .map(|c| if clean::name(c.encode_utf8(&mut [0; 4])) == c.to_string() { c } else { '_' })
            .collect();
        while clean.len() > PART_BYTES {
            clean.pop();
        }
        match clean.as_str() {
            ".." | "." => "_".to_owned(),
            _ => clean,
        }
    };
    let path: PathBuf = file.split('/').filter(|part| !part.is_empty()).map(part).collect();
    if path.as_os_str().is_empty() { PathBuf::from("_") } else { path }
}

#[cfg(test)]
mod tests {
    use dsg_schemas::api::ChunkState;

    use super::*;

    fn stored(name: &str, file: &str) -> StoredFile {
        StoredFile { name: name.to_owned(), file: file.to_owned(), size: 1, sha256: "a".repeat(64) }
    }

    fn places(wanted: &[Wanted]) -> Vec<String> {
        wanted.iter().map(|wanted| wanted.to.display().to_string()).collect()
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let cases = [
            ("a.csv", "a.csv"),
            ("plots/a.png", "plots/a.png"),
            ("../../etc/passwd", "_/_/etc/passwd"),
            ("/etc/passwd", "etc/passwd"),
            ("a/./b", "a/_/b"),
            ("..", "_"),
            ("", "_"),
            ("///", "_"),
            ("a\nb\u{1b}[2J\0", "a_b_[2J_"),
            (".hidden", ".hidden"),
        ];
        for (file, place) in cases {
            assert_eq!(safe(file), PathBuf::from(place), "{file:?}");
        }
        assert!(safe(&"ü".repeat(500)).as_os_str().len() <= PART_BYTES);
    }

    fn line(outputs: &[StoredFile]) -> ManifestLine {
        ManifestLine {
            index: 7,
            label: String::new(),
            status: ChunkState::Succeeded,
            attempt: Some(1),
            runner: None,
            exit_code: Some(0),
            reason: None,
            outputs: outputs.to_vec(),
        }
    }

    fn layout() -> Layout {
        Layout::of(&serde_json::json!({
            "outputs": [{"name": "score", "path": "/out/result.csv"}, {"name": "plots", "path": "/out/*.png"}],
            "gather": [{"mode": "csv", "from": "score", "output": "scores"},
                       {"mode": "run", "outputs": [{"name": "pages", "path": "/out/page-?.svg"}]}]
        }))
    }

    #[test]
    fn outputs_are_called_what_the_job_calls_them() {
        let outputs = [stored("score", "result.csv"), stored("plots", "a.png"), stored("plots", "b.png")];
        let expected = ["main/7/score.csv", "main/7/plots/a.png", "main/7/plots/b.png"];
        assert_eq!(places(&layout().of_chunk(&line(&outputs))), expected);
        let one = [stored("plots", "a.png")];
        assert_eq!(places(&layout().of_chunk(&line(&one))), ["main/7/plots/a.png"], "a pattern is always a folder");
        let same = [stored("train", "loss.csv"), stored("test", "loss.csv"), stored("model", "model")];
        let expected = ["main/7/train.csv", "main/7/test.csv", "main/7/model"];
        assert_eq!(places(&layout().of_chunk(&line(&same))), expected, "one file name, two outputs");
    }

    #[test]
    fn gathered_files_lie_beside_the_chunks_and_take_nobodys_place() {
        let gathered = [stored("scores", "scores.csv"), stored("pages", "page-1.svg"), stored("figure", "co2.png")];
        assert_eq!(places(&layout().of_gathered(&gathered)), ["scores.csv", "pages/page-1.svg", "figure.png"]);
        let taken = [stored("main", "x"), stored("manifest", "m.jsonl"), stored("a", "b.csv"), stored("a-", "a.csv")];
        let expected = ["gathered/main", "gathered/manifest.jsonl", "a.csv", "a-.csv"];
        assert_eq!(places(&layout().of_gathered(&taken)), expected);
    }

    #[test]
    fn endings_tell_what_a_file_is() {
        let cases = [
            ("a.csv", ".csv"),
            ("scan.nii.gz", ".nii.gz"),
            ("lr.0.5.csv", ".csv"),
            ("x.gz", ".gz"),
            (".hidden", ""),
            ("README", ""),
            ("dir.d/file", ""),
            ("", ""),
        ];
        for (file, expected) in cases {
            assert_eq!(ending(file), expected, "{file:?}");
        }
    }
}
