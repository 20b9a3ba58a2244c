//! Every page in every condition: as it was agreed, with no active content, and with links that lead somewhere.
use std::fs;
use std::path::Path;

use dsg_schemas::api::{
    Checked, ChunkPlan, CreatedToken, JobState, Page, Problem, Role, TokenKind, TokenView, Upload, Uploads,
};

use super::samples::{self, HOSTILE, KINDS, Kind, Stage};
use super::submit::{Draft, Outcome};
use super::*;

const JOIN: &str = "dsg-runner join https://lab-3.example:8420 --token TOKEN";

/// `job-typical` and its markup, and so on.
fn pages() -> Vec<(String, Kind, String)> {
    let mut all = Vec::new();
    for (kind, word) in KINDS {
        let stage = Stage::new(kind);
        let frame = stage.frame();
        let hostile = kind == Kind::Hostile;
        let named = |text: &str| if hostile { HOSTILE.to_owned() } else { text.to_owned() };
        let draft = Draft {
            spec: if kind == Kind::Empty {
                String::new()
            } else {
                named("name: hello\nimage: busybox\nresources: {cpu: 2}\n") + "\nlast"
            },
            set: named("n=4"),
            uploads: Uploads::from([(named("data.csv"), Upload { size: 4321, sha256: named("ab") })]),
            request: named("r1"),
            edit: (kind == Kind::Hostile).then_some(dsg_schemas::ids::JobId(7)),
            again: false,
        };
        let filter = jobs::Filter {
            text: if kind == Kind::Empty { String::new() } else { named("lens") },
            ..jobs::Filter::default()
        };
        let list = Page { rows: samples::jobs(kind), next: (kind != Kind::Empty).then(|| named("c")) };
        let chunk_filter = job::Filter { state: String::new(), cursor: named("") };
        let mut refused = Problem {
            code: named("not_found"),
            title: "Not Found".to_owned(),
            status: 404,
            detail: named("there is no job 7"),
            problems: vec![],
        };
        let outcome = match kind {
            Kind::Empty => Outcome::Blank,
            Kind::Many => Outcome::Checked(Checked {
                ok: true,
                problems: vec![],
                warnings: vec!["No runner has a GPU.".to_owned()],
                chunks: 1_000_000,
                first: vec![ChunkPlan {
                    index: 0,
                    label: "0".to_owned(),
                    command: vec!["echo".to_owned()],
                    env: [("DSG_CHUNK_INDEX".to_owned(), "0".to_owned())].into(),
                }],
            }),
            _ => Outcome::Refused(Problem {
                problems: samples::problems(kind),
                detail: String::new(),
                ..refused.clone()
            }),
        };
        refused.problems = if hostile { samples::problems(kind) } else { vec![] };
        let created = CreatedToken {
            token: TokenView {
                id: "t".to_owned(),
                kind: TokenKind::Join,
                name: named("lab"),
                created_ms: 0,
                expires_ms: None,
                uses_left: None,
                last_used_ms: None,
            },
            secret: named("dsg_j_secret"),
            command: named("dsg-runner join …"),
        };
        let log = samples::log(kind);
        let nobody = Frame { viewer: None, ..frame };
        let drawn = [
            ("overview", overview::page(frame, &samples::overview(kind), JOIN)),
            ("jobs", jobs::page(frame, &filter, &list)),
            (
                "job",
                job::page(frame, &samples::job(kind), &samples::failed(kind), &chunk_filter, &samples::chunks(kind)),
            ),
            ("chunk", chunk::page(frame, &samples::chunk_detail(kind), "mara", None, Some(&log))),
            ("runners", runners::page(frame, &samples::runners(kind), JOIN)),
            ("queue", queue::page(frame, &Page { rows: samples::queue(kind), next: None }, 0, &samples::owners(kind))),
            ("submit", submit::page(frame, &draft, &outcome)),
            (
                "tokens",
                tokens::page(
                    frame,
                    &samples::tokens(kind),
                    &samples::secrets(kind),
                    (kind != Kind::Empty).then_some(&created),
                ),
            ),
            (
                "login",
                login::page(
                    nobody,
                    &named("lab-3"),
                    (kind != Kind::Empty).then_some(named("That token is not known.").as_str()),
                ),
            ),
            ("problem", problem::page(frame, &refused)),
        ];
        all.extend(drawn.map(|(name, markup)| (format!("{name}-{word}"), kind, markup.into_string())));
    }
    all
}

