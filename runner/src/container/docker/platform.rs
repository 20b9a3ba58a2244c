//! What an image was made for, and what the engine runs.
use std::fmt;

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Platform {
    os: String,
    arch: String,
}

impl Platform {
    /// `None`: it does not say.
    pub fn read(os: &Value, arch: &Value) -> Option<Platform> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_lowercase);
        // Some tools write the kernel's names.
        let arch = match text(arch)?.as_str() {
            "x86_64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        };
        Some(Platform { os: text(os)?, arch })
    }

    /// The processors of both run the older programs of their kind, too.
    fn runs(&self, image: &Platform) -> bool {
        let older = matches!((self.arch.as_str(), image.arch.as_str()), ("amd64", "386") | ("arm64", "arm"));
        self.os == image.os && (self.arch == image.arch || older)
    }

    /// Why this engine cannot run that image, if it cannot.
    pub fn objection(engine: Option<&Platform>, image: Option<&Platform>, name: &str) -> Option<String> {
        let (engine, image) = engine.zip(image).filter(|(engine, image)| !engine.runs(image))?;
        let next = match image.arch.as_str() {
            arch @ ("amd64" | "arm64") if image.os == "linux" => {
                format!(
                    "give the job one for {engine}, or let it ask for such a host with constraints: {{require: {{arch: {arch}}}}}"
                )
            }
            _ => format!("give the job one for {engine}"),
        };
        Some(format!("image {name} is for {image}, and the engine of this runner is {engine}; {next}"))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_run_here_is_told_with_both_platforms() {
        let platform = |os: &str, arch: &str| Platform::read(&json!(os), &json!(arch));
        let why = |engine: Option<Platform>, image: Option<Platform>| {
            Platform::objection(engine.as_ref(), image.as_ref(), "x:1")
        };
        let here = || platform("linux", "amd64");
        for fine in [here(), platform("linux", "x86_64"), platform("Linux", "386"), platform("linux", ""), None] {
            assert_eq!(why(here(), fine.clone()), None, "{fine:?}");
        }
        assert_eq!(why(None, here()), None, "an engine that does not say is asked");
        let arm = why(here(), platform("linux", "aarch64")).expect("an objection");
        let told = "image x:1 is for linux/arm64, and the engine of this runner is linux/amd64; give the job one for \
                    linux/amd64, or let it ask for such a host with constraints: {require: {arch: arm64}}";
        assert_eq!(arm, told);
        for (os, arch) in [("windows", "amd64"), ("linux", "arm"), ("linux", "s390x")] {
            assert!(why(here(), platform(os, arch)).is_some_and(|why| why.contains(&format!("{os}/{arch}"))));
        }
        assert_eq!(why(platform("linux", "arm64"), platform("linux", "arm")), None);
    }
}
