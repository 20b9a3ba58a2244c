//! Inputs: fetched, verified, and laid out in the attempt's folder as hard links into the cache.
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, InputFile, InputOrder};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::{Shared, disk};
use crate::container::Bind;
use crate::spool::{CacheError, Folder, Told};

/// Files on their way at a time, of one attempt: the gather of a large job has very many, and each costs a round trip.
const AT_A_TIME: usize = 8;

/// Gives what the engine has to bind.
pub async fn fetch(shared: &Shared, folder: &Folder, orders: &[InputOrder]) -> Result<Vec<Bind>, Ended> {
    let (mut binds, mut wanted) = (Vec::new(), Vec::new());
    for (index, input) in orders.iter().enumerate() {
        let place = folder.part("inputs").map(|inputs| inputs.join(index.to_string()));
        let place = place.map_err(|error| disk("lay out inputs", &error))?;
        make_folders(&place, &place).map_err(|error| disk("lay out inputs", &error))?;
        let host = match &input.files[..] {
            [only] if only.under.is_empty() => {
                let target = place.join("file");
                wanted.push((input, only, target.clone()));
                target
            }
            files => {
                for file in files {
                    let target = beneath(&place, &file.under).ok_or_else(|| outside(input, file))?;
                    let parent = target.parent().unwrap_or(&place);
                    make_folders(&place, parent).map_err(|error| disk("lay out inputs", &error))?;
                    wanted.push((input, file, target));
                }
                place
            }
        };
        binds.push(Bind::read_only(&host, &input.path));
    }
    let (mut wanted, mut under_way) = (wanted.iter(), FuturesUnordered::new());
    loop {
        let free = AT_A_TIME - under_way.len();
        for (input, file, target) in wanted.by_ref().take(free) {
            under_way.push(fetch_one(shared, input, file, target));
        }
        match under_way.next().await {
            Some(fetched) => fetched?,
            None => return Ok(binds),
        }
    }
}

async fn fetch_one(shared: &Shared, input: &InputOrder, file: &InputFile, target: &Path) -> Result<(), Ended> {
    let shown = if file.under.is_empty() { String::new() } else { format!(", file {:?}", file.under) };
    fetch_blob(shared, &format!("input {}{shown}", input.name), (&file.sha256, file.size), target, &|_| ()).await
}

/// Waits for a server that is away. `what` is told where it cannot be had.
pub async fn fetch_blob(
    shared: &Shared,
    what: &str,
    blob: (&str, u64),
    target: &Path,
    told: Told<'_>,
) -> Result<(), Ended> {
    let mut failures = 0;
    loop {
        let error = match shared.cache.place(&shared.link, blob, target, told).await {
            Ok(()) => return Ok(()),
            Err(CacheError::Server { source, .. }) if source.passes() => {
                tracing::debug!(what, %source, "cannot be fetched; it is tried again");
                tokio::time::sleep(shared.patience.after(failures)).await;
                failures += 1;
                continue;
            }
            Err(CacheError::Disk { source, .. }) => disk("store what was fetched", &source),
            Err(error @ (CacheError::Name(_) | CacheError::Server { .. } | CacheError::Content { .. })) => {
                Ended::before_start(EndReason::InputMissing, error.to_string())
            }
        };
        return Err(Ended { message: format!("{what}: {}", error.message), ..error });
    }
}

fn outside(input: &InputOrder, file: &InputFile) -> Ended {
    let message = format!("input {}: {:?} would lie outside its folder", input.name, file.under);
    Ended::before_start(EndReason::Refused, message)
}

/// The runner is the last judge of paths: `under` goes down only.
fn beneath(folder: &Path, under: &str) -> Option<PathBuf> {
    let path = Path::new(under);
    let down = path.components().all(|part| matches!(part, Component::Normal(_)));
    (down && !under.is_empty() && !under.contains('\0')).then(|| folder.join(path))
}

/// Readable by whatever user the container runs as, whatever our umask is.
fn make_folders(base: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    for part in path.ancestors().take_while(|part| part.starts_with(base)) {
        fs::set_permissions(part, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_stay_beneath_their_folder() {
        let base = Path::new("/state/inputs/0");
        for fine in ["a", "a/b.csv", "..a/b"] {
            assert_eq!(beneath(base, fine), Some(base.join(fine)), "{fine}");
        }
        for wrong in ["", "/etc/passwd", "..", "a/../../b", "a/..", "./../b", "a\0b"] {
            assert_eq!(beneath(base, wrong), None, "{wrong:?}");
        }
    }
}
