//! Which job or chunks are meant: `42`, `42/7`, `42/3,7-12`, `42/gather/0`.
use std::fmt;
use std::str::FromStr;

use dsg_schemas::ids::{ChunkId, GATHER, JobId, MAIN, StageIndex, stage_name};
use dsg_schemas::limits::CHUNKS_PER_JOB;

/// A job, or some of its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub job: JobId,
    /// None: the job as a whole.
    pub chunks: Option<Chunks>,
}

/// Some chunks of a stage: ranges with both ends in, in order and apart from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    pub stage: StageIndex,
    pub ranges: Vec<(u32, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASelection {
    #[error("{0:?} is not a job or chunk; write 42, 42/7, 42/3,7-12 or 42/gather/0")]
    Shape(String),
    #[error("{0:?} runs backwards; write the smaller number first")]
    Backwards(String),
    #[error("{0:?} is beyond the 1,000,000 chunks that a job can have")]
    TooLarge(String),
}

impl FromStr for Selection {
    type Err = NotASelection;
    fn from_str(text: &str) -> Result<Selection, NotASelection> {
        let shape = || NotASelection::Shape(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let (job, chunks) = match parts[..] {
            [job] => (job, None),
            [job, list] | [job, "main", list] => (job, Some((MAIN, list))),
            [job, "gather", list] => (job, Some((GATHER, list))),
            _ => return Err(shape()),
        };
        let job = JobId(digits(job).ok_or_else(shape)?);
        let chunks = match chunks {
            Some((stage, list)) => Some(Chunks { stage, ranges: ranges(list)? }),
            None => None,
        };
        Ok(Selection { job, chunks })
    }
}

/// `3,7-12` as ranges, sorted and joined where they touch.
pub fn ranges(list: &str) -> Result<Vec<(u32, u32)>, NotASelection> {
    let mut found = Vec::new();
    for part in list.split(',') {
        let shape = || NotASelection::Shape(part.to_owned());
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (digits(first).ok_or_else(shape)?, digits(last).ok_or_else(shape)?);
        if first > last {
            return Err(NotASelection::Backwards(part.to_owned()));
        }
        if last >= CHUNKS_PER_JOB {
            return Err(NotASelection::TooLarge(part.to_owned()));
        }
        found.push((first as u32, last as u32));
    }
    found.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (first, last) in found {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    Ok(joined)
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

impl Chunks {
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }
    pub fn contains(&self, chunk: &ChunkId) -> bool {
        chunk.stage == self.stage && self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&chunk.index))
    }
    pub fn ids(&self, job: JobId) -> impl Iterator<Item = ChunkId> + '_ {
        let stage = self.stage;
        self.ranges
            .iter()
            .flat_map(move |(first, last)| (*first..=*last).map(move |index| ChunkId { job, stage, index }))
    }
}

/// Exactly one chunk, where nothing else makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneChunk(pub ChunkId);

impl FromStr for OneChunk {
    type Err = NotASelection;
    fn from_str(text: &str) -> Result<OneChunk, NotASelection> {
        text.parse().map(OneChunk).map_err(|_| NotASelection::Shape(text.to_owned()))
    }
}

/// A job and nothing finer.
pub fn job_id(text: &str) -> Result<JobId, NotASelection> {
    digits(text).map(JobId).ok_or_else(|| NotASelection::Shape(text.to_owned()))
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(chunks) = &self.chunks else { return write!(f, "job {}", self.job) };
        let stage = if chunks.stage == MAIN { String::new() } else { format!("{}/", stage_name(chunks.stage)) };
        let list: Vec<String> = chunks
            .ranges
            .iter()
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
            .collect();
        write!(f, "{}/{stage}{}", self.job, list.join(","))
    }
}

/// Where the API keeps a chunk.
pub fn chunk_path(chunk: &ChunkId) -> String {
    format!("/api/v1/jobs/{}/chunks/{}/{}", chunk.job, stage_name(chunk.stage), chunk.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_are_read_and_said_again() {
        let cases = [
            ("42", "job 42"),
            ("42/7", "42/7"),
            ("42/main/7", "42/7"),
            ("42/gather/0", "42/gather/0"),
            ("42/3,7-12", "42/3,7-12"),
            ("42/9,1-3,4,2-2,10", "42/1-4,9-10"),
            ("42/0-999999", "42/0-999999"),
        ];
        for (text, said) in cases {
            assert_eq!(text.parse::<Selection>().expect(text).to_string(), said);
        }
    }

    #[test]
    fn what_is_no_selection_is_refused() {
        for text in
            ["", "x", "42/", "42/a", "42/1-", "42/-1", "42/1,,2", "42/fit/1/2", "+42", "42/1-2-3", " 42", "42/other/1"]
        {
            assert!(matches!(text.parse::<Selection>(), Err(NotASelection::Shape(_))), "{text:?}");
        }
        assert_eq!("42/9-3".parse::<Selection>(), Err(NotASelection::Backwards("9-3".to_owned())));
        assert_eq!("42/1000000".parse::<Selection>(), Err(NotASelection::TooLarge("1000000".to_owned())));
        assert!("99999999999999999999".parse::<Selection>().is_err());
    }

    #[test]
    fn a_selection_knows_its_chunks() {
        let selection: Selection = "42/3,7-9".parse().expect("a selection");
        let chunks = selection.chunks.expect("chunks");
        let ids: Vec<u32> = chunks.ids(JobId(42)).map(|chunk| chunk.index).collect();
        assert_eq!(ids, [3, 7, 8, 9]);
        assert_eq!(chunks.count(), 4);
        assert!(chunks.contains(&"42/8".parse().expect("a chunk")));
        assert!(!chunks.contains(&"42/4".parse().expect("a chunk")));
        assert!(!chunks.contains(&"42/gather/8".parse().expect("a chunk")));
    }
}
