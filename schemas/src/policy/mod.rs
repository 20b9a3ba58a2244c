//! What the owner of a host lets containers have there. The runner judges by it, last; it tells the server, so that a chunk is not
//! even offered where it would be refused. One crate, so that both say the same.
mod image;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Millis};

pub use image::allows as image_allows;

/// How an objection to an image begins; what is allowed follows.
pub const NOT_THIS_IMAGE: &str = "does not allow this image, only ";

/// Where nothing is said, everything goes that the product has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// Patterns of the images that may run; see [`image_allows`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<String>>,
    /// Networks that a container may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<String>>,
    /// Folders of the host that jobs may name, and whether they may write there. Where they are is the runner's secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, MountRule>,
    /// Devices of the host that jobs may name. Which they are is the runner's secret, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// What one container may have at most.
    #[serde(default, skip_serializing_if = "Most::is_empty")]
    pub most: Most,
    /// Of the capabilities that a container of root has, only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// `false`: no container with secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MountRule {
    #[serde(default)]
    pub write: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Most {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus_milli: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

/// A folder of the host that a container wants, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct MountNeed {
    pub name: String,
    #[serde(default)]
    pub write: bool,
}

/// What a container would get, as far as a policy has a word in it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Empty: not known, and not judged.
    pub image: &'a str,
    pub network: &'a str,
    pub mounts: &'a [MountNeed],
    pub devices: &'a [String],
    pub cpus_milli: u64,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    /// `None`: no end.
    pub run_ms: Option<u64>,
    /// It wants some.
    pub secrets: bool,
}

/// The first rule that stands against a container. Shown behind the name of the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    Image { allowed: Vec<String> },
    Network { asked: String, allowed: Vec<String> },
    NoMount { name: String, has: Vec<String> },
    MountReadOnly { name: String },
    NoDevice { name: String, has: Vec<String> },
    Secrets,
    Cpus { asked: u64, most: u64 },
    Memory { asked: u64, most: u64 },
    Disk { asked: u64, most: u64 },
    Time { asked: Option<u64>, most: u64 },
}

impl Policy {
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }

    /// Its rules, for people; none where everything goes.
    pub fn words(&self) -> Vec<String> {
        let Policy { images, networks, mounts, devices, most, capabilities, secrets } = self;
        let mut words = Vec::new();
        let mut say = |what: &str, some: &Option<Vec<String>>| {
            words.extend(some.as_ref().map(|some| format!("{what} {}", list(some, "none"))));
        };
        say("images", images);
        say("networks", networks);
        say("capabilities", capabilities);
        if !mounts.is_empty() {
            let named =
                mounts.iter().map(|(name, rule)| format!("{name}{}", if rule.write { " (writable)" } else { "" }));
            words.push(format!("mounts {}", list(&named.collect::<Vec<_>>(), "none")));
        }
        if !devices.is_empty() {
            words.push(format!("devices {}", list(devices, "none")));
        }
        if *secrets == Some(false) {
            words.push("no secrets".to_owned());
        }
        let Most { cpus_milli, memory_bytes, disk_bytes, run_ms, pids } = most;
        words.extend(cpus_milli.map(|milli| format!("at most {} cpus", cpus(milli))));
        words.extend(memory_bytes.map(|bytes| format!("at most {} of memory", Bytes(bytes))));
        words.extend(disk_bytes.map(|bytes| format!("at most {} of disk", Bytes(bytes))));
        words.extend(run_ms.map(|time| format!("at most {} to run", Millis(time))));
        words.extend(pids.map(|pids| format!("at most {pids} processes")));
        words
    }

    pub fn objection(&self, asked: &Asked<'_>) -> Option<Objection> {
        if let Some(allowed) = &self.images
            && !asked.image.is_empty()
            && !allowed.iter().any(|pattern| image_allows(pattern, asked.image))
        {
            return Some(Objection::Image { allowed: allowed.clone() });
        }
        if let Some(allowed) = &self.networks
            && !allowed.iter().any(|network| network == asked.network)
        {
            return Some(Objection::Network { asked: asked.network.to_owned(), allowed: allowed.clone() });
        }
        if asked.secrets && self.secrets == Some(false) {
            return Some(Objection::Secrets);
        }
        let mounts = self.mount_objection(asked.mounts);
        mounts.or_else(|| self.device_objection(asked.devices)).or_else(|| self.most.objection(asked))
    }

    fn mount_objection(&self, asked: &[MountNeed]) -> Option<Objection> {
        asked.iter().find_map(|mount| match self.mounts.get(&mount.name) {
            None => {
                let has = self.mounts.keys().cloned().collect();
                Some(Objection::NoMount { name: mount.name.clone(), has })
            }
            Some(rule) if mount.write && !rule.write => Some(Objection::MountReadOnly { name: mount.name.clone() }),
            Some(_) => None,
        })
    }

    fn device_objection(&self, asked: &[String]) -> Option<Objection> {
        let name = asked.iter().find(|name| !self.devices.contains(name))?;
        Some(Objection::NoDevice { name: name.clone(), has: self.devices.clone() })
    }
}

