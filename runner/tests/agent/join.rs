//! First contact: the token goes to the server that made it, and to no other.
use std::os::unix::fs::PermissionsExt;

use dsg_runner::container::pretend::PretendEngine;
use dsg_runner::{Invitation, JoinError, RunError, join};
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
    let error =
        join(state.path(), &Invitation { server: &impostor.url, ..fake.invitation() }).await.expect_err("refused");
    assert!(matches!(error, RunError::Join(JoinError::Impostor { .. })), "{error}");
    // One that shows the right authority, but has no certificate from it, is found out by TLS itself.
    let replay = fake.token.replace("secret", "other");
    let error = join(state.path(), &Invitation { token: &replay, ..fake.invitation() }).await.expect_err("refused");
    assert!(matches!(error, RunError::Join(JoinError::Link { .. })), "{error}");
    assert_eq!((impostor.change(|state| state.joins), fake.change(|state| state.joins)), (0, 1));
    assert!(!state.path().join("identity.json").exists());
}

#[tokio::test]
async fn a_lab_can_have_an_authority_of_its_own() {
    let (fake, other) = (Fake::start_with_tls().await, Fake::start_with_tls().await);
    let (engine, state) = (PretendEngine::new(), tempfile::tempdir().expect("dir"));
    // Where a certificate was given to the server, its tokens carry no fingerprint.
    let plain = Invitation { token: "dsg_j_plain", ..fake.invitation() };
    let error = join(state.path(), &plain).await.expect_err("nobody vouches for it");
    assert!(error.to_string().contains("--ca FILE"), "{error}");
    // What a person names counts, whatever the token says.
    let wrong = Invitation { ca_pem: Some(&other.ca_pem), ..fake.invitation() };
    let error = join(state.path(), &wrong).await.expect_err("another authority");
    assert!(matches!(error, RunError::Join(JoinError::UnknownAuthority { .. })), "{error}");
    let none = Invitation { ca_pem: Some("a page of HTML"), ..fake.invitation() };
    let error = join(state.path(), &none).await.expect_err("no certificate");
    assert!(matches!(error, RunError::Join(JoinError::NoCertificate)), "{error}");
    assert_eq!(fake.change(|state| state.joins), 0, "the token was sent to nobody");

    let right = Invitation { ca_pem: Some(&fake.ca_pem), ..fake.invitation() };
    join(state.path(), &right).await.expect("joined");
    // From now on it is remembered.
    let runner = fake.run(state.path(), &engine);
    assert_eq!(fake.runs(order(1, &[])).await.reason, EndReason::Succeeded);
    runner.stop().await;
}