/// With `DSG_PAGES_DIR` set, the pages are also written there, to be looked at.
#[test]
fn pages_are_as_agreed() {
    if let Ok(folder) = std::env::var("DSG_PAGES_DIR") {
        write_to(Path::new(&folder));
    }
    for (name, kind, page) in pages() {
        if kind == Kind::Many {
            continue; // the same markup, more often
        }
        insta::assert_snapshot!(name, readable(&page));
    }
}

/// One tag a line, without the hashes of assets.
fn readable(page: &str) -> String {
    let mut text = page.replace("><", ">\n<");
    for stem in ["style", "live", "log", "map", "submit", "icon"] {
        let url = asset::url(stem);
        text = text.replace(&url, &format!("/assets/{stem}-HASH"));
    }
    text
}

fn write_to(folder: &Path) {
    fs::create_dir_all(folder).expect("folder");
    for (name, _, page) in pages() {
        let mut page = page.replace("/assets/", "");
        page = page.replace("<html lang=\"en\"", "<html lang=\"en\" class=\"js\"");
        fs::write(folder.join(format!("{name}.html")), page).expect("page");
    }
    for stem in ["style", "icon"] {
        let url = asset::url(stem);
        let name = url.trim_start_matches("/assets/");
        fs::write(folder.join(name), asset::find(name).expect("asset").bytes).expect("asset");
    }
}

#[test]
fn no_page_holds_active_content_or_invisible_characters() {
    for (name, _, page) in pages() {
        for forbidden in [
            " style=",
            "<style",
            "javascript:",
            "<img src=x",
            "<script>",
            " onclick",
            " onload",
            "\u{202e}",
            "\0",
            "\u{1b}",
        ] {
            // Escaped text may well speak of scripts; what counts is that no tag does.
            let tags = tags(&page);
            let found = match forbidden {
                "\u{202e}" | "\0" | "\u{1b}" => page.contains(forbidden),
                _ => tags.iter().any(|tag| unquoted(tag).contains(forbidden)),
            };
            assert!(!found, "{name} holds {forbidden:?}");
        }
        for tag in tags(&page) {
            for link in ["href=\"", "src=\"", "action=\""] {
                if let Some(value) = tag.split(link).nth(1) {
                    assert!(value.starts_with('/') || value.starts_with('#'), "{name} links elsewhere: {tag}");
                }
            }
        }
    }
}

/// Everything from `<` to the next `>` outside quotes.
fn tags(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let mut quoted = false;
        let end = rest[start..].find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let Some(end) = end else { break };
        found.push(&rest[start..=start + end]);
        rest = &rest[start + end + 1..];
    }
    found
}

/// A tag without the values of its attributes, but for the opening quote.
fn unquoted(tag: &str) -> String {
    tag.split('"').step_by(2).collect::<Vec<_>>().join("\"")
}

#[test]
fn hostile_text_is_shown_and_not_obeyed() {
    for (name, kind, page) in pages() {
        if kind == Kind::Hostile {
            assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&gt;&lt;script&gt;"), "{name} lost it");
            assert!(page.contains("\u{2400}"), "{name} lost it");
        }
    }
}

#[test]
fn tags_are_balanced_and_ids_are_unique() {
    const VOID: [&str; 5] = ["meta", "link", "input", "img", "hr"];
    for (name, _, page) in pages() {
        let (mut open, mut ids) = (Vec::new(), std::collections::BTreeSet::new());
        for tag in tags(&page) {
            let word = tag.trim_matches(['<', '>', '/']).split([' ', '>']).next().unwrap_or_default();
            match tag {
                tag if tag.starts_with("<!") => {}
                tag if tag.starts_with("</") => assert_eq!(open.pop(), Some(word), "{name}: {tag}"),
                _ if VOID.contains(&word) => {}
                _ => open.push(word),
            }
            if let Some(id) = tag.split(" id=\"").nth(1).and_then(|rest| rest.split('"').next()) {
                assert!(ids.insert(id.to_owned()), "{name} has two #{id}");
            }
        }
        assert!(open.is_empty(), "{name}: {open:?} left open");
    }
}

/// Every address that a page may lead to; `*` is one piece.
const KNOWN: [&str; 27] = [
    "/",
    "/jobs",
    "/jobs/*",
    "/jobs/*/act",
    "/jobs/*/chunks/*/*",
    "/jobs/*/chunks/*/*/retry",
    "/runners",
    "/runners/*/act",
    "/queue",
    "/submit",
    "/tokens",
    "/tokens/*/revoke",
    "/login",
    "/logout",
    "/assets/*",
    "/api/v1/openapi.json",
    "/api/v1/jobs/*/manifest",
    "/api/v1/jobs/*/map",
    "/api/v1/attempts/*/log",
    "/api/v1/attempts/*/log/raw",
    "/api/v1/attempts/*/log/follow",
    "/api/v1/blobs/sha256/*",
    "/api/v1/events",
    "/api/v1/jobs",
    "/api/v1/check",
    "/api/v1/acts",
    "/healthz",
];

