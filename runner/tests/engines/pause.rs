//! The engine's freezer: within a second of a pause the container uses no processor, and it can be let go on, stopped and removed.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dsg_runner::container::{Engine, State};

use crate::bench::Bench;

/// So long that no test outlives it, and unlike anything else on this host: both engines are tried at the same time.
fn seconds() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(86_400_031);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

pub async fn a_pause_really_pauses(bench: Arc<Bench>) {
    let (engine, kind) = (&bench.engine, &bench.kind);
    let (burns, other) = (seconds(), seconds());
    let id = engine.create(&bench.plan(31, &["burn-cpu", &burns])).await.expect("created");
    engine.start(&id).await.expect("started");
    let before = uses_more_than(&burns, 0).await;
    paused(&bench, &id).await;
    assert_eq!(engine.inspect(&id).await, Ok(State::Paused), "{kind}");
    assert_eq!(engine.pause(&id).await, Ok(()), "{kind}: twice is once");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let frozen = ticks(&burns).expect("it is still there");
    assert!(frozen >= before);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ticks(&burns), Some(frozen), "{kind}: a frozen container uses the processor");
    engine.unpause(&id).await.expect("let go on");
    assert_eq!(engine.unpause(&id).await, Ok(()), "{kind}: twice is once");
    uses_more_than(&burns, frozen).await;
    paused(&bench, &id).await;
    engine.stop(&id, 1_000).await.expect("stopped");
    assert_ne!(bench.ended(&id).await.code, 0, "{kind}");
    assert_eq!((engine.pause(&id).await, engine.unpause(&id).await), (Ok(()), Ok(())), "{kind}: after its end");
    bench.remove(&id).await;
    let id = engine.create(&bench.plan(32, &["burn-cpu", &other])).await.expect("created");
    engine.start(&id).await.expect("started");
    paused(&bench, &id).await;
    bench.remove(&id).await;
    assert_eq!(engine.inspect(&id).await, Ok(State::Gone), "{kind}: a frozen container can be removed");
}

/// runc gives up now and then ("unable to freeze"), more so where a container is only just beginning; the runner asks again, too.
async fn paused(bench: &Bench, id: &str) {
    let mut asked = 0;
    while let Err(failure) = bench.engine.pause(id).await {
        asked += 1;
        assert!(asked < 50, "{}: {failure}", bench.kind);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until the container has used more processor time than that; says how much.
async fn uses_more_than(word: &str, least: u64) -> u64 {
    loop {
        if let Some(used) = ticks(word).filter(|used| *used > least) {
            return used;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Processor time of the process on this host that has the word in its command line, in ticks of the kernel.
fn ticks(word: &str) -> Option<u64> {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten().map(|entry| entry.path());
    let mut burning = processes.filter(|path| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        // An init before it has the same words, and uses nothing.
        words.any(|part| part == b"burn-cpu") && words.next() == Some(word.as_bytes())
    });
    let used = |path: std::path::PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    burning.by_ref().filter_map(used).max()
}
