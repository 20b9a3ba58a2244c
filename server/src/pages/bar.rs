//! Bars: how far a job is, how full a runner is. Drawn as SVG, because the policy allows no inline style, and always beside text.
use dsg_schemas::api::{ChunkState, Tally};
use maud::{Markup, html};

use super::words;

/// From what is done to what is still to come.
pub const ORDER: [ChunkState; 9] = [
    ChunkState::Succeeded,
    ChunkState::Failed,
    ChunkState::Cancelled,
    ChunkState::Skipped,
    ChunkState::Storing,
    ChunkState::Running,
    ChunkState::Leased,
    ChunkState::Held,
    ChunkState::Waiting,
];
const WIDTH: u64 = 1000;

/// A job's chunks by state. Waiting ones leave the ground visible.
pub fn progress(tally: &Tally, tall: bool) -> Markup {
    let total = tally.total();
    let mut left = 0;
    let mut pieces = Vec::new();
    for state in ORDER {
        let count = tally.of(state);
        if count == 0 || state == ChunkState::Waiting {
            continue;
        }
        // One failure in a million is still a mark.
        let width = scaled(count, total).max(4).min(WIDTH - left);
        pieces.push((state, left, width));
        left += width;
    }
    html! {
        svg class=(if tall { "bar tall" } else { "bar" }) viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(sentence(tally)) {
            @for (state, left, width) in pieces { rect class=(state.word()) x=(left) y="0" width=(width) height="10" {} }
        }
    }
}

/// `790 succeeded, 22 failed, 12 running of 1,000`.
pub fn sentence(tally: &Tally) -> String {
    let parts: Vec<String> = ORDER
        .iter()
        .filter(|state| tally.of(**state) > 0)
        .map(|state| format!("{} {}", words::number(tally.of(*state)), state.word()))
        .collect();
    match parts.is_empty() {
        true => "no chunks".to_owned(),
        false => format!("{} of {}", parts.join(", "), words::number(tally.total())),
    }
}

/// One amount of another, with its name before (if it has one) and its text below.
pub fn share(name: &str, part: u64, whole: u64, text: &str) -> Markup {
    html! {
        div.meter.bare[name.is_empty()] {
            @if !name.is_empty() { span { (name) } }
            svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                @if part > 0 { rect.running x="0" y="0" width=(scaled(part, whole)) height="10" {} }
            }
            span { (text) }
        }
    }
}

fn scaled(part: u64, whole: u64) -> u64 {
    match whole {
        0 => 0,
        whole => (u128::from(part.min(whole)) * u128::from(WIDTH) / u128::from(whole)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_never_leaves_its_frame_and_shows_the_smallest_share() {
        let cases = [
            Tally::default(),
            Tally { succeeded: 999_999, failed: 1, ..Tally::default() },
            Tally {
                waiting: 1,
                held: 1,
                leased: 1,
                running: 1,
                storing: 1,
                succeeded: u64::MAX / 2,
                failed: 1,
                cancelled: 1,
                skipped: 1,
            },
        ];
        for tally in cases {
            let markup = progress(&tally, false).into_string();
            assert_eq!(markup.contains("class=\"failed\""), tally.failed > 0, "{markup}");
            let numbers = |key: &str| -> Vec<u64> {
                let key = format!(" {key}=\"");
                markup.split(key.as_str()).skip(1).filter_map(|part| part.split('"').next()?.parse().ok()).collect()
            };
            for (left, width) in numbers("x").iter().zip(numbers("width")) {
                assert!(left + width <= WIDTH, "{markup}");
            }
        }
    }
}
