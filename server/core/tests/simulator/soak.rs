//! New seeds for an hour, or as many minutes as are asked for, with a line each minute.
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::seen::Seen;
use crate::{number, seeds};

/// Seeds between two looks at the clock.
const LEG: u64 = 200;

/// `make soak` runs it. Where it begins is another place each time, and printed.
#[test]
#[ignore = "runs for an hour"]
fn soak() {
    let minutes = number("SIM_MINUTES").unwrap_or(60);
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let first = number("SIM_FIRST").unwrap_or(unix * 1_000_000);
    let (began, end) = (Instant::now(), Duration::from_secs(60 * minutes));
    let so_far = Mutex::new((0u64, Seen::default(), Duration::ZERO));
    let is_over = AtomicBool::new(false);
    println!("soak of {minutes} minutes from seed {first}");
    let after = |seen: &Seen| {
        let mut so_far = so_far.lock().expect("the sums");
        so_far.0 += 1;
        so_far.1.add(seen);
        let took = began.elapsed();
        is_over.fetch_or(took >= end, Ordering::Relaxed);
        if took >= so_far.2 + Duration::from_secs(60) {
            so_far.2 = took;
            let (seeds, Seen { events, jobs, starts, successes, .. }, _) = &*so_far;
            let minute = took.as_secs() / 60;
            println!(
                "minute {minute}: {seeds} seeds, {events} events, {jobs} jobs, {starts} starts, {successes} successes"
            );
        }
    };
    let mut from = first;
    while !is_over.load(Ordering::Relaxed) {
        if let Err(failure) = seeds::run(from..=from + LEG - 1, &|_| (), &after) {
            panic!("{}", failure.tell());
        }
        from += LEG;
    }
    let (seeds, sum, _) = so_far.into_inner().expect("the sums");
    println!("{seeds} seeds from {first}, none failed: {sum:?}");
}
