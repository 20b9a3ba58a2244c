//! Job files beside what is said of them: `bad/` has one for each rule, `good/` each chunk source and every key.
//! `BLESS=1` writes the texts anew.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dsg_schemas::api::{SpecProblem, Upload, Uploads};
use dsg_schemas::spec::{Plan, Rule, Sources, check};
use sha2::{Digest, Sha256};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uploads(root: &Path) -> Uploads {
    fn walk(root: &Path, folder: &Path, uploads: &mut Uploads) {
        for entry in fs::read_dir(folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, uploads);
            } else {
                let bytes = fs::read(&path).expect("a file of the repository");
                let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
                uploads.insert(name, Upload { size: bytes.len() as u64, sha256: sha256(&bytes) });
            }
        }
    }
    let mut uploads = Uploads::new();
    walk(root, root, &mut uploads);
    uploads
}

/// Checks a file with the uploads of `files/` beside it. A line `# set: name=value` stands for `--set`.
fn checked(path: &Path) -> Result<Plan, Vec<SpecProblem>> {
    let text = String::from_utf8_lossy(&fs::read(path).expect("a job file")).into_owned();
    let root = path.parent().expect("a folder").join("files");
    let uploads = uploads(&root);
    let read = |path: &str| match path {
        "unreadable.csv" => Err(std::io::Error::other("the disk is on fire")),
        path => fs::read(root.join(path)),
    };
    let set: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# set: ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    check(&text, &set, &Sources { uploads: &uploads, read: &read })
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder of the repository").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

fn rendered(problem: &SpecProblem) -> String {
    let SpecProblem { rule, line, column, path, message, value, allowed, hint } = problem;
    let mut text = format!("{line}:{column} {path}: {message}");
    if let Some(value) = value {
        write!(text, " ({value})").expect("text");
    }
    if !allowed.is_empty() {
        write!(text, " [{}]", allowed.join(", ")).expect("text");
    }
    if let Some(hint) = hint {
        write!(text, " — {hint}").expect("text");
    }
    format!("{text} <{rule}>\n")
}

fn compare(path: &Path, found: &str, wrong: &mut Vec<String>) {
    let expected_path = path.with_extension("txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&expected_path, found).expect("writable");
    } else if fs::read_to_string(&expected_path).unwrap_or_default() != found {
        wrong.push(format!("{}:\n{found}", path.display()));
    }
}

#[test]
fn wrong_files_are_refused_with_these_words() {
    let mut wrong = Vec::new();
    for path in yaml_files(&folder("bad")) {
        let rule = path.file_stem().expect("a name").to_string_lossy().split('.').next().unwrap_or_default().to_owned();
        match checked(&path) {
            Ok(_) => wrong.push(format!("{} is accepted", path.display())),
            Err(problems) => {
                if !problems.iter().any(|problem| problem.rule == rule) {
                    wrong.push(format!("{} does not break {rule}", path.display()));
                }
                compare(&path, &problems.iter().map(rendered).collect::<String>(), &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 takes them as they are", wrong.join("\n"));
}

#[test]
#[ignore = "x"]
fn every_rule_has_a_file_that_breaks_it() {
    let missing: Vec<&str> = Rule::ALL
        .iter()
        .map(|rule| rule.word())
        .filter(|word| !folder("bad").join(format!("{word}.yaml")).exists())
        .collect();
    assert!(missing.is_empty(), "schemas/bad lacks {missing:?}");
}

fn summary(plan: &Plan) -> String {
    let mut text = format!("{} chunks of {} items\n", plan.chunks, plan.items);
    for warning in &plan.warnings {
        writeln!(text, "warning: {warning}").expect("text");
    }
    for path in plan.uploads.keys() {
        writeln!(text, "upload {path}").expect("text");
    }
    for index in 0..plan.chunks.min(3) {
        let chunk = plan.chunk(index);
        writeln!(text, "\nchunk {index}: {}\n  command {:?}", chunk.label, chunk.command).expect("text");
        for item in plan.chunk_items(index) {
            writeln!(text, "  item {item}").expect("text");
        }
        for (name, value) in chunk.env {
            writeln!(text, "  {name}={value}").expect("text");
        }
    }
    text
}

#[test]
fn right_files_are_understood_like_this() {
    let mut wrong = Vec::new();
    for path in yaml_files(&folder("good")) {
        match checked(&path) {
            Ok(plan) => compare(&path, &summary(&plan), &mut wrong),
            Err(problems) => {
                let problems: String = problems.iter().map(rendered).collect();
                wrong.push(format!("{} is refused:\n{problems}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 takes them as they are", wrong.join("\n"));
}

#[test]
fn a_stored_plan_is_the_same_plan() {
    for path in yaml_files(&folder("good")) {
        let plan = checked(&path).expect("a good file");
        let mut again = Plan::from_bytes(&plan.to_bytes()).expect("readable");
        if let Some(table) = plan.table() {
            assert_eq!(plan.table_sha256(), Some(sha256(table).as_str()));
            assert!(again.attach_table(b"{}\n".to_vec()).is_err());
            again.attach_table(table.to_vec()).expect("the right table");
        }
        assert_eq!(again.job, plan.job, "{}", path.display());
        assert_eq!(summary(&again).replace("warning", ""), summary(&plan).replace("warning", ""), "{}", path.display());
        let last = plan.chunks - 1;
        assert_eq!(again.chunk(last), plan.chunk(last));
    }
}
