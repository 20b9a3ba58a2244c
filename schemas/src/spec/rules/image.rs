//! Whether an image reference can be one; whether the image exists, only the registry knows.
use std::sync::LazyLock;

use regex::Regex;

use crate::spec::problem::{Found, Report, Rule};

static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    let part = "[a-z0-9]+(?:(?:[.]|_|__|-+)[a-z0-9]+)*";
    let host = "(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]{1,5})?/)?";
    let tag = "(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?";
    let pattern = format!("^(?:{host}{part}(?:/{part})*{tag}(?:@sha256:[0-9a-f]{{64}})?|sha256:[0-9a-f]{{64}})$");
    Regex::new(&pattern).expect("a constant, and the tests use it")
});

pub fn check(pointer: &str, image: &str, report: &mut Report) {
    // A reference is looked at with the others.
    if is_reference(image) || image.contains("{{") {
        return;
    }
    let found = Found::new(Rule::Image, pointer, "this is not an image as in [REGISTRY/]NAME[:TAG][@sha256:DIGEST]");
    let lower = image.trim().to_lowercase();
    report.add(if is_reference(&lower) { found.hint(format!("did you mean `{lower}`?")) } else { found });
}

fn is_reference(image: &str) -> bool {
    image.len() <= 512 && REFERENCE.is_match(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_as_docker_takes_them() {
        let digest = "a".repeat(64);
        for image in [
            "busybox",
            "busybox:1.36",
            "library/busybox",
            "registry.lab.local:5000/a/b-c_d:V1",
            "localhost/x",
            &format!("x@sha256:{digest}"),
            &format!("lab.local/x:1@sha256:{digest}"),
            &format!("sha256:{digest}"),
        ] {
            assert!(is_reference(image), "{image}");
        }
        for image in [
            "",
            "Busybox/x y",
            "busy box",
            "busybox:",
            "a//b",
            "/a",
            "a:b:c",
            "-a",
            "a@sha256:12",
            "http://a/b",
            "a;b",
            "a\n",
        ] {
            assert!(!is_reference(image), "{image}");
        }
    }
}
