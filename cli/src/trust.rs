//! Whom to believe: a token, and the authority whose certificates are the server's.
//!
//! A server makes its own authority (CA) at its first start. Its fingerprint, the sha256 of the certificate's DER form, travels with
//! the token (`dsg_u_….<fingerprint>`) or is typed; what the server then presents must match it before the token is sent anywhere.
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::hash;

/// A token, perhaps with a fingerprint behind a dot.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// None if it cannot be a token: it goes into an HTTP header.
    pub fn parse(text: &str) -> Option<Secret> {
        let text = text.trim();
        let good = text.starts_with("dsg_") && text.len() <= 512;
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        (good && plain).then(|| Secret(text.to_owned()))
    }

    /// What is sent.
    pub fn bearer(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }

    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.0.split_once('.').and_then(|(_, behind)| Fingerprint::parse(behind))
    }

    /// Without the fingerprint, which is no longer needed once the authority itself is kept.
    pub fn without_fingerprint(&self) -> Secret {
        Secret(self.bearer().to_owned())
    }
}

/// The sha256 of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// 64 hexadecimal digits; colons and `sha256:` are fine.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        let text = text.trim().to_ascii_lowercase();
        let digits: String = text.trim_start_matches("sha256:").chars().filter(|c| *c != ':').collect();
        let whole = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        whole.then_some(Fingerprint(digits))
    }

    pub fn of(der: &[u8]) -> Fingerprint {
        Fingerprint(hash::of_bytes(der))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first certificate in a PEM text.
pub fn der(pem: &str) -> Option<Vec<u8>> {
    let (_, behind) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = behind.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok()
}

/// The certificate as PEM, and nothing that stood around it.
pub fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = behind;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// What was presented, checked against what was promised. Only what matched is returned.
pub fn matching(presented_pem: &str, promised: &Fingerprint) -> Result<String, Failure> {
    let found =
        der(presented_pem).ok_or_else(|| Failure::other("the server presented something that is no certificate"))?;
    let seen = Fingerprint::of(&found);
    if seen == *promised {
        return Ok(pem(&found));
    }
    let message = format!("this is not the server that the token is for: its authority is {seen}, not {promised}");
    Err(Failure::new(Exit::Auth, message)
        .hint("check the URL and ask the admin for a fresh token; nothing secret was sent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_carry_a_fingerprint() {
        let print = "ab".repeat(32);
        let secret = Secret::parse(&format!(" dsg_u_Xy-_9.{print}\n")).expect("a token");
        assert_eq!(secret.bearer(), "dsg_u_Xy-_9");
        assert_eq!(secret.fingerprint().expect("a fingerprint").to_string(), print);
        assert_eq!(secret.without_fingerprint().fingerprint(), None);
        for text in ["", "abc", "dsg_u_a b", "dsg_u_a\nX: y", "dsg_u_ü"] {
            assert_eq!(Secret::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn fingerprints_are_read_in_the_forms_people_paste() {
        let print = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        for text in [print.as_str(), &format!("sha256:{print}"), &colons] {
            assert_eq!(Fingerprint::parse(text).expect(text).to_string(), print);
        }
        for text in ["", "0f", &"0g".repeat(32), &"0f".repeat(33)] {
            assert_eq!(Fingerprint::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_the_promised_authority_is_believed() {
        let real = pem(b"the real certificate, long enough to need more than one line of base64 text");
        let promised = Fingerprint::of(b"the real certificate, long enough to need more than one line of base64 text");
        let with_more = format!("junk\n{real}{}", pem(b"another"));
        assert_eq!(matching(&with_more, &promised), Ok(real), "what stands behind it is dropped");
        let failure = matching(&pem(b"another"), &promised).expect_err("refused");
        assert_eq!(failure.exit, Exit::Auth);
        assert!(matching("no certificate", &promised).is_err());
    }
}
