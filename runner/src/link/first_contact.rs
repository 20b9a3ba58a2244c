//! Join: the one moment in which the server's certificate authority is not yet known. It is fetched over a connection that
//! verifies nothing, compared with the fingerprint in the token, and from then on it is the only one that is believed; the
//! token itself is sent after that only. Where a person names the authority, nothing is fetched.
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Certificate, Client, ClientBuilder, Url};
use sha2::{Digest, Sha256};

use super::{CALL, LinkError, exchange};
use crate::hex;
use crate::spool::Identity;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("{0:?} is not the address of a server; write for instance https://lab:8420")]
    Address(String),
    #[error("{0} would send the token unencrypted; use https://, or say --insecure-http if the network is yours alone")]
    Unencrypted(String),
    #[error("this is not a join token: it begins with dsg_j_; make one with dsg token join")]
    NotAToken,
    #[error(
        "the token carries no fingerprint of the server's certificate authority; make a new one with dsg token join"
    )]
    NoFingerprint,
    #[error(
        "the server at {server} is not the one that made this token: its certificate authority is {found}, the token \
         says {expected}; do not use the token again before you know why"
    )]
    Impostor { server: String, found: String, expected: String },
    #[error("the file that --ca names holds no certificate in PEM form (it begins with {BEGIN})")]
    NoCertificate,
    #[error(
        "cannot join {server}: {source}; if its certificate is from an authority of your lab, give that one's with --ca FILE"
    )]
    UnknownAuthority { server: String, source: LinkError },
    #[error("cannot join {server}: {source}")]
    Link { server: String, source: LinkError },
}

/// `dsg_j_<secret>` or `dsg_j_<secret>.<hex sha256 of the CA certificate>`.
#[derive(Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub whole: &'a str,
    pub fingerprint: Option<&'a str>,
}

impl Token<'_> {
    pub fn parse(text: &str) -> Result<Token<'_>, JoinError> {
        let whole = text.trim();
        if !whole.starts_with("dsg_j_") {
            return Err(JoinError::NotAToken);
        }
        let fingerprint = whole.split_once('.').map(|(_, fingerprint)| fingerprint);
        if fingerprint.is_some_and(|text| text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit())) {
            return Err(JoinError::NotAToken);
        }
        Ok(Token { whole, fingerprint })
    }
}

/// What a host was given to join with.
#[derive(Clone, Copy, Debug)]
pub struct Invitation<'a> {
    /// As in `https://lab:8420`.
    pub server: &'a str,
    pub token: &'a str,
    /// What people shall call this runner.
    pub name: &'a str,
    /// The authority to believe, where somebody named it: then the token's fingerprint is not looked at.
    pub ca_pem: Option<&'a str>,
    pub insecure_http: bool,
}

/// Exchanges a join token for an identity.
pub async fn join(invitation: &Invitation<'_>) -> Result<Identity, JoinError> {
    let token = Token::parse(invitation.token)?;
    let url = address(invitation.server, invitation.insecure_http)?;
    let base = url.as_str().trim_end_matches('/').to_owned();
    // Without a fingerprint the server has a certificate of the lab's own, and the system's authorities vouch for it.
    let ca_pem = match (url.scheme(), invitation.ca_pem, token.fingerprint) {
        ("https", Some(pem), _) if pem.contains(BEGIN) => Some(pem.to_owned()),
        ("https", Some(_), _) => return Err(JoinError::NoCertificate),
        ("https", None, Some(fingerprint)) => Some(authority(&base, fingerprint).await?),
        (_, _, _) => None,
    };
    let fail = |source: LinkError| match &source {
        LinkError::Unreachable(text) if text.contains("certificate") => {
            JoinError::UnknownAuthority { server: base.clone(), source }
        }
        LinkError::Unreachable(_) | LinkError::Refused { .. } | LinkError::Broken(_) | LinkError::Certificate(_) => {
            JoinError::Link { server: base.clone(), source }
        }
    };
    let client = client(&base, ca_pem.as_deref()).map_err(fail)?;
    let answer = exchange(&client, &base, token.whole, invitation.name).await.map_err(fail)?;
    Ok(Identity {
        server: base,
        runner: answer.runner,
        name: answer.name,
        grid: answer.grid,
        credential: answer.credential,
        ca_pem,
    })
}

