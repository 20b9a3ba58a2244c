//! First contact: the token goes to the server that made it, and to no other.
use std::os::unix::fs::PermissionsExt;

use dsg_runner::container::pretend::PretendEngine;
use dsg_runner::{JoinError, RunError, join};
use dsg_schemas::reason::EndReason;

use crate::fake::{Fake, order};

#[tokio::test]
async fn a_token_pins_the_authority_and_everything_after_uses_it() {
    let (fake, engine, state) = (Fake::start_with_tls().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let mode = std::fs::metadata(state.path().join("identity.json")).expect("the identity").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a secret");
    let runner = fake.run(state.path(), &engine);
    let ended = fake.runs(order(1, &["lines=3", "run_ms=5"])).await;
    assert_eq!((ended.reason, fake.stdout(1).lines().count()), (EndReason::Succeeded, 3));
    runner.stop().await;
}

#[tokio::test]
async fn a_token_is_not_sent_to_another_server() {
    let (fake, impostor, state) =
        (Fake::start_with_tls().await, Fake::start_with_tls().await, tempfile::tempdir().expect("dir"));
    let error = join(state.path(), &impostor.url, &fake.token, "ada", false).await.expect_err("refused");
    assert!(matches!(error, RunError::Join(JoinError::Impostor { .. })), "{error}");
    // One that shows the right authority, but has no certificate from it, is found out by TLS itself.
    let replay = fake.token.replace("secret", "other");
    let error = join(state.path(), &fake.url, &replay, "ada", false).await.expect_err("refused");
    assert!(matches!(error, RunError::Join(JoinError::Link { .. })), "{error}");
    assert_eq!((impostor.change(|state| state.joins), fake.change(|state| state.joins)), (0, 1));
    assert!(!state.path().join("identity.json").exists());
}
