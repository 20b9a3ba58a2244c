//! Job files beside what is said of them: `bad/` has one for each rule, `good/` each chunk source and every key.
//! `BLESS=1` writes the texts anew.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dsg_schemas::api::{SpecProblem, Upload, Uploads};
use dsg_schemas::spec::{Plan, Rule, Sources, Wanted, check};
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

/// Checks a file with the uploads of `files/` beside it. A line `# set: name=value` stands for `--set`,
/// `# uploads: n` for so many empty files in `many/`, and `# secrets: a,b` for what the server has.
fn checked(path: &Path) -> Result<Plan, Vec<SpecProblem>> {
    let text = String::from_utf8_lossy(&fs::read(path).expect("a job file")).into_owned();
    let root = path.parent().expect("a folder").join("files");
    let mut uploads = uploads(&root);
    let many = text.lines().find_map(|line| line.strip_prefix("# uploads: ")?.parse::<u32>().ok()).unwrap_or(0);
    uploads.extend((0..many).map(|n| (format!("many/{n}"), Upload { size: 0, sha256: sha256(b"") })));
    let read = |path: &str| match path {
        "unreadable.csv" => Err(std::io::Error::other("the disk is on fire")),
        path => fs::read(root.join(path)),
    };
    let set: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# set: ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let secrets: Option<BTreeSet<String>> = text
        .lines()
        .find_map(|line| line.strip_prefix("# secrets: "))
        .map(|names| names.split(',').map(str::to_owned).collect());
    check(&text, &set, &Sources { uploads: &uploads, read: &read, secrets: secrets.as_ref() })
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

/// Sources for whatever a text wants: one small file each.
fn anything(text: &str) -> Uploads {
    let wanted =
        dsg_schemas::spec::wanted(text, &BTreeMap::new()).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
    let paths = wanted.into_iter().map(|wanted| match wanted {
        Wanted::File(path) => path,
        Wanted::Folder(path) => path + "a.dat",
        Wanted::Glob(path) => path.replace("**", "x").replace('*', "a"),
    });
    paths.map(|path| (path, Upload { size: 26, sha256: sha256(b"") })).collect()
}

#[test]
fn every_example_in_the_guide_is_accepted() {
    let guide = fs::read_to_string(folder("../docs/job-spec.md")).expect("the guide");
    let examples: Vec<&str> = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 9, "only {} examples found", examples.len());
    for text in examples {
        let uploads = anything(text);
        let read = |_: &str| Ok(b"planet,mass\nearth,5.97\n".to_vec());
        let checked = check(text, &BTreeMap::new(), &Sources { uploads: &uploads, read: &read, secrets: None });
        assert!(checked.is_ok(), "{text}\n{:?}", checked.err());
    }
}

#[test]
fn editors_accept_what_we_accept() {
    let schema = dsg_schemas::spec::schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let validator = jsonschema::validator_for(&schema).expect("a sound schema");
    for path in yaml_files(&folder("good")) {
        let text = fs::read_to_string(&path).expect("a job file");
        let value: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
    assert!(!validator.is_valid(&serde_json::json!({"name": "x", "image": "y", "chunks": {"count": 3}, "stages": {}})));
}

#[test]
fn a_file_that_is_too_large_is_not_even_parsed() {
    let text = format!("name: x\nimage: y\nchunks: {{count: 1}}\n#{}\n", "x".repeat(dsg_schemas::limits::SPEC_BYTES));
    let sources =
        Sources { uploads: &Uploads::new(), read: &|_| Err(std::io::Error::other("not read")), secrets: None };
    let problems = check(&text, &BTreeMap::new(), &sources).expect_err("too large");
    assert_eq!(problems[0].rule, Rule::TooLarge.word());
}

#[test]
fn any_chunk_of_a_million_is_there_at_once() {
    let sources =
        Sources { uploads: &Uploads::new(), read: &|_| Err(std::io::Error::other("not read")), secrets: None };
    let plan = |chunks: &str| {
        let text = format!("name: x\nimage: y\ncommand: [a, \"{{{{chunk.index}}}}\"]\nchunks: {chunks}\n");
        check(&text, &BTreeMap::new(), &sources).expect("a job")
    };
    let axis: Vec<u32> = (0..100).collect();
    let matrix = format!("{{matrix: {{a: {axis:?}, b: {axis:?}, c: {axis:?}}}}}");
    for chunks in ["{count: 1000000}", "{range: {stop: 1000000}}", &matrix, "{range: {stop: 1000000000}, batch: 1000}"]
    {
        let plan = plan(chunks);
        assert_eq!(plan.chunks, 1_000_000);
        assert_eq!(plan.chunk(999_999).command, ["a", "999999"]);
        assert!(plan.to_bytes().len() < 20_000, "{chunks}");
    }
}
