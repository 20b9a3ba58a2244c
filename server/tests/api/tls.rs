//! The lab's own certificate: used as it is, and taken up anew when it is renewed, without a restart.
use std::path::Path;

use dsg_schemas::api::Overview;
use dsg_server::{Config, Server, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::grid::PATIENCE;

/// A CA of the lab, and a certificate of it for the loopback, written where the server reads it. Answers with the CA.
fn issue(folder: &Path) -> String {
    let ca_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &Issuer::new(params, ca_key)).expect("a certificate");
    std::fs::write(folder.join("lab.key"), key.serialize_pem()).expect("written");
    std::fs::write(folder.join("lab.pem"), leaf.pem()).expect("written");
    ca.pem()
}

async fn overview(server: &Server, ca: &str) -> reqwest::Result<Overview> {
    let root = reqwest::Certificate::from_pem(ca.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().expect("a client");
    let request = client.get(format!("{}/api/v1/overview", server.url)).bearer_auth(&server.admin_token);
    request.send().await?.error_for_status()?.json().await
}

async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    found.await.expect("in time")
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_and_a_broken_one_changes_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let first = issue(data.path());
    let tls = Tls::Files { cert: data.path().join("lab.pem"), key: data.path().join("lab.key") };
    let server = dsg_server::start(Config { tls, ..Config::local(data.path()) }).await.expect("a server");
    assert!(server.ca_pem.is_none() && server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    assert!(overview(&server, &first).await.expect("trusted").banners.is_empty());

    let whole = std::fs::read(data.path().join("lab.pem")).expect("readable");
    std::fs::write(data.path().join("lab.pem"), "no certificate").expect("written");
    let banner = until(async || overview(&server, &first).await.expect("the old one stays").banners.pop()).await;
    assert!(banner.contains("certificate"), "{banner}");
    std::fs::write(data.path().join("lab.pem"), whole).expect("written");
    until(async || overview(&server, &first).await.expect("trusted").banners.is_empty().then_some(())).await;

    let second = issue(data.path());
    until(async || overview(&server, &second).await.ok()).await;
    assert!(overview(&server, &first).await.is_err(), "the old CA has not signed the new certificate");
    server.stop().await;
}
