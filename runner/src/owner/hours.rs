//! Hours of the week in which the grid may use the host, by the clock on the wall of some place. Each window is a stretch of real time
//! from its first minute to its last, so that a night with a change of the clock is an hour longer or shorter, and nothing flickers.
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::{Offset, TimeZone};

/// Days looked at from today on; a week and what reaches into it.
const DAYS: i32 = 9;
const DAY_MINUTES: u32 = 24 * 60;
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[derive(Clone, Debug, PartialEq)]
pub struct Hours {
    pub windows: Vec<Window>,
    pub zone: TimeZone,
    /// As the owner wrote it.
    pub zone_name: String,
}

/// `mon-fri 18:00-08:00`: on each of these days from then on, to the next such time, perhaps on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From Monday on.
    pub days: [bool; 7],
    pub from_minute: u32,
    /// Above a day's minutes: on the next day.
    pub to_minute: u32,
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Window, String> {
        let wrong = || "is no window, as in \"mon-fri 18:00-08:00\" or \"sat,sun 00:00-24:00\"".to_owned();
        let (days, times) = text.split_once(' ').ok_or_else(wrong)?;
        let (from, to) = times.trim().split_once('-').ok_or_else(wrong)?;
        let days = days_of(days).ok_or_else(wrong)?;
        let (from_minute, to) = (minute(from).ok_or_else(wrong)?, minute(to).ok_or_else(wrong)?);
        if from_minute >= DAY_MINUTES {
            return Err("begins at 24:00; write 00:00 of the next day".to_owned());
        }
        if from_minute == to {
            return Err("begins when it ends; a whole day is 00:00-24:00".to_owned());
        }
        let to_minute = if to > from_minute { to } else { to + DAY_MINUTES };
        Ok(Window { days, from_minute, to_minute })
    }
}

fn days_of(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| NAMES.iter().position(|known| *known == name.to_lowercase());
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = match part {
            "daily" => (0, 6),
            _ => (day(first)?, day(last)?),
        };
        // `fri-mon` goes over the end of the week.
        let last = if last < first { last + 7 } else { last };
        (first..=last).for_each(|day| days[day % 7] = true);
    }
    Some(days)
}

fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten();
    let (hour, minute) = (number(hour)?, number(minute)?);
    let fine = minute < 60 && (hour < 24 || (hour == 24 && minute == 0));
    fine.then_some(hour * 60 + minute)
}

/// `Europe/Berlin`, `UTC`, `+01:00`.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    let wrong = || {
        format!(
            "there is no time zone {name:?} on this host; write one as \"Europe/Berlin\" or \"+01:00\", or install tzdata"
        )
    };
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    if let Some(sign) = name.chars().next().filter(|sign| "+-".contains(*sign)) {
        let minutes = minute(&name[1..]).and_then(|minutes| i32::try_from(minutes).ok()).ok_or_else(wrong)?;
        let seconds = minutes * 60 * if sign == '-' { -1 } else { 1 };
        return Offset::from_seconds(seconds).map(TimeZone::fixed).map_err(|_| wrong());
    }
    TimeZone::get(name).map_err(|_| wrong())
}

impl Hours {
    /// Why the grid may not use the host now, and until when.
    pub fn closed(&self, now: Timestamp) -> Option<String> {
        let spans = self.spans(now);
        if spans.iter().any(|(from, to)| *from <= now && now < *to) {
            return None;
        }
        let next = spans.iter().map(|(from, _)| *from).filter(|from| *from > now).min();
        let until = next.map(|next| format!(", until {}", self.told(next, now))).unwrap_or_default();
        Some(format!("these are its owner's hours{until} ({})", self.zone_name))
    }

    /// When the owner's hours begin, if they ever do.
    pub fn open_until(&self, now: Timestamp) -> Option<String> {
        let end = self.end(now)?;
        Some(format!("its owner's hours begin at {} ({})", self.told(end, now), self.zone_name))
    }

    /// The end of what is open now, over windows that follow each other; `None`: closed now, or never closed.
    fn end(&self, now: Timestamp) -> Option<Timestamp> {
        let spans = self.spans(now);
        let mut end = spans.iter().filter(|(from, to)| *from <= now && now < *to).map(|(_, to)| *to).max()?;
        while let Some(later) = spans.iter().filter(|(from, to)| *from <= end && *to > end).map(|(_, to)| *to).max() {
            end = later;
        }
        let last = spans.iter().map(|(_, to)| *to).max();
        (Some(end) != last).then_some(end)
    }

    /// Each window of the days around now, in real time. Where the clock is put forward over a window's edge, the edge is moved with it.
    fn spans(&self, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        let mut spans = Vec::new();
        // A window of the day before yesterday may end today, an hour late.
        let mut date = today.yesterday().and_then(|day| day.yesterday()).ok();
        for _ in 0..DAYS + 2 {
            let Some(day) = date else { break };
            for window in self.windows.iter().filter(|window| window.days[monday_based(day.weekday())]) {
                spans.extend(self.at(day, window.from_minute).zip(self.at(day, window.to_minute)));
            }
            date = day.tomorrow().ok();
        }
        spans
    }

    fn at(&self, day: Date, minute: u32) -> Option<Timestamp> {
        let (day, minute) =
            if minute >= DAY_MINUTES { (day.tomorrow().ok()?, minute - DAY_MINUTES) } else { (day, minute) };
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        self.zone.to_timestamp(day.at(hour, minute, 0, 0)).ok()
    }

