//! A bar at the bottom of a terminal. Where there is none, nothing moves.
use dsg_schemas::api::Tally;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;
use crate::when;

/// A bar over this many of something, or one that is never seen.
pub struct Bar<'a> {
    output: &'a Output,
    bar: ProgressBar,
}

impl<'a> Bar<'a> {
    /// Over bytes.
    pub fn of_bytes(output: &'a Output, what: &str, total: u64) -> Bar<'a> {
        Bar::new(output, "{msg} {bar:24} {bytes} of {total_bytes} {bytes_per_sec}", what, total)
    }

    /// Over the chunks of a job.
    pub fn of_chunks(output: &'a Output, total: u64) -> Bar<'a> {
        Bar::new(output, "{bar:24} {pos}/{len} {msg}", "", total)
    }

    fn new(output: &'a Output, template: &str, what: &str, total: u64) -> Bar<'a> {
        let target = if output.lively { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        if output.lively {
            output.set_bar(Some(bar.clone()));
        }
        Bar { output, bar }
    }

    pub fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// Where the chunks stand, and when they may be through.
    pub fn show(&self, tally: &Tally, eta_ms: Option<(u64, u64)>, now_ms: u64) {
        self.bar.set_length(tally.total());
        self.bar.set_position(tally.ended());
        self.bar.set_message(words(tally, eta_ms, now_ms));
        self.bar.tick();
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if self.output.lively {
            self.output.set_bar(None);
        }
    }
}

/// `8 running, 90 waiting, 1 failed, 3m 12s to 5m 00s left`.
pub fn words(tally: &Tally, eta_ms: Option<(u64, u64)>, now_ms: u64) -> String {
    let counts = [
        (tally.active(), "running"),
        (tally.waiting, "waiting"),
        (tally.held, "held"),
        (tally.succeeded, "succeeded"),
        (tally.failed, "failed"),
        (tally.cancelled, "cancelled"),
        (tally.skipped, "skipped"),
    ];
    let mut words: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if let Some((low, high)) = eta_ms
        && high > now_ms
    {
        let (low, high) = (when::duration(low.saturating_sub(now_ms)), when::duration(high - now_ms));
        words.push(if low == high { format!("{low} left") } else { format!("{low} to {high} left") });
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_said_in_words() {
        let tally = Tally { waiting: 90, leased: 1, running: 7, succeeded: 4, failed: 1, ..Tally::default() };
        assert_eq!(words(&tally, None, 0), "8 running, 90 waiting, 4 succeeded, 1 failed");
        assert_eq!(words(&Tally::default(), Some((192_000, 300_000)), 0), "3m 12s to 5m 00s left");
        assert_eq!(words(&Tally::default(), Some((1, 2)), 3), "");
    }
}