#[test]
fn every_link_leads_to_a_route_or_to_a_place_on_the_page() {
    for (name, _, page) in pages() {
        for tag in tags(&page) {
            for link in ["href=\"", "src=\"", "action=\"", "data-map=\"", "data-log=\""] {
                let Some(url) = tag.split(link).nth(1).and_then(|rest| rest.split('"').next()) else { continue };
                if let Some(place) = url.strip_prefix('#') {
                    assert!(page.contains(&format!(" id=\"{place}\"")), "{name} has no #{place}");
                    continue;
                }
                let path = url.split(['?', '#']).next().unwrap_or_default();
                let fits = |known: &&str| {
                    let (left, right): (Vec<_>, Vec<_>) = (known.split('/').collect(), path.split('/').collect());
                    left.len() == right.len()
                        && left.iter().zip(&right).all(|(one, other)| one == other || *one == "*" && !other.is_empty())
                };
                assert!(KNOWN.iter().any(fits), "{name} leads to {url}");
            }
        }
    }
}

#[test]
fn the_count_on_a_button_is_the_count_beside_it() {
    for (kind, _) in KINDS {
        let stage = Stage::new(kind);
        let mut detail = samples::job(kind);
        detail.job.state = JobState::Running;
        let page =
            job::page(stage.frame(), &detail, &[], &job::Filter::default(), &samples::chunks(kind)).into_string();
        let tally = detail.job.chunks;
        let open = tally.waiting + tally.held + tally.leased + tally.running + tally.storing;
        assert!(page.contains(&format!("Cancel {}<", words::counted(open, "chunk"))));
        assert_eq!(
            page.contains(&format!("Retry {}<", words::counted(tally.failed, "failed chunk"))),
            tally.failed > 0
        );
    }
}

#[test]
fn who_may_not_act_sees_no_buttons() {
    for (role, name, expected) in [
        (Role::Viewer, "mara", false),
        (Role::Submitter, "mara", true),
        (Role::Submitter, "ben", false),
        (Role::Operator, "ben", true),
    ] {
        let mut stage = Stage::new(Kind::Typical);
        (stage.viewer.role, stage.viewer.name) = (role, name.to_owned());
        let page = job::page(
            stage.frame(),
            &samples::job(Kind::Typical),
            &[],
            &job::Filter::default(),
            &samples::chunks(Kind::Typical),
        )
        .into_string();
        assert_eq!(page.contains("/jobs/420/act"), expected, "{role:?} {name}");
        let page = runners::page(stage.frame(), &samples::runners(Kind::Typical), JOIN).into_string();
        assert_eq!(page.contains("/runners/1/act"), role >= Role::Operator, "{role:?}");
    }
}

#[test]
fn a_gather_that_failed_can_be_done_again_by_itself() {
    let stage = Stage::new(Kind::Typical);
    let mut detail = samples::job(Kind::Typical);
    (detail.job.chunks.failed, detail.job.chunks.cancelled) = (0, 0);
    (detail.gather, detail.gather_problem) = (None, Some("the header of chunk 3 differs".to_owned()));
    let page = |detail: &dsg_schemas::api::JobDetail| {
        job::page(stage.frame(), detail, &[], &job::Filter::default(), &samples::chunks(Kind::Typical)).into_string()
    };
    assert!(page(&detail).contains("value=\"retry_failed\">Gather again<"));
    detail.gather_problem = None;
    assert!(!page(&detail).contains("retry_failed"));
}

/// What comes before and after the shown lines can be reached without a script.
#[test]
fn a_log_has_pages_in_both_directions() {
    let stage = Stage::new(Kind::Many);
    let detail = samples::chunk_detail(Kind::Many);
    let mut log = samples::log(Kind::Many);
    let page =
        |log: &dsg_schemas::api::LogPage| chunk::page(stage.frame(), &detail, "mara", Some(2), Some(log)).into_string();
    let end = page(&log);
    assert!(end.contains("?attempt=2&amp;from=11640#log-title\">11,840 earlier lines<"), "{end}");
    assert!(!end.contains("later line"));
    log.total = 20_000;
    assert!(page(&log).contains("from=12040#log-title\">7,960 later lines<"));
}
