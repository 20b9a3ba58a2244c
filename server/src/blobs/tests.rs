//! A blob is complete and right, or it is not there.
use std::collections::HashSet;
use std::convert::Infallible;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dsg_schemas::api::BlobHave;
use futures_util::stream;

use super::*;

fn open(dir: &Path) -> Arc<BlobStore> {
    Arc::new(BlobStore::open(dir).expect("opens"))
}

async fn send(
    store: &Arc<BlobStore>,
    hash: BlobHash,
    offset: u64,
    size: u64,
    bytes: &[u8],
) -> Result<BlobHave, BlobError> {
    let parts: Vec<Result<Bytes, Infallible>> =
        bytes.chunks(1000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    store.piece(hash, offset, size, stream::iter(parts)).await
}

fn content(store: &BlobStore, hash: BlobHash) -> Vec<u8> {
    let (mut file, size) = store.read(hash).expect("is there");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("reads");
    assert_eq!(bytes.len() as u64, size);
    bytes
}

fn text(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 % 251) as u8).collect()
}

#[tokio::test]
async fn pieces_make_a_blob_over_restarts_and_wrong_offsets() {
    let dir = tempfile::tempdir().expect("a folder");
    let bytes = text(700_000);
    let (hash, size) = (BlobHash::of(&bytes), bytes.len() as u64);
    let mut store = open(dir.path());
    let mut have = 0;
    for end in [1, 300_000, 300_001, 699_999] {
        let answer = send(&store, hash, have, size, &bytes[have as usize..end]).await.expect("is taken");
        assert_eq!(answer, BlobHave { have: end as u64, complete: false });
        have = answer.have;
        assert!(store.size(hash).expect("looks").is_none(), "not there before it is whole");
        store = open(dir.path());
        for wrong in [have - 1, have + 1] {
            match send(&store, hash, wrong, size, b"x").await {
                Err(BlobError::Elsewhere(answer)) => assert_eq!(answer, BlobHave { have, complete: false }),
                other => panic!("{other:?}"),
            }
        }
    }
    let answer = send(&store, hash, have, size, &bytes[have as usize..]).await.expect("is taken");
    assert_eq!(answer, BlobHave { have: size, complete: true });
    assert_eq!(content(&store, hash), bytes);
    assert_eq!(send(&store, hash, 5, size, b"again").await.expect("known"), answer);
    assert_eq!(fs::read_dir(dir.path().join("partial")).expect("lists").count(), 0);
}

#[tokio::test]
async fn wrong_bytes_and_too_many_bytes_never_become_a_blob() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let hash = BlobHash::of(b"right");
    match send(&store, hash, 0, 5, b"wrong").await {
        Err(BlobError::WrongHash { found, .. }) => assert_eq!(found, BlobHash::of(b"wrong")),
        other => panic!("{other:?}"),
    }
    assert!(store.size(hash).expect("looks").is_none());
    assert!(matches!(send(&store, hash, 0, 5, b"right and more").await, Err(BlobError::TooLong { size: 5 })));
    assert!(send(&store, hash, 5, 5, b"").await.expect("the honest part was kept").complete);
    assert_eq!(content(&store, hash), b"right");
    // An honest sender after one who spoke of a larger size.
    let (hash, garbage) = (BlobHash::of(b"short"), b"far too much");
    assert!(!send(&store, hash, 0, 99, garbage).await.expect("nobody can know yet").complete);
    match send(&store, hash, 0, 5, b"short").await {
        Err(BlobError::Elsewhere(BlobHave { have: 0, complete: false })) => {}
        other => panic!("{other:?}"),
    }
    assert!(send(&store, hash, 0, 5, b"short").await.expect("from the start").complete);
    assert!(send(&store, BlobHash::of(b""), 0, 0, b"").await.expect("an empty blob").complete);
    assert!(matches!(send(&store, BlobHash::of(b"x"), 0, u64::MAX / 2, b"x").await, Err(BlobError::DiskFull(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_of_the_same_blob_help_each_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let bytes = Arc::new(text(200_000));
    let (hash, size) = (BlobHash::of(&bytes), bytes.len() as u64);
    let sender = |step: usize| {
        let (store, bytes) = (store.clone(), bytes.clone());
        tokio::spawn(async move {
            let mut have = BlobHave { have: 0, complete: false };
            while !have.complete {
                let at = have.have as usize;
                let end = (at + step).min(bytes.len());
                have = match send(&store, hash, have.have, size, &bytes[at..end]).await {
                    Ok(have) | Err(BlobError::Elsewhere(have)) => have,
                    Err(error) => panic!("{error}"),
                };
            }
        })
    };
    let senders: Vec<_> = (0..8).map(|n| sender(7_001 + 1_003 * n)).collect();
    for sender in senders {
        sender.await.expect("gets through");
    }
    assert_eq!(content(&store, hash), *bytes);
}

#[tokio::test]
async fn a_sender_that_breaks_off_leaves_what_came() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let hash = BlobHash::of(b"half and half");
    let body = stream::iter([Ok(Bytes::from_static(b"half")), Err("connection reset")]);
    assert!(matches!(store.piece(hash, 0, 13, body).await, Err(BlobError::Body(_))));
    // One that leaves while its turn lasts: the future is dropped.
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b" and"))]);
    let body = futures_util::StreamExt::chain(body, stream::pending());
    tokio::select! {
        biased;
        _ = store.piece(hash, 4, 13, body) => panic!("never ends"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    let have = match send(&store, hash, 99, 13, b"").await {
        Err(BlobError::Elsewhere(have)) => have.have as usize,
        other => panic!("{other:?}"),
    };
    assert!(send(&store, hash, have as u64, 13, &b"half and half"[have..]).await.expect("goes on").complete);
}

#[test]
fn own_bytes_are_written_and_unused_ones_swept() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (kept, size) = store.write(b"kept").expect("writes");
    assert_eq!((kept, size), (BlobHash::of(b"kept"), 4));
    assert_eq!(store.write(b"kept").expect("writes again").0, kept);
    let (unused, _) = store.write(b"unused").expect("writes");
    let mut left = store.writer().expect("a writer");
    left.put(b"never finished").expect("writes");
    drop(left);
    fs::write(dir.path().join("partial").join(BlobHash::of(b"?").to_string()), b"half an upload").expect("writes");
    let keep = HashSet::from([kept.0]);
    assert_eq!(
        store.sweep(&keep, |_| Duration::from_secs(3600)).expect("sweeps"),
        Swept { too_young: 2, ..Swept::default() },
        "too new"
    );
    assert_eq!(store.sweep(&keep, |_| Duration::ZERO).expect("sweeps"), Swept { files: 2, bytes: 20, too_young: 0 });
    assert!(store.has(kept, 4) && !store.has(kept, 5));
    assert!(matches!(store.read(unused), Err(BlobError::Missing(_))));
    store.remove(kept).expect("removes");
    store.remove(kept).expect("twice is once");
    assert_eq!(fs::read_dir(dir.path().join("partial")).expect("lists").count(), 0);
}
