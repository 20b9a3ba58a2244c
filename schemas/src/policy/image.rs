//! Which images a pattern means. `*` stands for anything within one part of a name, `**` for anything at all.
//!
//! Names are compared as Docker completes them (`busybox` is `docker.io/library/busybox`). A pattern without a tag means every tag. One
//! with a tag means that tag, and no digest beside it: with both, the digest decides what runs. One with `@sha256:…`, or `sha256:…`
//! alone, means that content.

/// Whether the pattern means this image.
pub fn allows(pattern: &str, image: &str) -> bool {
    let (wanted, given) = (Parts::of(pattern), Parts::of(image));
    if !wanted.name.is_empty() && !glob(&wanted.name, &given.name) {
        return false;
    }
    match (wanted.digest, wanted.tag, given.digest) {
        (Some(wanted), _, given) => given.is_some_and(|given| glob(wanted, given)),
        (None, Some(wanted), None) => glob(wanted, given.tag.unwrap_or("latest")),
        (None, Some(_), Some(_)) => false,
        (None, None, _) => true,
    }
}

struct Parts<'a> {
    /// Empty where the digest says it all.
    name: String,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl Parts<'_> {
    fn of(reference: &str) -> Parts<'_> {
        if reference.starts_with("sha256:") {
            return Parts { name: String::new(), tag: None, digest: Some(reference) };
        }
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (reference, None),
        };
        let name_from = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_from..].find(':') {
            Some(colon) => (&rest[..name_from + colon], Some(&rest[name_from + colon + 1..])),
            None => (rest, None),
        };
        Parts { name: completed(name), tag, digest }
    }
}

fn completed(name: &str) -> String {
    match name.split_once('/') {
        _ if name.starts_with("**") => name.to_owned(),
        None => format!("docker.io/library/{name}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

/// In time of one length times the other, whatever is written in them: both come from others.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while let Some(byte) = pattern.get(at) {
        at += 1;
        let mut next = vec![false; text.len() + 1];
        if *byte == b'*' {
            let across = pattern.get(at) == Some(&b'*');
            at += usize::from(across);
            let mut on = false;
            for (index, reached) in reached.iter().enumerate() {
                on |= *reached;
                next[index] = on;
                on &= across || text.get(index) != Some(&b'/');
            }
        } else {
            for (index, found) in text.iter().enumerate() {
                next[index + 1] = reached[index] && found == byte;
            }
        }
        reached = next;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_docker_would_pull() {
        let (a, b) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let pinned = format!("python:3.12@{a}");
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("dsg-*", &["dsg-fit", "dsg-fit:7", "docker.io/library/dsg-fit"], &["lab/dsg-fit", "x-dsg-fit", "dsg", &a]),
            ("python:3.*", &["python:3.12", "library/python:3.13"], &["python", "python:2.7", "python3:3.1", &pinned]),
            ("python", &["python", "python:3", &pinned], &["ghcr.io/library/python", "python/x"]),
            ("ghcr.io/lab/*", &["ghcr.io/lab/fit:1"], &["ghcr.io/lab/deep/fit", "ghcr.io/other/fit", "lab/fit"]),
            (
                "ghcr.io/lab/**",
                &["ghcr.io/lab/fit", "ghcr.io/lab/deep/fit"],
                &["ghcr.io/labs/fit", "ghcr.io.evil/lab/fit"],
            ),
            ("registry.lab:5000/*", &["registry.lab:5000/x:1"], &["registry.lab/x", "registry.lab:5001/x"]),
            ("localhost/x", &["localhost/x"], &["x"]),
            ("**", &["x", "ghcr.io/a/b/c:1", &a], &[]),
            ("**@sha256:*", &[&pinned, &a], &["python:3.12"]),
            ("python:latest", &["python", "python:latest"], &["python:3"]),
        ];
        for (pattern, fits, others) in cases {
            for image in *fits {
                assert!(allows(pattern, image), "{pattern} means {image}");
            }
            for image in *others {
                assert!(!allows(pattern, image), "{pattern} does not mean {image}");
            }
        }
        assert!(allows(&a, &pinned) && !allows(&b, &pinned) && allows(&a, &a));
        assert!(allows(&format!("python@{a}"), &pinned) && !allows(&format!("ruby@{a}"), &pinned));
    }

    #[test]
    fn a_hostile_pattern_is_answered_at_once() {
        let (pattern, text) = ("*a".repeat(400), "a".repeat(400) + "b");
        assert!(!glob(&pattern, &text));
    }
}
