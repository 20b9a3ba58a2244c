//! Word of new cgroups, as soon as the kernel makes one: where this engine keeps its containers is learnt from the first that was found.
//! Whoever waits for a cgroup without it has to look hundreds of times during a start.
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::follow::announced;

/// Between two looks for a cgroup during a start, which takes an engine 50 to 500 ms.
const UNTOLD: Duration = Duration::from_millis(2);
/// The same where the kernel tells: an engine may have begun to keep its containers elsewhere.
const TOLD: Duration = Duration::from_millis(100);
/// An event with the longest name that a folder may have.
const EVENT_BYTES: usize = 512;

pub(super) struct Births {
    place: Arc<Mutex<Place>>,
    news: watch::Receiver<u64>,
    /// `None`: the kernel gives no more of these, and looks must do.
    kernel: Option<(Arc<AsyncFd<OwnedFd>>, AbortOnDropHandle<()>)>,
}

/// The folder that is watched, and the kernel's name for that.
type Place = Option<(PathBuf, i32)>;

impl Births {
    pub(super) fn new() -> Births {
        let (tell, news) = watch::channel(0);
        let place = Arc::new(Mutex::new(None));
        let kernel = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(std::io::Error::from)
            .and_then(|kernel| announced(kernel, Interest::READABLE))
            .inspect_err(
                |error| tracing::debug!(%error, "the kernel does not announce cgroups here; they are looked for"),
            );
        let kernel = kernel.ok().map(|kernel| {
            let kernel = Arc::new(kernel);
            let listen = tokio::spawn(listen(kernel.clone(), place.clone(), tell));
            (kernel, AbortOnDropHandle::new(listen))
        });
        Births { place, news, kernel }
    }

    /// A container's cgroup was found in this folder: others will be made there.
    pub(super) fn learn(&self, folder: &Path) {
        let Some((kernel, _)) = &self.kernel else { return };
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(|(known, _)| known == folder) {
            return;
        }
        if let Some((_, before)) = place.take() {
            // It may be gone with its folder.
            let _ = inotify::remove_watch(&**kernel, before);
        }
        match inotify::add_watch(&**kernel, folder, WatchFlags::CREATE | WatchFlags::ONLYDIR) {
            Ok(watch) => *place = Some((folder.to_owned(), watch)),
            Err(error) => tracing::debug!(%error, "the kernel does not announce new cgroups; they are looked for"),
        }
    }

    /// To be taken before the first look, so that nothing is made between a look and the wait.
    pub(super) fn news(&self) -> News {
        News { news: self.news.clone(), place: self.place.clone() }
    }
}

pub(super) struct News {
    news: watch::Receiver<u64>,
    place: Arc<Mutex<Place>>,
}

impl News {
    /// Until another look is worth it.
    pub(super) async fn next(&mut self) {
        let is_told = self.place.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let pause = if is_told { TOLD } else { UNTOLD };
        if let Ok(Err(_)) = tokio::time::timeout(pause, self.news.changed()).await {
            // Nobody listens.
            tokio::time::sleep(UNTOLD).await;
        }
    }
}

async fn listen(kernel: Arc<AsyncFd<OwnedFd>>, place: Arc<Mutex<Place>>, tell: watch::Sender<u64>) {
    loop {
        let Ok(mut ready) = kernel.readable().await else { return };
        let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut events = Reader::new(kernel.get_ref(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::IGNORED) => {
                    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                    if place.as_ref().is_some_and(|(_, watch)| *watch == event.wd()) {
                        *place = None;
                    }
                }
                Ok(_) => tell.send_modify(|births| *births += 1),
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => {
                    tracing::debug!(%error, "the kernel announces new cgroups no more; they are looked for");
                    *place.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    return;
                }
            }
        }
        ready.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(births: &Births) -> Option<PathBuf> {
        births.place.lock().expect("a lock").as_ref().map(|(folder, _)| folder.clone())
    }

    async fn told(news: &mut News, doing: impl FnOnce()) -> bool {
        let before = *news.news.borrow_and_update();
        doing();
        let heard = tokio::time::timeout(Duration::from_secs(20), news.news.changed()).await;
        heard.is_ok() && *news.news.borrow() > before
    }

    #[tokio::test]
    async fn what_is_made_where_one_was_found_is_told() {
        let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let births = Births::new();
        let mut news = births.news();
        births.learn(here.path());
        births.learn(here.path());
        assert!(told(&mut news, || std::fs::create_dir(here.path().join("a")).expect("made")).await);
        births.learn(there.path());
        assert!(told(&mut news, || std::fs::create_dir(there.path().join("b")).expect("made")).await);
        assert_eq!(place(&births).as_deref(), Some(there.path()));
        // Of the first place nobody hears any more: what is told next is of the second.
        let told = told(&mut news, || {
            std::fs::create_dir(here.path().join("c")).expect("made");
            std::fs::create_dir(there.path().join("d")).expect("made");
        });
        assert!(told.await);
        assert_eq!(*news.news.borrow(), 3);
    }

    #[tokio::test]
    async fn a_place_that_goes_is_forgotten() {
        let here = tempfile::tempdir().expect("a folder");
        let births = Births::new();
        births.learn(here.path());
        assert!(place(&births).is_some());
        drop(here);
        let forgotten = async {
            while place(&births).is_some() {
                tokio::time::sleep(UNTOLD).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), forgotten).await.is_ok(), "still watched");
        births.learn(Path::new("/nowhere/at/all"));
        assert_eq!(place(&births), None, "and looks go on as before");
    }
}
