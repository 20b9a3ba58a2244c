//! Whether anybody but the grid uses the host, by what was seen of it.
use std::time::Duration;

use dsg_schemas::units::Millis;

use super::{OnlyWhenIdle, Seen};

impl OnlyWhenIdle {
    /// How the host is used, if it is.
    pub fn used(&self, seen: &Seen) -> Option<String> {
        let OnlyWhenIdle { cpu_percent, quiet } = *self;
        let wait = Millis(quiet.as_millis() as u64);
        if seen.typed_ago.is_some_and(|ago| ago < quiet) {
            return Some(format!("somebody works at it; it takes work again once nobody has typed for {wait}"));
        }
        if seen.busy_ago.is_some_and(|ago| ago < quiet) {
            return Some(format!(
                "its owner uses it; it takes work again once others than the grid have used at most {cpu_percent} % of its processors for {wait}"
            ));
        }
        None
    }
}

/// What others use, in percent of all processors, from two looks: processor time of the host and of our containers, in milliseconds.
pub fn others_percent(busy_ms: u64, ours_ms: u64, passed: Duration, processors: u64) -> u32 {
    let all_ms = (passed.as_millis() as u64).saturating_mul(processors.max(1));
    let others_ms = busy_ms.saturating_sub(ours_ms);
    u32::try_from(others_ms.saturating_mul(100).checked_div(all_ms).unwrap_or(0).min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_all_but_our_containers() {
        let second = Duration::from_secs(1);
        assert_eq!(others_percent(4_000, 3_000, second, 4), 25);
        assert_eq!(others_percent(4_000, 4_500, second, 4), 0, "clocks differ a little");
        assert_eq!(others_percent(9_000, 0, second, 4), 100);
        assert_eq!(others_percent(9, 0, Duration::ZERO, 4), 0);
    }

    #[test]
    fn a_host_is_used_while_somebody_types_or_computes_and_for_a_while_after() {
        let rule = OnlyWhenIdle { cpu_percent: 10, quiet: Duration::from_mins(15) };
        let minutes = |minutes| Some(Duration::from_mins(minutes));
        let seen =
            |busy_ago, typed_ago| Seen { now: jiff::Timestamp::UNIX_EPOCH, busy_ago, others_percent: 40, typed_ago };
        assert_eq!(rule.used(&seen(None, None)), None);
        assert_eq!(rule.used(&seen(minutes(15), minutes(15))), None);
        assert!(rule.used(&seen(None, minutes(14))).is_some_and(|why| why.contains("typed for 15m")));
        assert!(rule.used(&seen(minutes(14), None)).is_some_and(|why| why.contains("at most 10 %")));
    }
}
