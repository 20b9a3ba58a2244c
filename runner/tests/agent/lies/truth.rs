//! What was reported, against what really happened.
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::Ended;
use dsg_schemas::wire::log::Stream;

use super::engine::{Truth, World};

/// What the server has of one stream.
#[derive(Default)]
pub struct Kept {
    /// With something in the place of what was declared lost.
    pub bytes: Vec<u8>,
    /// Where, from and to.
    pub gaps: Vec<(usize, usize)>,
}

/// Why a report is false; `None`: it is true.
pub fn falsehood(attempt: u64, ended: &Ended, kept: &[Kept; 2], world: &World) -> Option<String> {
    let ran: Vec<&Truth> =
        world.containers.values().filter(|truth| truth.attempt == attempt && truth.began_ms > 0).collect();
    if ran.len() > 1 {
        return Some(format!("its command ran {} times", ran.len()));
    }
    let is_true = |code: Option<i32>, oom: bool| {
        ran.iter().any(|truth| truth.own_end && truth.oom == oom && code.is_none_or(|code| code == truth.code))
    };
    let told_true = match ended.reason {
        EndReason::Succeeded => is_true(Some(0), false) && ran.iter().all(|truth| truth.gpus),
        EndReason::Exit | EndReason::Signal => is_true(ended.exit_code, false),
        EndReason::Oom => is_true(None, true),
        // Nobody's fault but the engine's, and what is tried again costs time only.
        EndReason::EngineError | EndReason::RunnerLost | EndReason::GpuError | EndReason::RunTimeout => true,
        _ => false,
    };
    if !told_true {
        return Some(format!("{} ({:?}, {})", ended.reason, ended.exit_code, ended.message));
    }
    if ended.reason != EndReason::Succeeded {
        return None;
    }
    let told = [ended.stdout_bytes, ended.stderr_bytes];
    [Stream::Stdout, Stream::Stderr].into_iter().zip(kept).zip(told).find_map(|((stream, kept), told)| {
        let wrote = ran.iter().flat_map(|truth| truth.bytes(stream)).collect::<Vec<_>>();
        let whole = is_told_whole(&wrote, kept, told as usize);
        (!whole).then(|| {
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (kept_bytes, wrote) = (show(&kept.bytes), show(&wrote));
            format!("{stream:?} is {kept_bytes:?} with gaps {:?}, {told} told, of {wrote:?}", kept.gaps)
        })
    })
}

/// Every byte that was written is there, or declared lost.
fn is_told_whole(wrote: &[u8], kept: &Kept, told: usize) -> bool {
    let mut at = 0;
    let mut from = 0;
    let open_end = (kept.bytes.len(), told.max(kept.bytes.len()));
    for (gap_from, gap_to) in kept.gaps.iter().copied().chain([open_end]) {
        let piece = &kept.bytes[from..gap_from];
        let found = match at {
            // Nothing is missing before the first gap.
            0 if from == 0 => wrote.starts_with(piece).then_some(0),
            _ if piece.is_empty() => Some(0),
            _ => wrote[at..].windows(piece.len()).position(|part| part == piece),
        };
        let Some(found) = found else { return false };
        at += found + piece.len();
        from = gap_to;
    }
    let is_open = told > kept.bytes.len() || kept.gaps.last().is_some_and(|(_, to)| *to == kept.bytes.len());
    let last = &kept.bytes[kept.gaps.last().map_or(0, |(_, to)| *to)..];
    is_open || if kept.gaps.is_empty() { at == wrote.len() } else { wrote.ends_with(last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_must_be_declared() {
        let kept = |bytes: &str, gaps: &[(usize, usize)]| Kept { bytes: bytes.into(), gaps: gaps.to_vec() };
        for (whole, kept, told) in [
            (true, kept("abcdef", &[]), 6),
            (false, kept("abcde", &[]), 5),
            (true, kept("abcde", &[]), 6),
            (false, kept("bcdef", &[]), 5),
            (true, kept("ab?ef", &[(2, 3)]), 5),
            (false, kept("ab?de", &[(2, 3)]), 5),
            (true, kept("?f", &[(0, 1)]), 2),
            (true, kept("abcdef?", &[(6, 7)]), 7),
            (false, kept("abdef?", &[(5, 6)]), 6),
            (false, kept("abcdeff", &[]), 7),
            (false, kept("", &[]), 0),
            (true, kept("", &[]), 1),
        ] {
            assert_eq!(is_told_whole(b"abcdef", &kept, told), whole, "{:?} {:?}", kept.bytes, kept.gaps);
        }
    }
}
