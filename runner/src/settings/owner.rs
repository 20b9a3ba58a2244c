//! `[owner]`: when the owner wants the host back, and what then becomes of what runs.
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use dsg_schemas::spec::did_you_mean;
use dsg_schemas::units::Millis;
use jiff::tz::TimeZone;

use super::file::DURATION;
use super::section::Section;
use crate::owner::{AtEnd, Hours, OnlyWhenIdle, Owner, Window, zone};

const ENDS: [&str; 3] = ["finish", "pause", "evict"];
/// Where the owner says that the host must be idle, and not what that is.
const CPU_PERCENT: u64 = 20;
const QUIET: Millis = Millis(15 * 60 * 1000);

struct Zone {
    zone: TimeZone,
    name: String,
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Zone, String> {
        zone(name).map(|zone| Zone { zone, name: name.to_owned() })
    }
}

impl FromStr for AtEnd {
    type Err = String;

    fn from_str(word: &str) -> Result<AtEnd, String> {
        match word {
            "finish" => Ok(AtEnd::Finish),
            "pause" => Ok(AtEnd::Pause),
            "evict" => Ok(AtEnd::Evict),
            other => {
                let near = did_you_mean(other, ENDS).map(|near| format!("; did you mean `{near}`?"));
                Err(format!("must be `finish`, `pause` or `evict`{}", near.unwrap_or_default()))
            }
        }
    }
}

pub(super) fn owner(section: &Section<'_, '_>) -> Owner {
    let windows = section.words("windows", &[], |text| text.parse::<Window>().map(drop));
    let zone = section.parsed::<Zone>("zone", "a time zone, as in \"Europe/Berlin\"");
    let at_end = section.parsed::<AtEnd>("at_end", "text in quotes");
    let idle = section.section("only_when_idle");
    let cpu_percent = idle.count("cpu_percent", 1..=100);
    let quiet = idle.parsed::<Millis>("quiet", DURATION);
    idle.finish();
    section.finish();
    let hours = windows.map(|windows| {
        let Zone { zone, name } = zone.unwrap_or_else(host_zone);
        let windows = windows.iter().filter_map(|text| text.parse().ok()).collect();
        Hours { windows, zone, zone_name: name }
    });
    let only_when_idle = idle.is_there().then(|| OnlyWhenIdle {
        cpu_percent: u32::try_from(cpu_percent.unwrap_or(CPU_PERCENT)).unwrap_or(100),
        quiet: Duration::from_millis(quiet.unwrap_or(QUIET).0),
    });
    Owner { hours, only_when_idle, at_end: at_end.unwrap_or_default() }
}

/// As `/etc/localtime` says; UTC where it does not.
fn host_zone() -> Zone {
    let link = std::fs::read_link(Path::new("/etc/localtime")).unwrap_or_default();
    let name = link.to_string_lossy().rsplit_once("zoneinfo/").map(|(_, name)| name.to_owned());
    let named = name.and_then(|name| name.parse().ok());
    named.unwrap_or_else(|| Zone { zone: TimeZone::UTC, name: "UTC".to_owned() })
}