    /// `18:00` today, else `Mon 18:00`.
    fn told(&self, at: Timestamp, now: Timestamp) -> String {
        let (at, now) = (self.zone.to_datetime(at), self.zone.to_datetime(now));
        let time = format!("{:02}:{:02}", at.hour(), at.minute());
        if at.date() == now.date() {
            return time;
        }
        let name = NAMES[monday_based(at.weekday())];
        format!("{}{} {time}", name[..1].to_uppercase(), &name[1..])
    }
}

fn monday_based(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(zone_name: &str, windows: &[&str]) -> Hours {
        let windows = windows.iter().map(|text| text.parse().expect("a window")).collect();
        Hours { windows, zone: zone(zone_name).expect("a zone"), zone_name: zone_name.to_owned() }
    }

    fn said(hours: &Hours, now: &str) -> String {
        let now: Timestamp = now.parse().expect("a time");
        hours.closed(now).or_else(|| hours.open_until(now)).unwrap_or("open for ever".to_owned())
    }

    #[test]
    fn nights_and_week_ends() {
        // 2026-11-23 is a Monday; Berlin is an hour ahead of UTC then.
        let hours = hours("Europe/Berlin", &["mon-fri 18:00-08:00", "sat,sun 00:00-24:00"]);
        for (now, expected) in [
            ("2026-11-23T16:59:59Z", "these are its owner's hours, until 18:00 (Europe/Berlin)"),
            ("2026-11-23T17:00:00Z", "its owner's hours begin at Tue 08:00 (Europe/Berlin)"),
            ("2026-11-23T22:59:00Z", "its owner's hours begin at Tue 08:00 (Europe/Berlin)"),
            ("2026-11-23T23:00:00Z", "its owner's hours begin at 08:00 (Europe/Berlin)"),
            ("2026-11-24T06:59:59Z", "its owner's hours begin at 08:00 (Europe/Berlin)"),
            ("2026-11-24T07:00:00Z", "these are its owner's hours, until 18:00 (Europe/Berlin)"),
            // From Friday's evening over the week end; Sunday's window ends at midnight, and Monday's begins at 18:00.
            ("2026-11-27T17:00:00Z", "its owner's hours begin at Mon 00:00 (Europe/Berlin)"),
            ("2026-11-29T22:59:59Z", "its owner's hours begin at Mon 00:00 (Europe/Berlin)"),
            ("2026-11-29T23:00:00Z", "these are its owner's hours, until 18:00 (Europe/Berlin)"),
        ] {
            assert_eq!(said(&hours, now), expected, "{now}");
        }
    }

    #[test]
    fn a_night_of_a_change_of_the_clock_is_an_hour_longer_or_shorter() {
        let hours = hours("Europe/Berlin", &["daily 22:00-06:00"]);
        let (open, closed) = ("its owner's hours begin at ", "these are its owner's hours, until ");
        for (now, expected) in [
            // The clock is put back at 01:00 UTC of 2026-10-25: ten to five UTC is before six in Berlin.
            ("2026-10-24T19:59:59Z", closed),
            ("2026-10-24T20:00:00Z", open),
            ("2026-10-25T04:59:59Z", open),
            ("2026-10-25T05:00:00Z", closed),
            // It is put forward at 01:00 UTC of 2026-03-29.
            ("2026-03-28T20:59:59Z", closed),
            ("2026-03-28T21:00:00Z", open),
            ("2026-03-29T03:59:59Z", open),
            ("2026-03-29T04:00:00Z", closed),
        ] {
            assert!(said(&hours, now).starts_with(expected), "{now}: {}", said(&hours, now));
        }
        // In the hour that there is twice, a window does not open twice; one in the hour that there is not is moved.
        let twice = super::tests::hours("Europe/Berlin", &["sun 02:30-02:45"]);
        let open_at = |now: &str| said(&twice, now).starts_with(open);
        assert!(open_at("2026-10-25T00:30:00Z") && open_at("2026-10-25T00:44:59Z"));
        assert!(!open_at("2026-10-25T01:30:00Z") && !open_at("2026-10-25T00:45:00Z"));
        assert!(open_at("2026-03-29T01:30:00Z") && !open_at("2026-03-29T00:59:59Z"));
    }

    #[test]
    fn an_offset_a_week_and_no_end() {
        let always = hours("UTC", &["mon-sun 00:00-24:00"]);
        assert_eq!(said(&always, "2026-11-23T16:00:00Z"), "open for ever");
        let once = hours("-05:30", &["fri 23:30-00:15"]);
        assert_eq!(said(&once, "2026-11-28T05:00:00Z"), "its owner's hours begin at Sat 00:15 (-05:30)");
        assert_eq!(said(&once, "2026-11-28T05:45:00Z"), "these are its owner's hours, until Fri 23:30 (-05:30)");
        let over = hours("UTC", &["sat-mon 12:00-13:00"]);
        assert_eq!(said(&over, "2026-11-23T12:30:00Z"), "its owner's hours begin at 13:00 (UTC)");
        assert_eq!(said(&over, "2026-11-24T12:30:00Z"), "these are its owner's hours, until Sat 12:00 (UTC)");
    }

    #[test]
    fn what_is_no_window_and_no_zone_is_refused() {
        for wrong in [
            "",
            "mon",
            "mon 18-08",
            "mon 18:00",
            "mon 24:00-08:00",
            "mon 08:00-08:00",
            "mo 08:00-09:00",
            "mon 08:60-09:00",
            "mon 8:00-09:00",
            "mon 08:00-24:30",
            "mon- 08:00-09:00",
        ] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong:?}");
        }
        for wrong in ["Europe/Atlantis", "+1", "+25:00", "", "../../etc/passwd"] {
            assert!(zone(wrong).is_err(), "{wrong:?}");
        }
    }
}
