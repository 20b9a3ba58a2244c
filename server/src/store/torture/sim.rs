//! A disk in memory that remembers in which order it was written and synced, so that power can be cut at any moment of it.
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::Dice;
use crate::store::disk::{Append, Disk, ROWS};

pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug)]
pub enum Op {
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Length {
        file: String,
        bytes: usize,
    },
    Sync {
        file: String,
    },
    Remove {
        file: String,
    },
    /// A commit returned.
    Acknowledged(u64),
}

type Hook = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Cheap to clone: all clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    files: Files,
    journal: Vec<Op>,
    /// Called at every sync, without the disk being locked.
    on_sync: Option<Hook>,
}

impl SimDisk {
    pub fn with(files: Files) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(World { files, ..World::default() })))
    }
    pub fn files(&self) -> Files {
        self.world().files.clone()
    }
    pub fn take_journal(&self) -> Vec<Op> {
        std::mem::take(&mut self.world().journal)
    }
    pub fn acknowledged(&self, number: u64) {
        self.world().journal.push(Op::Acknowledged(number));
    }
    pub fn on_sync(&self, hook: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
        self.world().on_sync = Some(Arc::new(hook));
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.0.lock().expect("no panic")
    }
    fn change(&self, op: Op) {
        let mut world = self.world();
        apply(&mut world.files, &op);
        world.journal.push(op);
    }
    fn sync(&self, file: &str) -> io::Result<()> {
        let hook = self.world().on_sync.clone();
        if let Some(hook) = hook {
            hook()?;
        }
        self.change(Op::Sync { file: file.to_owned() });
        Ok(())
    }
    fn length(&self, name: &str) -> usize {
        self.world().files.get(name).map_or(0, Vec::len)
    }
    fn read(&self, name: &str) -> Vec<u8> {
        self.world().files.get(name).cloned().unwrap_or_default()
    }
}

pub fn apply(files: &mut Files, op: &Op) {
    match op {
        Op::Write { file, at, bytes } => {
            let file = files.entry(file.clone()).or_default();
            if file.len() < at + bytes.len() {
                file.resize(at + bytes.len(), 0);
            }
            file[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Op::Length { file, bytes } => files.entry(file.clone()).or_default().resize(*bytes, 0),
        Op::Remove { file } => drop(files.remove(file)),
        Op::Sync { .. } | Op::Acknowledged(_) => {}
    }
}

/// Follows a journal, and knows at each place of it what is on disk for good and what only perhaps.
pub struct PowerLine {
    pub durable: Files,
    pending: BTreeMap<String, Vec<Op>>,
}

impl PowerLine {
    pub fn new(files: Files) -> PowerLine {
        PowerLine { durable: files, pending: BTreeMap::new() }
    }

    pub fn step(&mut self, op: &Op) {
        match op {
            Op::Sync { file } => {
                for op in self.pending.remove(file).unwrap_or_default() {
                    apply(&mut self.durable, &op);
                }
            }
            Op::Write { file, .. } | Op::Length { file, .. } | Op::Remove { file } => {
                self.pending.entry(file.clone()).or_default().push(op.clone());
            }
            Op::Acknowledged(_) => {}
        }
    }

    /// What a power cut leaves now: of all that was not synced, some is there, some is not, some is there in part. That a
    /// later write is there and an earlier one is not is what reordering looks like afterwards.
    pub fn cut(&self, dice: &mut Dice) -> Files {
        let mut files = self.durable.clone();
        // From nothing of it to all of it.
        let chance = dice.roll(5);
        for op in self.pending.values().flatten() {
            if dice.roll(4) >= chance {
                continue;
            }
            match op {
                Op::Write { file, at, bytes } if dice.roll(3) == 0 => {
                    // Its beginning, its end, or both without a sector in between.
                    let (sectors, kind) = (bytes.len() as u64 / 512 + 1, dice.roll(3));
                    let (one, other) = (dice.roll(sectors) as usize * 512, dice.roll(sectors) as usize * 512);
                    let (one, other) = (one.min(bytes.len()), other.max(one + 512).min(bytes.len()));
                    for (from, to, is_there) in [(0, one, kind != 1), (other, bytes.len(), kind != 0)] {
                        if is_there && from < to {
                            let piece = bytes[from..to].to_vec();
                            apply(&mut files, &Op::Write { file: file.clone(), at: at + from, bytes: piece });
                        }
                    }
                }
                whole => apply(&mut files, whole),
            }
        }
        files
    }
}

impl Disk for SimDisk {
    fn has_rows(&self) -> bool {
        self.length(ROWS) > 0
    }
    fn rows(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(SimRows(self.clone()))
    }
    fn try_room(&self, _bytes: usize) -> io::Result<()> {
        Ok(())
    }
    fn redo_files(&self) -> io::Result<Vec<String>> {
        Ok(self.world().files.keys().filter(|name| *name != ROWS).cloned().collect())
    }
    fn read_redo(&self, name: &str) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(io::Cursor::new(self.read(name))))
    }
    fn create_redo(&self, name: &str, begins: &[u8]) -> io::Result<Box<dyn Append>> {
        self.change(Op::Length { file: name.to_owned(), bytes: 0 });
        let mut file = SimRedo { disk: self.clone(), name: name.to_owned() };
        file.append(begins)?;
        Ok(Box::new(file))
    }
    fn cut_redo(&self, name: &str, bytes: u64) -> io::Result<()> {
        self.change(Op::Length { file: name.to_owned(), bytes: bytes as usize });
        self.sync(name)
    }
    fn remove_redo(&self, name: &str) -> io::Result<()> {
        self.change(Op::Remove { file: name.to_owned() });
        self.sync(name)
    }
    fn redo_bytes(&self, name: &str) -> io::Result<u64> {
        Ok(self.length(name) as u64)
    }
}

struct SimRedo {
    disk: SimDisk,
    name: String,
}

impl Append for SimRedo {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let at = self.disk.length(&self.name);
        self.disk.change(Op::Write { file: self.name.clone(), at, bytes: bytes.to_vec() });
        self.disk.sync(&self.name)
    }
}

struct SimRows(SimDisk);

impl fmt::Debug for SimRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimRows")
    }
}

impl StorageBackend for SimRows {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.length(ROWS) as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let world = self.0.world();
        let at = offset as usize;
        let found = world.files.get(ROWS).and_then(|file| file.get(at..at + out.len()));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.change(Op::Length { file: ROWS.to_owned(), bytes: len as usize });
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync(ROWS)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.change(Op::Write { file: ROWS.to_owned(), at: offset as usize, bytes: data.to_vec() });
        Ok(())
    }
}