impl Most {
    pub fn is_empty(&self) -> bool {
        *self == Most::default()
    }

    fn objection(&self, asked: &Asked<'_>) -> Option<Objection> {
        let above = |asked: u64, most: Option<u64>| most.filter(|most| asked > *most);
        if let Some(most) = above(asked.cpus_milli, self.cpus_milli) {
            return Some(Objection::Cpus { asked: asked.cpus_milli, most });
        }
        if let Some(most) = above(asked.memory_bytes, self.memory_bytes) {
            return Some(Objection::Memory { asked: asked.memory_bytes, most });
        }
        if let Some(most) = above(asked.disk_bytes, self.disk_bytes) {
            return Some(Objection::Disk { asked: asked.disk_bytes, most });
        }
        let most = above(asked.run_ms.unwrap_or(u64::MAX), self.run_ms)?;
        Some(Objection::Time { asked: asked.run_ms, most })
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Objection::Image { allowed } => write!(f, "{NOT_THIS_IMAGE}{}", list(allowed, "none")),
            Objection::Network { asked, allowed } => {
                write!(f, "does not allow network {asked}, only {}", list(allowed, "none"))
            }
            Objection::NoMount { name, has } => {
                write!(f, "has no mount `{name}`, it has {}", list(has, "none"))
            }
            Objection::MountReadOnly { name } => write!(f, "lets nobody write to its mount `{name}`"),
            Objection::NoDevice { name, has } => write!(f, "has no device `{name}`, it has {}", list(has, "none")),
            Objection::Secrets => write!(f, "takes no container with secrets"),
            Objection::Cpus { asked, most } => {
                write!(f, "gives a container at most {} cpus, it needs {}", cpus(*most), cpus(*asked))
            }
            Objection::Memory { asked, most } => {
                write!(f, "gives a container at most {} of memory, it needs {}", Bytes(*most), Bytes(*asked))
            }
            Objection::Disk { asked, most } => {
                write!(f, "gives a container at most {} of disk, it needs {}", Bytes(*most), Bytes(*asked))
            }
            Objection::Time { asked: Some(asked), most } => {
                write!(f, "gives a container at most {} to run, timeouts.run is {}", Millis(*most), Millis(*asked))
            }
            Objection::Time { asked: None, most } => {
                write!(f, "gives a container at most {} to run, and the job sets no timeouts.run", Millis(*most))
            }
        }
    }
}

