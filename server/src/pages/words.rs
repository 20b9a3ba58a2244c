//! Numbers, sizes and times as people read them.
use jiff::Timestamp;
use maud::{Markup, html};

/// `12,040`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 chunk`, `12,040 chunks`.
pub fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(value), if value == 1 { "" } else { "s" })
}

/// Rounded: `512 B`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") };
    format!("{} {}", text.trim_end_matches(".0"), UNITS[unit])
}

/// Cores, from thousandths: `2`, `0.25`.
pub fn cores(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The two largest units: `340 ms`, `4.2 s`, `2 min 5 s`, `3 h 10 min`, `2 d 4 h`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let pair = |large: u64, name: &str, small: u64, below: &str| match small {
        0 => format!("{large} {name}"),
        _ => format!("{large} {name} {small} {below}"),
    };
    match seconds {
        0 => format!("{ms} ms"),
        1..=9 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10..=59 => format!("{seconds} s"),
        60..=3599 => pair(seconds / 60, "min", seconds % 60, "s"),
        3600..=86_399 => pair(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// One unit, for how long ago: `just now`, `4 min ago`, `in 2 h`.
pub fn relative(now_ms: u64, then_ms: u64) -> String {
    let (ms, before) = (now_ms.abs_diff(then_ms), then_ms <= now_ms);
    let seconds = ms / 1000;
    let amount = match seconds {
        0..=4 => return if before { "just now".to_owned() } else { "in a moment".to_owned() },
        5..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min", seconds / 60),
        3600..=86_399 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    };
    if before { format!("{amount} ago") } else { format!("in {amount}") }
}

/// `2026-11-23 22:10:05 UTC`, or the number where it is no time.
pub fn exact(ms: u64) -> String {
    match stamp(ms) {
        Some(text) => format!("{} {} UTC", &text[..10], &text[11..19]),
        None => format!("{ms} ms"),
    }
}

/// RFC 3339, to the second.
fn stamp(ms: u64) -> Option<String> {
    let time = Timestamp::from_second(i64::try_from(ms / 1000).ok()?).ok()?;
    let text = time.to_string();
    (text.len() >= 20 && text.is_char_boundary(10)).then_some(text)
}

/// Relative for the eye, exact on hover and for programs.
pub fn time(now_ms: u64, then_ms: u64) -> Markup {
    html! { time datetime=[stamp(then_ms)] title=(exact(then_ms)) { (relative(now_ms, then_ms)) } }
}

/// The same, or a dash.
pub fn time_or_dash(now_ms: u64, then_ms: Option<u64>) -> Markup {
    html! { @match then_ms { Some(then_ms) => (time(now_ms, then_ms)), None => span.dim { "–" } } }
}

/// How long something has taken: until its end, or until now.
pub fn elapsed(now_ms: u64, start_ms: Option<u64>, end_ms: Option<u64>) -> Markup {
    html! { @match start_ms {
        Some(start_ms) => (duration(end_ms.unwrap_or(now_ms).saturating_sub(start_ms))),
        None => span.dim { "–" },
    } }
}

/// `43 %`; 100 only if it is all, 0 only if it is nothing.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let share = (part as f64 / whole as f64 * 100.0).round() as u64;
    let share = if part >= whole {
        100
    } else if part == 0 {
        0
    } else {
        share.clamp(1, 99)
    };
    format!("{share} %")
}

/// What is written to fit after a colon, as a sentence of its own.
pub fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let rest = characters.as_str();
    let end = if text.is_empty() || text.ends_with(['.', '!', '?', ':']) { "" } else { "." };
    format!("{first}{rest}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_become_sentences() {
        let cases = [("there is no job 7", "There is no job 7."), ("Done!", "Done!"), ("", ""), ("écrit", "Écrit.")];
        for (text, expected) in cases {
            assert_eq!(sentence(text), expected);
        }
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!([0, 999, 1000, 1234567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "chunk"), "1 chunk");
        assert_eq!(counted(1000, "chunk"), "1,000 chunks");
        let sizes = [0, 1023, 1024, 1536 << 20, (1 << 20) - 1, u64::MAX];
        assert_eq!(sizes.map(size), ["0 B", "1023 B", "1 KiB", "1.5 GiB", "1 MiB", "16 EiB"]);
        assert_eq!([2000, 250, 0, 1005].map(cores), ["2", "0.25", "0", "1.005"]);
        assert_eq!(
            [(0, 0), (1, 1000), (999, 1000), (1000, 1000)].map(|(a, b)| percent(a, b)),
            ["0 %", "1 %", "99 %", "100 %"]
        );
    }

    #[test]
    fn times_read_well() {
        let cases = [
            (0, "0 ms"),
            (340, "340 ms"),
            (4200, "4.2 s"),
            (125_000, "2 min 5 s"),
            (11_400_000, "3 h 10 min"),
            (187_200_000, "2 d 4 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(ms), text);
        }
        let now = 1_000_000_000;
        let cases =
            [(now, "just now"), (now - 30_000, "30 s ago"), (now + 7_200_000, "in 2 h"), (now + 1, "in a moment")];
        for (then, text) in cases {
            assert_eq!(relative(now, then), text);
        }
        assert_eq!(exact(1_700_000_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(exact(u64::MAX), "18446744073709551615 ms");
    }
}