/// A client that believes this authority only; the system's, if the server has a certificate from there.
pub(super) fn client(base: &str, ca_pem: Option<&str>) -> Result<Client, LinkError> {
    let wrong = |error: reqwest::Error| LinkError::Certificate(error.to_string());
    let builder = match ca_pem {
        Some(pem) => builder().tls_certs_only(Certificate::from_pem_bundle(pem.as_bytes()).map_err(wrong)?),
        None if base.starts_with("https:") => builder(),
        None => builder().tls_certs_only([]),
    };
    builder.build().map_err(wrong)
}

fn builder() -> ClientBuilder {
    // Fails only where somebody else has installed one, which serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(10))
        .tcp_keepalive(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("dsg-runner/", env!("CARGO_PKG_VERSION")))
}

fn address(server: &str, insecure_http: bool) -> Result<Url, JoinError> {
    let wrong = || JoinError::Address(server.to_owned());
    let url = Url::parse(server).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?.trim_matches(['[', ']']);
    if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
        return Err(wrong());
    }
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback || insecure_http => Ok(url),
        "http" => Err(JoinError::Unencrypted(server.to_owned())),
        _ => Err(wrong()),
    }
}

async fn authority(base: &str, expected: &str) -> Result<String, JoinError> {
    let fail = |source| JoinError::Link { server: base.to_owned(), source };
    let unverified =
        builder().tls_danger_accept_invalid_certs(true).build().map_err(|error| fail(LinkError::from(error)))?;
    let pem = async {
        unverified.get(format!("{base}/api/v1/ca")).timeout(CALL).send().await?.error_for_status()?.text().await
    };
    let pem = pem.await.map_err(|error| fail(error.into()))?;
    let found = fingerprint(&pem).ok_or_else(|| fail(LinkError::Broken("it sends no certificate".to_owned())))?;
    if !found.eq_ignore_ascii_case(expected) {
        let (server, expected) = (base.to_owned(), expected.to_owned());
        return Err(JoinError::Impostor { server, found, expected });
    }
    Ok(pem)
}

/// Of a PEM text that holds exactly one certificate.
fn fingerprint(pem: &str) -> Option<String> {
    let (_, rest) = pem.split_once(BEGIN)?;
    let (body, after) = rest.split_once("-----END CERTIFICATE-----")?;
    if after.contains("-----BEGIN") {
        return None;
    }
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
    Some(hex(&Sha256::digest(der)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_apart_or_refused() {
        let fingerprint = "ab".repeat(32);
        let whole = format!("dsg_j_secret.{fingerprint}");
        let token = Token::parse(&whole).expect("a token");
        assert_eq!(token, Token { whole: &whole, fingerprint: Some(&fingerprint) });
        assert_eq!(Token::parse(" dsg_j_secret\n").expect("a token").fingerprint, None);
        for wrong in ["", "dsg_u_x", "dsg_j_x.abc", &format!("dsg_j_x.{}", "zz".repeat(32))] {
            assert!(Token::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_loopback_may_be_plain_unless_said() {
        for (server, insecure, fine) in [
            ("https://lab:8420", false, true),
            ("http://127.0.0.1:8420", false, true),
            ("http://[::1]:8420/", false, true),
            ("http://localhost:1", false, true),
            ("http://lab:8420", false, false),
            ("http://lab:8420", true, true),
            ("ftp://lab", true, false),
            ("lab:8420", true, false),
            ("https://lab:8420/grid", false, false),
        ] {
            assert_eq!(address(server, insecure).is_ok(), fine, "{server}");
        }
    }

    #[test]
    fn the_fingerprint_is_of_the_one_certificate() {
        let pem = "-----BEGIN CERTIFICATE-----\naGVs\nbG8=\n-----END CERTIFICATE-----\n";
        assert_eq!(fingerprint(pem), Some(hex(&Sha256::digest(b"hello"))));
        assert_eq!(fingerprint(&pem.repeat(2)), None);
        assert_eq!(fingerprint("nothing"), None);
    }
}
