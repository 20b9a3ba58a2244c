//! Looks now and then whether the owner wants the host back, and tells when that changes.
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch as channel;

use super::{Owner, Probe, Word};
use crate::container::Engine;

/// A window ends within so long of its minute.
const EVERY: Duration = Duration::from_secs(5);

/// Looks once, and then goes on by itself until the receiver is dropped.
pub async fn watch(owner: Owner, engine: Arc<dyn Engine>) -> channel::Receiver<Word> {
    let (sender, receiver) = channel::channel(Word::default());
    if owner.is_empty() {
        return receiver;
    }
    let mut probe = Probe::default();
    let word = look(&owner, &engine, &mut probe);
    tell(&owner, &word);
    sender.send_replace(word);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = sender.closed() => return,
            }
            let word = look(&owner, &engine, &mut probe);
            sender.send_if_modified(|before| {
                let news = *before != word;
                if news {
                    tell(&owner, &word);
                }
                *before = word;
                news
            });
        }
    });
    receiver
}

fn look(owner: &Owner, engine: &Arc<dyn Engine>, probe: &mut Probe) -> Word {
    let ours = engine.cpu_ms().into_iter().collect();
    owner.decide(&probe.look(owner.only_when_idle.as_ref(), ours, Instant::now()))
}

fn tell(owner: &Owner, word: &Word) {
    match &word.why {
        Some(why) => tracing::info!(why, then = ?word.then, "the host is its owner's now"),
        None => {
            let until = owner.open_until(jiff::Timestamp::now()).unwrap_or_default();
            tracing::info!(until, "the grid may use the host");
        }
    }
}
