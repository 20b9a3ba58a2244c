//! Removes what can be had again, oldest use first, while a disk is below its mark: images that this runner brought, cached inputs, and
//! folders of attempts that are over and could not be removed before.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Marks, Space};
use crate::attempt::Shared;

pub struct Cleaner {
    shared: Arc<Shared>,
    state: PathBuf,
    marks: Marks,
    /// Fell below its first mark, and did not reach the second yet: the engine's disk, and the state's.
    begun: [bool; 2],
    /// It was said already that nothing more can be done.
    helpless: bool,
}

const ENGINE: usize = 0;
const STATE: usize = 1;

/// The oldest use comes first.
type Candidates = BinaryHeap<Reverse<(u64, What)>>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Image { id: String, names: String, bytes: u64 },
    Blob { path: PathBuf, bytes: u64 },
    Folder { path: PathBuf },
}

impl Cleaner {
    pub fn new(shared: Arc<Shared>, state: PathBuf, marks: Marks) -> Cleaner {
        Cleaner { shared, state, marks, begun: [false; 2], helpless: false }
    }

    /// Looks now and then, for ever.
    pub async fn run(mut self) {
        loop {
            self.look().await;
            self.shared.stock.keep().await;
            tokio::time::sleep(self.shared.patience.look).await;
        }
    }

    /// Removes until there is room, or nothing is left that may go.
    pub async fn look(&mut self) {
        let Some(mut wanted) = self.wanted().await else {
            self.helpless = false;
            return;
        };
        let mut candidates = self.candidates(wanted).await;
        while let Some(Reverse((_, what))) = candidates.pop() {
            if wanted[what.disk()].is_none() || !self.remove(&what).await {
                continue;
            }
            self.helpless = false;
            match self.wanted().await {
                None => return,
                Some(now) => wanted = now,
            }
        }
        if !self.helpless {
            tracing::warn!("a disk is nearly full, and nothing more that this runner brought can be removed");
            self.helpless = true;
        }
    }

    /// Bytes that are to be freed on the engine's disk and on the state's; where both are one disk, both are the same.
    async fn wanted(&mut self) -> Option<[Option<u64>; 2]> {
        let engine = self.shared.engine.disk().await.ok().flatten();
        let state = Space::around(&self.state);
        let mut wanted = [None; 2];
        for (which, space) in [(ENGINE, engine), (STATE, state)] {
            wanted[which] = space.and_then(|space| self.marks.wanted(space, self.begun[which]));
            self.begun[which] = wanted[which].is_some();
        }
        wanted.iter().any(Option::is_some).then_some(wanted)
    }

    async fn candidates(&self, wanted: [Option<u64>; 2]) -> Candidates {
        let mut found = Candidates::new();
        let Shared { engine, stock, cache, grid, runner, .. } = &*self.shared;
        if wanted[ENGINE].is_some()
            && let Ok(seen) = engine.images(grid, *runner).await
        {
            found.extend(stock.idle(&seen).into_iter().map(|(id, brought)| {
                let names = brought.names.into_iter().collect::<Vec<_>>().join(", ");
                Reverse((brought.used_ms, What::Image { id, names, bytes: brought.bytes }))
            }));
        }
        if wanted[STATE].is_some() {
            let blobs = cache.idle().into_iter();
            found.extend(blobs.map(|(used, bytes, path)| Reverse((unix_ms(used), What::Blob { path, bytes }))));
            found
                .extend(self.folders().into_iter().map(|(used, path)| Reverse((unix_ms(used), What::Folder { path }))));
        }
        found
    }

    /// Those that no attempt lives in.
    fn folders(&self) -> Vec<(SystemTime, PathBuf)> {
        let Ok(entries) = std::fs::read_dir(self.state.join("attempts")) else { return Vec::new() };
        let found = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        });
        found.filter(|(_, path)| !self.is_lived_in(path)).collect()
    }

    fn is_lived_in(&self, path: &Path) -> bool {
        let attempt = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        attempt.is_none_or(|attempt| self.shared.living.has(dsg_schemas::ids::AttemptId(attempt)))
    }

    async fn remove(&self, what: &What) -> bool {
        let Shared { engine, stock, cache, .. } = &*self.shared;
        let removed = match what {
            What::Image { id, .. } => {
                let removed = stock.remove(&**engine, id).await;
                stock.keep().await;
                removed
            }
            What::Blob { path, .. } => cache.remove_idle(path),
            What::Folder { path } => !self.is_lived_in(path) && std::fs::remove_dir_all(path).is_ok(),
        };
        match what {
            _ if !removed => {}
            What::Image { names, bytes, .. } => tracing::info!(image = names, bytes, "removed an image to make room"),
            What::Blob { path, bytes } => {
                tracing::info!(path = %path.display(), bytes, "removed a cached input to make room");
            }
            What::Folder { path } => tracing::info!(path = %path.display(), "removed what was left of an attempt"),
        }
        removed
    }
}

impl What {
    fn disk(&self) -> usize {
        match self {
            What::Image { .. } => ENGINE,
            What::Blob { .. } | What::Folder { .. } => STATE,
        }
    }
}

fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