fn list(words: &[String], none: &str) -> String {
    const SHOWN: usize = 4;
    let more = if words.len() > SHOWN { format!(" and {} more", words.len() - SHOWN) } else { String::new() };
    match words {
        [] => none.to_owned(),
        words => format!("{}{more}", words.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ")),
    }
}

/// `2.5`.
fn cpus(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Asked<'static> = Asked {
        image: "dsg-fit:1",
        network: "none",
        mounts: &[],
        devices: &[],
        cpus_milli: 1000,
        memory_bytes: 1 << 30,
        disk_bytes: 0,
        run_ms: None,
        secrets: false,
    };

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn no_rule_is_no_objection_and_mounts_are_those_that_are_named() {
        assert_eq!(Policy::default().objection(&PLAIN), None);
        let mounts = [MountNeed { name: "data".to_owned(), write: false }];
        let said = Policy::default().objection(&Asked { mounts: &mounts, ..PLAIN }).expect("one").to_string();
        assert_eq!(said, "has no mount `data`, it has none");
    }

    #[test]
    fn rules_are_told_in_a_line() {
        assert_eq!(Policy::default().words(), [""; 0]);
        let policy = Policy {
            images: Some(words(&["dsg-*", "a", "b", "c", "d"])),
            networks: Some(Vec::new()),
            mounts: [("data".to_owned(), MountRule { write: true })].into(),
            devices: words(&["fuse"]),
            most: Most { cpus_milli: Some(500), pids: Some(9), ..Most::default() },
            capabilities: None,
            secrets: Some(false),
        };
        let told = "images dsg-*, a, b, c and 1 more; networks none; mounts data (writable); devices fuse; no secrets; at most 0.5 cpus; at most 9 processes";
        assert_eq!(policy.words().join("; "), told);
    }

    #[test]
    fn each_rule_objects_with_a_sentence() {
        let policy = Policy {
            images: Some(words(&["dsg-*"])),
            networks: Some(words(&["none"])),
            mounts: [("data".to_owned(), MountRule::default())].into(),
            devices: words(&["dri"]),
            most: Most {
                cpus_milli: Some(2500),
                memory_bytes: Some(2 << 30),
                disk_bytes: Some(1 << 20),
                run_ms: Some(3_600_000),
                pids: None,
            },
            capabilities: None,
            secrets: Some(false),
        };
        let fine = Asked { run_ms: Some(3_600_000), disk_bytes: 1 << 20, ..PLAIN };
        assert_eq!(policy.objection(&fine), None);
        let writes = [MountNeed { name: "data".to_owned(), write: true }];
        let other = [MountNeed { name: "scratch".to_owned(), write: false }];
        let (dri, fuse) = (words(&["dri"]), words(&["dri", "fuse"]));
        assert_eq!(policy.objection(&Asked { devices: &dri, ..fine }), None);
        for (asked, expected) in [
            (Asked { image: "busybox", ..fine }, "does not allow this image, only dsg-*"),
            (Asked { network: "host", ..fine }, "does not allow network host, only none"),
            (Asked { mounts: &other, ..fine }, "has no mount `scratch`, it has data"),
            (Asked { mounts: &writes, ..fine }, "lets nobody write to its mount `data`"),
            (Asked { devices: &fuse, ..fine }, "has no device `fuse`, it has dri"),
            (Asked { secrets: true, ..fine }, "takes no container with secrets"),
            (Asked { cpus_milli: 2501, ..fine }, "gives a container at most 2.5 cpus, it needs 2.501"),
            (Asked { memory_bytes: 3 << 30, ..fine }, "gives a container at most 2GiB of memory, it needs 3GiB"),
            (Asked { disk_bytes: 2 << 20, ..fine }, "gives a container at most 1MiB of disk, it needs 2MiB"),
            (Asked { run_ms: Some(7_200_000), ..fine }, "gives a container at most 1h to run, timeouts.run is 2h"),
            (Asked { run_ms: None, ..fine }, "gives a container at most 1h to run, and the job sets no timeouts.run"),
        ] {
            assert_eq!(policy.objection(&asked).map(|said| said.to_string()).as_deref(), Some(expected));
        }
        assert_eq!(policy.objection(&Asked { image: "", ..fine }), None, "an image that is not known is not judged");
    }
}
