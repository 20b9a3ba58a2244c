//! Times and sizes as people read them.
use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds by this machine's clock.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Two units at most: `1.2s`, `45s`, `3m 12s`, `2h 05m`, `4d 3h`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 => format!("{}.{}s", seconds, ms % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long ago; `-` for never.
pub fn ago(now_ms: u64, then_ms: Option<u64>) -> String {
    match then_ms {
        Some(then) => match now_ms.saturating_sub(then) {
            0..1000 => "now".to_owned(),
            past => format!("{} ago", duration(past)),
        },
        None => "-".to_owned(),
    }
}

/// From start to end, or to now while there is no end; `-` before the start.
pub fn span(now_ms: u64, started_ms: Option<u64>, ended_ms: Option<u64>) -> String {
    match started_ms {
        Some(start) => duration(ended_ms.unwrap_or(now_ms).saturating_sub(start)),
        None => "-".to_owned(),
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub fn stamp(ms: u64) -> String {
    match i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(time) => format!("{time:.3}"),
        None => format!("{ms} ms"),
    }
}

/// Powers of 1024, three digits: `512 B`, `1.50 GiB`, `15.9 GiB`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 9.995 => format!("{value:.2} {unit}"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Thousandths of CPUs: `2`, `0.5`.
pub fn cpus(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        let cases = [
            (0, "0.0s"),
            (9_940, "9.9s"),
            (59_999, "59s"),
            (192_000, "3m 12s"),
            (7_500_000, "2h 05m"),
            (356_400_000, "4d 3h"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(ms), text);
        }
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (17_071_734_784, "15.9 GiB"), (u64::MAX, "16384 PiB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(cpus(2000), "2");
        assert_eq!(cpus(250), "0.25");
        assert_eq!(ago(5_000, Some(2_000)), "3.0s ago");
        assert_eq!(ago(5_000, Some(9_000)), "now");
        assert_eq!(span(5_000, Some(1_000), None), "4.0s");
        assert_eq!(stamp(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(stamp(u64::MAX), "18446744073709551615 ms");
    }
}
