//! An image that somebody brought to the server: fetched from there like an input, looked through, and loaded into the engine under a
//! name that says its content. One at a time is loaded; whoever comes second finds it.
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use dsg_schemas::api::Upload;
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::PullPolicy;
use dsg_schemas::units::Bytes;
use dsg_schemas::wire::Ended;

use super::pulled::runs_here;
use super::{Shared, archive, disk, inputs};
use crate::container::{Failure, Present};
use crate::room::Hold;

/// Gives the image in the engine, and a hold on it.
pub async fn present(
    shared: &Shared,
    folder: &Path,
    (image, pushed): (&str, &Upload),
    note: &(dyn Fn(String) + Send + Sync),
) -> Result<(Present, Hold), Ended> {
    let Upload { size, sha256 } = pushed;
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Ended::before_start(EndReason::Refused, format!("image {image}: {sha256:?} is not a sha256")));
    }
    let name = format!("localhost/dsg-pushed:{sha256}");
    let hold = shared.stock.hold(shared.engine.full_name(&name)).await;
    if let Some(present) = found(shared, &name).await? {
        return kept(shared, hold, present, image).await;
    }
    note(format!("waiting to fetch image {image} from the server"));
    let _turn = shared.loading.lock().await;
    if let Some(present) = found(shared, &name).await? {
        return kept(shared, hold, present, image).await;
    }
    let told = Progress::of(image, *size, note);
    told.hear(0);
    let file = folder.join("image.tar");
    let heard = |bytes| told.hear(bytes);
    inputs::fetch_blob(shared, &format!("image {image}"), (sha256, *size), &file, &heard).await?;
    note(format!("loading image {image}"));
    let looked = file.clone();
    let looked = tokio::task::spawn_blocking(move || archive::look_through(&looked)).await;
    let verdict =
        looked.map_err(std::io::Error::other).flatten().map_err(|error| disk("look through an image", &error))?;
    if let Err(why) = verdict {
        return Err(Ended::before_start(EndReason::ImageNotFound, format!("image {image} cannot be loaded: {why}")));
    }
    let loaded = shared.engine.load_file(&file, &name).await.map_err(|failure| ended(image, failure));
    // Only this link to it: the cache keeps the file itself while there is room.
    drop(std::fs::remove_file(&file));
    let present = loaded?;
    kept(shared, hold, present, image).await
}

/// Says how far a fetch is, a hundred times at most.
struct Progress<'a> {
    image: &'a str,
    size: u64,
    note: &'a (dyn Fn(String) + Send + Sync),
    said_percent: AtomicU64,
}

impl<'a> Progress<'a> {
    fn of(image: &'a str, size: u64, note: &'a (dyn Fn(String) + Send + Sync)) -> Progress<'a> {
        Progress { image, size, note, said_percent: AtomicU64::new(u64::MAX) }
    }

    fn hear(&self, bytes: u64) {
        let percent = bytes.saturating_mul(100) / self.size.max(1);
        if self.said_percent.swap(percent, Ordering::Relaxed) != percent {
            let (image, bytes, size) = (self.image, Bytes(bytes), Bytes(self.size));
            (self.note)(format!("fetching image {image} from the server: {bytes} of {size}"));
        }
    }
}

async fn kept(shared: &Shared, mut hold: Hold, present: Present, image: &str) -> Result<(Present, Hold), Ended> {
    shared.stock.found(&mut hold, &present).await;
    runs_here(&present).map_err(|failure| ended(image, failure))?;
    Ok((present, hold))
}

async fn found(shared: &Shared, name: &str) -> Result<Option<Present>, Ended> {
    match shared.engine.image(name, PullPolicy::Never, &|_| {}).await {
        Ok(present) => Ok(Some(present)),
        Err(failure) if failure.reason == EndReason::ImageNotFound => Ok(None),
        Err(failure) => Err(ended(name, failure)),
    }
}

fn ended(image: &str, failure: Failure) -> Ended {
    Ended::before_start(failure.reason, format!("image {image}: {}", failure.message))
}
