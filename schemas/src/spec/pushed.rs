//! Images without a registry: people bring them to the server with `dsg image push`, under names that begin with `dsg/`.
use std::collections::BTreeSet;

use super::plan::Plan;

const PREFIX: &str = "dsg/";
const PATH_CHARS: usize = 100;
const TAG_CHARS: usize = 128;

/// The whole name of such an image (`dsg/fit` is `dsg/fit:latest`); `None`: it comes from somewhere else.
pub fn pushed_name(image: &str) -> Option<String> {
    let rest = image.strip_prefix(PREFIX)?;
    Some(if rest.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") })
}

/// Whether an image can be brought under this whole name.
pub fn may_be_pushed(name: &str) -> bool {
    let Some((path, tag)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':')) else { return false };
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| part.starts_with(small) && part.chars().all(|c| small(c) || matches!(c, '.' | '_' | '-'));
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let tag_fits = tag.starts_with(word) && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'));
    path.len() <= PATH_CHARS && path.split('/').all(part) && tag_fits && tag.len() <= TAG_CHARS
}

impl Plan {
    /// The whole names of such images that the job wants.
    pub fn pushed_names(&self) -> BTreeSet<String> {
        let steps = self.job.gather.iter().filter_map(|step| step.image.as_ref());
        std::iter::once(&self.job.image).chain(steps).filter_map(|image| pushed_name(image)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_and_plain() {
        assert_eq!(pushed_name("dsg/fit").as_deref(), Some("dsg/fit:latest"));
        assert_eq!(pushed_name("dsg/lab/fit:2").as_deref(), Some("dsg/lab/fit:2"));
        assert_eq!((pushed_name("dsg-fit:1"), pushed_name("ghcr.io/dsg/fit")), (None, None));
        for fine in ["dsg/fit:latest", "dsg/lab/fit-2:1.0_a"] {
            assert!(may_be_pushed(fine), "{fine}");
        }
        for wrong in
            ["dsg/fit", "dsg/:1", "dsg/Fit:1", "dsg/../x:1", "dsg/fit:", "dsg/fit:1@sha256:ab", "fit:1", "dsg/a//b:1"]
        {
            assert!(!may_be_pushed(wrong), "{wrong}");
        }
    }
}
