//! The folder of one attempt: its order before anything is done, its end before what shows it is removed, and its scratch files.
use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, StartOrder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::journal::{self, Record};
use super::log::LogSpool;

const JOURNAL: &str = "journal";

#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// Written before the engine is asked to start: from then on the command may have run, and is never run again by this attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub container: String,
    pub image_id: String,
    /// Boot id of the machine.
    pub boot: String,
    /// Which life of the engine it was; `None` where containers outlive it.
    #[serde(default)]
    pub engine_life: Option<String>,
}

/// How long its container was frozen, by the clock of the wall: that does not count against its time limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    /// When it was started: the engine does not say that of a frozen one.
    pub started_ms: u64,
    /// Pauses that are over.
    pub past_ms: u64,
    /// Since when it is frozen.
    pub since_ms: Option<u64>,
}

impl Pauses {
    /// Frozen so far.
    pub fn total_ms(&self, now_ms: u64) -> u64 {
        self.past_ms + self.since_ms.map_or(0, |since| now_ms.saturating_sub(since))
    }
}

/// What an earlier life of the runner left of an attempt.
#[derive(Clone, Debug)]
pub struct Left {
    pub order: StartOrder,
    pub started: Option<Started>,
    pub past: Past,
    pub ended: Option<Ended>,
}

