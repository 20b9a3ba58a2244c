//! Writes what is made from the types: `schemas/job.schema.json` for editors, and the table of keys in `docs/job-spec.md`.
//! With `--check` it writes nothing, and fails if a file differs.
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

const BEGIN: &str = "<!-- keys: made by `make schemas` -->\n";
const END: &str = "<!-- end of keys -->\n";

fn main() -> ExitCode {
    let check = env::args().any(|argument| argument == "--check");
    let root = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("schemas"), PathBuf::from);
    match made(&root) {
        Ok(files) => {
            let wrong = files.iter().filter(|(path, text)| !settle(path, text, check)).count();
            if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the files made from the types cannot be made: {error}");
            ExitCode::FAILURE
        }
    }
}

fn made(schemas: &Path) -> io::Result<[(PathBuf, String); 2]> {
    let docs = schemas.join("../docs/job-spec.md");
    let written = fs::read_to_string(&docs)?;
    let cut = |mark: &str| {
        written.find(mark).ok_or_else(|| io::Error::other(format!("docs/job-spec.md lacks the line {mark}")))
    };
    let (begin, end) = (cut(BEGIN)? + BEGIN.len(), cut(END)?);
    let head = written.get(..begin).unwrap_or_default();
    let tail = written.get(end..).unwrap_or_default();
    let text = format!("{head}\n{}\n{tail}", dsg_schemas::spec::key_table());
    let schema = serde_json::to_string_pretty(&dsg_schemas::spec::schema())?;
    Ok([(schemas.join("job.schema.json"), schema + "\n"), (docs, text)])
}

/// Whether the file is, or now is, as it should be.
fn settle(path: &Path, text: &str, check: bool) -> bool {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return true;
    }
    if check {
        eprintln!("{} differs from the types; run `make schemas`", path.display());
        return false;
    }
    match fs::write(path, text) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("{} cannot be written: {error}", path.display());
            false
        }
    }
}
