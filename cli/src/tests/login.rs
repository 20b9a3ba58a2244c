//! Logging in: to a server whose authority is its own, and to one that is not who it says.
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use axum_server::tls_rustls::RustlsConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::trust::{Fingerprint, pem};

/// An https server with an authority of its own. Returns its URL and the authority's fingerprint.
async fn tls_server() -> (String, Fingerprint) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .expect("parameters")
        .signed_by(&key, &authority)
        .expect("a leaf");
    let ca_der = authority.der().to_vec();
    let fingerprint = Fingerprint::of(&ca_der);
    let app = Router::new().fallback(move |request: Request| {
        let ca = pem(&ca_der);
        async move {
            let asked = asked(request).await;
            match (asked.uri.path(), asked.bearer.as_deref()) {
                ("/api/v1/ca", None) => Response::new(Body::from(ca)),
                ("/api/v1/whoami", Some("Bearer dsg_u_good")) => json(
                    200,
                    &serde_json::json!({"name": "marie", "role": "operator", "grid": "g", "version": "0.1.0", "protocol": 1}),
                ),
                ("/healthz", None) => Response::new(Body::from("ok")),
                _ => problem(401, "the server knows no such token"),
            }
        }
    });
    let config = RustlsConfig::from_der(vec![leaf.der().to_vec()], key.serialize_der()).await.expect("a config");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let server = axum_server::from_tcp_rustls(listener, config).expect("a server");
    tokio::spawn(server.serve(app.into_make_service()));
    (url, fingerprint)
}

#[tokio::test]
async fn a_token_with_the_fingerprint_is_all_it_takes() {
    let (url, fingerprint) = tls_server().await;
    let desk = Desk::new();
    let said = desk.dsg(&["login", &url, "--token", &format!("dsg_u_good.{fingerprint}")]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.starts_with(&format!("logged in to {url} as marie (operator); kept in ")), "{}", said.err);
    let path = desk.environment().config_path().expect("a path");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let said = desk.dsg(&["whoami"]).await;
    assert_eq!(
        (said.code, said.out.lines().next()),
        (0, Some("name     marie")),
        "the kept authority is enough: {}",
        said.err
    );
    // A program with a token file needs no login.
    let program = Desk::new();
    let file = program.put("token", format!("dsg_u_good.{fingerprint}\n"));
    let environment = Environment { url: Some(url.clone()), token_file: Some(file.into()), ..program.environment() };
    let login = environment.login().expect("read").expect("a login");
    let client = crate::client::Client::new(&login).await.expect("trusted");
    assert_eq!(client.get("ask who we are", "/api/v1/whoami").await.expect("an answer")["name"], "marie");
}

#[tokio::test]
async fn a_server_that_is_not_who_it_should_be_gets_no_token() {
    let (url, fingerprint) = tls_server().await;
    let other = "ab".repeat(32);
    let desk = Desk::new();
    let said = desk.dsg(&["login", &url, "--token", &format!("dsg_u_good.{other}")]).await;
    assert_eq!(said.code, 4);
    assert!(said.err.contains(&format!("its authority is {fingerprint}, not {other}")), "{}", said.err);
    // Nothing known: nobody is there to compare, so it is not trusted.
    let said = desk.dsg(&["login", &url, "--token", "dsg_u_good"]).await;
    assert_eq!(said.code, 4, "{}", said.err);
    assert!(said.err.contains(&fingerprint.to_string()) && said.err.contains("add --fingerprint"), "{}", said.err);
    let said = desk.dsg(&["login", &url, "--token", "dsg_u_wrong", "--fingerprint", &fingerprint.to_string()]).await;
    assert_eq!(said.code, 4);
    assert!(said.err.contains("cannot log in: the server knows no such token, in detail"), "{}", said.err);
    assert!(!desk.environment().config_path().expect("a path").exists(), "a login that failed is not kept");
}

#[tokio::test]
async fn a_login_link_becomes_a_token_of_our_own() {
    let fake = Fake::serve(|asked: Asked| async move {
        match asked.line().as_str() {
            "GET /login?code=dsg_l_once" => Response::builder().status(303).header("set-cookie", "dsg=dsg_s_x; Path=/; HttpOnly").header("location", "/").body(Body::empty()).expect("a response"),
            "GET /api/v1/whoami" => {
                json(200, &serde_json::json!({"name": "admin", "role": "admin", "grid": "g", "version": "0.1.0", "protocol": 1}))
            }
            "POST /api/v1/tokens" => {
                assert_eq!(asked.json(), serde_json::json!({"kind": "admin", "name": "admin", "hours": null, "uses": null}));
                let token = serde_json::json!({"id": "1", "kind": "admin", "name": "admin", "created_ms": 0, "expires_ms": null,
                                               "uses_left": null, "last_used_ms": null});
                json(201, &serde_json::json!({"token": token, "secret": "dsg_u_mine", "command": ""}))
            }
            _ => problem(404, "no such route"),
        }
    })
    .await;
    let desk = Desk::new();
    let said = desk.dsg(&["login", &format!("{}/login?code=dsg_l_once", fake.url)]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let login = desk.environment().login().expect("read").expect("a login");
    assert_eq!((login.url.as_str(), login.token.bearer()), (fake.url.as_str(), "dsg_u_mine"));
    let said = desk.dsg(&["login", &format!("{}/login?code=dsg_l_used", fake.url)]).await;
    assert_eq!(said.code, 4, "{}", said.err);
}