/// What an earlier life did to a container that it had started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    pub pauses: Pauses,
    /// Why it was ending it: our own signal must not be taken for somebody else's.
    pub killing: Option<EndReason>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Folder {
        Folder { path }
    }

    /// Before anything is done for the attempt. Made durable by what is kept next: a machine that goes down before that has started no
    /// container, and one that was made is known by its label.
    pub fn begin(&self, order: &StartOrder) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let record = Record { order: Some(Cow::Borrowed(order)), ..Record::default() };
        journal::write(&self.path.join(JOURNAL), &record).map(drop)
    }

    pub fn started(&self, started: &Started) -> io::Result<()> {
        self.keep(&Record { started: Some(Cow::Borrowed(started)), ..Record::default() })
    }

    pub fn paused(&self, pauses: Pauses) -> io::Result<()> {
        self.keep(&Record { pauses: Some(pauses), ..Record::default() })
    }

    /// Kept before the engine is asked.
    pub fn killing(&self, reason: EndReason) -> io::Result<()> {
        self.keep(&Record { killing: Some(reason), ..Record::default() })
    }

    pub fn ended(&self, ended: &Ended) -> io::Result<()> {
        self.keep(&Record { ended: Some(Cow::Borrowed(ended)), ..Record::default() })
    }

    /// `None`: there is no order. What cannot be read may be there all the same.
    pub(super) fn left(&self) -> io::Result<Option<Left>> {
        let mut all = self.before_journals()?;
        for record in journal::read(&self.path.join(JOURNAL))? {
            all = Record {
                order: record.order.or(all.order),
                started: record.started.or(all.started),
                pauses: record.pauses.or(all.pauses),
                killing: record.killing.or(all.killing),
                ended: record.ended.or(all.ended),
            };
        }
        Ok(all.order.map(|order| Left {
            order: order.into_owned(),
            started: all.started.map(Cow::into_owned),
            past: Past { pauses: all.pauses.unwrap_or_default(), killing: all.killing },
            ended: all.ended.map(Cow::into_owned),
        }))
    }

    /// Runners up to November 2026 kept a file of each kind: one that is replaced while its containers run must not lose them.
    fn before_journals(&self) -> io::Result<Record<'static>> {
        Ok(Record {
            order: self.get("order.json")?.map(Cow::Owned),
            started: self.get("started.json")?.map(Cow::Owned),
            pauses: self.get("pauses.json")?,
            killing: self.get("killing.json")?,
            ended: self.get("ended.json")?.map(Cow::Owned),
        })
    }

    pub fn log(&self) -> io::Result<LogSpool> {
        LogSpool::open(self.path.join("log"))
    }

    /// A folder for scratch files, readable by whatever user a container runs as.
    pub fn part(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Scratch is not needed once the attempt is over.
    pub fn clear(&self, name: &str) {
        remove(&self.path.join(name));
    }

    pub fn remove(&self) {
        remove(&self.path);
    }

    /// Durable when this returns.
    fn keep(&self, record: &Record<'_>) -> io::Result<()> {
        journal::append(&self.path.join(JOURNAL), record)
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let bytes = journal::bytes(&self.path.join(name))?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a spool folder; the next start tries again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::test_order;
    use crate::spool::Spool;

    fn folder(dir: &tempfile::TempDir) -> Folder {
        Folder::new(dir.path().join("7"))
    }

    fn left_in(folder: &Folder) -> Option<Left> {
        folder.left().expect("readable")
    }

    fn started() -> Started {
        Started {
            container: "c".to_owned(),
            image_id: "i".to_owned(),
            boot: "b".to_owned(),
            engine_life: Some("e".to_owned()),
        }
    }

    #[test]
    fn what_was_kept_is_there_in_the_next_life() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = folder(&dir);
        assert!(left_in(&folder).is_none());
        folder.begin(&test_order(7)).expect("kept");
        folder.started(&started()).expect("kept");
        let pauses = Pauses { started_ms: 1, past_ms: 2, since_ms: Some(3) };
        folder.paused(Pauses::default()).expect("kept");
        folder.paused(pauses).expect("kept");
        folder.killing(EndReason::RunTimeout).expect("kept");
        let left = left_in(&folder).expect("left");
        assert_eq!((&left.order, left.started, left.ended), (&test_order(7), Some(started()), None));
        assert_eq!(left.past, Past { pauses, killing: Some(EndReason::RunTimeout) });
        let ended = Ended::before_start(EndReason::Cancelled, "why");
        folder.ended(&ended).expect("kept");
        assert_eq!(left_in(&folder).expect("left").ended, Some(ended));
    }

    /// Wherever a crash cut it, what was whole before is there, and what comes after it too.
    #[test]
    fn a_record_that_was_cut_off_spoils_no_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = folder(&dir);
        folder.begin(&test_order(7)).expect("kept");
        let journal = folder.path.join(JOURNAL);
        let order = fs::read(&journal).expect("a journal");
        folder.started(&started()).expect("kept");
        let whole = fs::read(&journal).expect("a journal");
        let ended = Ended::before_start(EndReason::Cancelled, "why");
        for cut in order.len()..whole.len() {
            fs::write(&journal, &whole[..cut]).expect("cut");
            // Only the line break is missing from the last.
            let expected = (cut == whole.len() - 1).then(started);
            assert_eq!(left_in(&folder).expect("an order").started, expected, "cut at {cut}");
            folder.ended(&ended).expect("kept");
            let left = left_in(&folder).expect("an order");
            assert_eq!((left.started, left.ended.as_ref()), (expected, Some(&ended)), "cut at {cut}");
        }
        fs::write(&journal, &order[..order.len() / 2]).expect("cut");
        assert!(left_in(&folder).is_none(), "without an order nothing was begun");
    }

    /// It is not taken for one that never began.
    #[test]
    fn a_journal_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(dir.path()).expect("a spool");
        let journal = dir.path().join("attempts/7/journal");
        fs::create_dir_all(&journal).expect("a folder in its place");
        let error = spool.left().expect_err("not read");
        assert!(error.to_string().contains("attempts/7"), "{error}");
        assert!(journal.exists());
        fs::remove_dir(&journal).expect("removed");
        // Of a runner to come.
        fs::write(&journal, "{\"order\":{\"attempt\":[7]}}\n").expect("written");
        assert!(spool.left().is_err() && journal.exists());
        fs::rename(dir.path().join("attempts/7"), dir.path().join("attempts/lost+found")).expect("renamed");
        assert_eq!(spool.left().expect("what is no attempt is not looked at").len(), 0);
    }

    /// As they were written before there were journals.
    #[test]
    fn folders_of_an_earlier_runner_are_taken_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = folder(&dir);
        fs::create_dir(&folder.path).expect("made");
        let put = |name: &str, text: String| fs::write(folder.path.join(name), text).expect("written");
        let json = |value: &StartOrder| serde_json::to_string(value).expect("json");
        put("order.json", json(&test_order(7)));
        put("started.json", r#"{"container":"c","image_id":"i","boot":"b","engine_life":"e"}"#.to_owned());
        put("pauses.json", r#"{"started_ms":1,"past_ms":2,"since_ms":3}"#.to_owned());
        put("killing.json", r#""run_timeout""#.to_owned());
        let left = left_in(&folder).expect("left");
        assert_eq!((left.order, left.started), (test_order(7), Some(started())));
        let pauses = Pauses { started_ms: 1, past_ms: 2, since_ms: Some(3) };
        assert_eq!(left.past, Past { pauses, killing: Some(EndReason::RunTimeout) });
        let ended = Ended::before_start(EndReason::RunTimeout, "why");
        folder.ended(&ended).expect("kept");
        assert_eq!(left_in(&folder).expect("left").ended, Some(ended));
    }
}
