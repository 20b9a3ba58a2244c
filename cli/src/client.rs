//! The way to the server: one authority, one token, patient where patience can help, and errors that say what to do.
use std::error::Error as _;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dsg_schemas::api::{Act, Acted, Page, Problem};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::trust::{self, Fingerprint};

/// What one answer may take. Streams and pieces of files have their own limits.
const ANSWER: Duration = Duration::from_secs(60);
/// An answer with the reason for a refusal is never longer.
const PROBLEM_BYTES: usize = 8 << 20;
/// A stream that says nothing for so long is dead: the server sends a sign of life every 15 s.
pub const SILENCE: Duration = Duration::from_secs(45);

/// How long to try again while the server cannot be reached or is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: doing it twice would have two effects.
    None,
    /// About two seconds: a person waits.
    Brief,
    /// About two minutes: work has been done that should not be lost.
    Long,
}

impl Patience {
    fn limit(self) -> Duration {
        match self {
            Patience::None => Duration::ZERO,
            Patience::Brief => Duration::from_secs(2),
            Patience::Long => Duration::from_secs(120),
        }
    }
}

/// A server that we are logged in to.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    bearer: String,
}

/// Installs the one TLS implementation; more than once does no harm.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn builder(base: &Url) -> reqwest::ClientBuilder {
    use_ring();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("dsg/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(5))
        // A redirect would carry the token to where nobody meant it to go.
        .redirect(reqwest::redirect::Policy::none());
    if is_loopback(base) { builder.no_proxy() } else { builder }
}

pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// The address of a server as typed; `lab` and `lab:8420` are taken as `https://lab:8420`.
pub fn parse_url(text: &str) -> Result<Url, Failure> {
    let fail = || {
        Failure::usage(format!("{text:?} is not the address of a server")).hint("write for instance https://lab:8420")
    };
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&whole).map_err(|_| fail())?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() || !url.username().is_empty() {
        return Err(fail());
    }
    if !text.contains("://") && url.port().is_none() {
        url.set_port(Some(8420)).map_err(|()| fail())?;
    }
    Ok(url)
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Failure> {
    builder.build().map_err(|error| Failure::other(format!("cannot prepare the connection: {}", root_cause(&error))))
}

/// Connections that carry no token of ours, to a server whose certificate comes from this authority or one that the system knows.
pub fn plain(base: &Url, ca_pem: Option<&str>) -> Result<reqwest::Client, Failure> {
    let mut builder = builder(base);
    if let Some(pem) = ca_pem {
        let authority = reqwest::Certificate::from_pem(pem.as_bytes())
            .map_err(|error| Failure::other(format!("the authority of the server is no certificate: {error}")))?;
        builder = builder.tls_certs_only([authority]);
    }
    build(builder)
}

/// Does the system know whoever signed the server's certificate?
pub async fn is_known_to_system(base: &Url) -> Result<(), Failure> {
    let url = format!("{}/healthz", base.as_str().trim_end_matches('/'));
    let sent = plain(base, None)?.get(url).timeout(Duration::from_secs(15)).send().await;
    sent.map(drop).map_err(|error| unreachable(base, &error))
}

impl Client {
    /// Fetches and checks the authority first where the token names its fingerprint and no authority is kept.
    pub async fn new(config: &Config) -> Result<Client, Failure> {
        let base = parse_url(&config.url)?;
        let promised = config.token.fingerprint().filter(|_| base.scheme() == "https");
        let ca_pem = match (&config.ca_pem, promised) {
            (Some(pem), _) => Some(pem.clone()),
            (None, Some(promised)) => Some(trust::matching(&presented_authority(&base).await?, &promised)?),
            (None, None) => None,
        };
        let http = plain(&base, ca_pem.as_deref())?;
        Ok(Client { http, base, bearer: config.token.bearer().to_owned() })
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// A request with our token, to be sent with [`send`](Client::send).
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(&self.bearer)
    }

    pub async fn get(&self, attempted: &str, path: &str) -> Result<Value, Failure> {
        let build = || self.request(Method::GET, path).timeout(ANSWER);
        let (status, body) = self.exchange(attempted, Patience::Brief, build).await?;
        accepted(attempted, status, &body)
    }

    /// As [`get`](Client::get), understood.
    pub async fn get_as<T: DeserializeOwned>(&self, attempted: &str, path: &str) -> Result<T, Failure> {
        understand(attempted, self.get(attempted, path).await?)
    }

    pub async fn post(
        &self,
        attempted: &str,
        path: &str,
        body: &impl Serialize,
        patience: Patience,
    ) -> Result<Value, Failure> {
        self.write(attempted, Method::POST, path, body, patience).await
    }

    /// As [`post`](Client::post), by another method.
    pub async fn write(
        &self,
        attempted: &str,
        method: Method,
        path: &str,
        body: &impl Serialize,
        patience: Patience,
    ) -> Result<Value, Failure> {
        let build = || self.request(method.clone(), path).json(body).timeout(ANSWER);
        let (status, body) = self.exchange(attempted, patience, build).await?;
        accepted(attempted, status, &body)
    }

    pub async fn delete(&self, attempted: &str, path: &str) -> Result<(), Failure> {
        self.send(attempted, Patience::Brief, || self.request(Method::DELETE, path).timeout(ANSWER)).await.map(drop)
    }

    /// Acts have one effect however often they are sent.
    pub async fn act(&self, attempted: &str, act: &Act) -> Result<(Acted, Value), Failure> {
        let value = self.post(attempted, "/api/v1/acts", act, Patience::Brief).await?;
        Ok((understand(attempted, value.clone())?, value))
    }

    /// Rows of a list, page after page, until there are `limit`. The flag says whether there are more.
    pub async fn rows(&self, attempted: &str, path: &str, limit: usize) -> Result<(Vec<Value>, bool), Failure> {
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page: Page<Value> = self.get_as(attempted, &with_cursor(path, cursor.as_deref())).await?;
            let empty = page.rows.is_empty();
            rows.extend(page.rows);
            let more = page.next.is_some();
            if rows.len() >= limit {
                let cut = rows.len() > limit;
                rows.truncate(limit);
                return Ok((rows, more || cut));
            }
            if page.next.is_none() || (empty && page.next == cursor) {
                return Ok((rows, false));
            }
            cursor = page.next;
        }
    }

    /// Sends until it is answered with success, refused, or patience ends.
    pub async fn send(
        &self,
        attempted: &str,
        patience: Patience,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let response = self.answer(attempted, patience, build).await?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(attempted, response).await) }
    }

    /// As [`send`](Client::send), for callers to whom a refusal means something.
    pub async fn answer(
        &self,
        attempted: &str,
        patience: Patience,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Failure> {
        patiently(patience, || self.once(attempted, build())).await
    }

    /// The status and the whole body: an answer that breaks off is as lost as one that never came.
    pub async fn exchange(
        &self,
        attempted: &str,
        patience: Patience,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<(u16, Bytes), Failure> {
        patiently(patience, || async {
            let response = self.once(attempted, build()).await?;
            let status = response.status().as_u16();
            match response.bytes().await {
                Ok(body) => Ok((status, body)),
                Err(error) => Err((broke_off(attempted, &root_cause(&error)), None)),
            }
        })
        .await
    }

    async fn once(&self, attempted: &str, request: RequestBuilder) -> Result<Response, Again> {
        match request.send().await {
            Ok(response) if !matches!(response.status().as_u16(), 429 | 502 | 503 | 504) => Ok(response),
            Ok(response) => {
                let asked = retry_after(&response);
                Err((refusal(attempted, response).await, asked))
            }
            Err(error) => Err((unreachable(&self.base, &error), None)),
        }
    }
}

/// Worth another try, perhaps after the time that the server asked for.
type Again = (Failure, Option<Duration>);

async fn patiently<T, F: Future<Output = Result<T, Again>>>(
    patience: Patience,
    attempt: impl Fn() -> F,
) -> Result<T, Failure> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(150);
    loop {
        let (failure, asked) = match attempt().await {
            Ok(done) => return Ok(done),
            Err(again) => again,
        };
        let wait = asked.unwrap_or(pause);
        if begun.elapsed() + wait > patience.limit() {
            return Err(failure);
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// A whole answer, if it is not a refusal.
pub fn accepted(attempted: &str, status: u16, body: &[u8]) -> Result<Value, Failure> {
    match StatusCode::from_u16(status) {
        Ok(status) if !status.is_success() => Err(refusal_of(attempted, status, body)),
        Ok(_) | Err(_) => json(attempted, body),
    }
}

/// The transfer of something stopped before its end.
pub fn broke_off(attempted: &str, why: &str) -> Failure {
    Failure::new(Exit::Unreachable, format!("cannot {attempted}: the answer broke off: {why}"))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn with_cursor(path: &str, cursor: Option<&str>) -> String {
    match cursor {
        Some(cursor) => {
            let joint = if path.contains('?') { '&' } else { '?' };
            format!("{path}{joint}cursor={}", encode(cursor))
        }
        None => path.to_owned(),
    }
}

/// For a value in a query.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// An answer as JSON. An empty one is null.
pub fn json(attempted: &str, body: &[u8]) -> Result<Value, Failure> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|error| {
        Failure::other(format!("cannot {attempted}: the answer is not JSON: {error}"))
            .hint("is this the URL of a DSG server?")
    })
}

/// An answer as the type it should be.
pub fn understand<T: DeserializeOwned>(attempted: &str, value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        Failure::other(format!("cannot {attempted}: this dsg does not understand the server's answer: {error}"))
            .hint("use the dsg of the server's version; `dsg whoami` shows both")
    })
}

/// Why the server said no.
pub async fn refusal(attempted: &str, mut response: Response) -> Failure {
    let status = response.status();
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        if body.len() + piece.len() > PROBLEM_BYTES {
            break;
        }
        body.extend_from_slice(&piece);
    }
    refusal_of(attempted, status, &body)
}

pub fn refusal_of(attempted: &str, status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Failure::refused(attempted, problem),
        Err(_) => unnamed_refusal(attempted, status),
    }
}

fn unnamed_refusal(attempted: &str, status: StatusCode) -> Failure {
    let words = status.canonical_reason().unwrap_or("unknown status");
    let failure = Failure::new(
        Exit::of_status(status.as_u16()),
        format!("cannot {attempted}: the server answered {} {words}", status.as_u16()),
    );
    match status.is_redirection() {
        true => failure.hint("it points elsewhere; log in with the address that it really has"),
        false => failure,
    }
}

pub fn unreachable(base: &Url, error: &reqwest::Error) -> Failure {
    let cause = root_cause(error);
    let failure = Failure::new(Exit::Unreachable, format!("cannot reach {base}: {cause}"));
    if is_trust(&cause) {
        return failure.hint(
            "log in again with the fingerprint that the server prints at its start: `dsg login URL --fingerprint …`",
        );
    }
    match base.scheme() {
        "http" if !is_loopback(base) => {
            failure.hint("is it running, and reachable from here? A DSG server speaks https unless told otherwise")
        }
        _ => failure.hint("is it running, and reachable from here?"),
    }
}

/// Was it the certificate that was not believed?
pub fn is_trust(cause: &str) -> bool {
    cause.contains("certificate") || cause.contains("UnknownIssuer")
}

pub fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match error.source() {
        Some(_) => cause.to_string(),
        None => error.to_string(),
    }
}

/// The authority that a server says it has, from a connection that is not yet trusted: nothing secret is sent over it, and what
/// comes is worth nothing until its fingerprint was compared.
pub async fn presented_authority(base: &Url) -> Result<String, Failure> {
    let http = build(builder(base).tls_danger_accept_invalid_certs(true).tls_danger_accept_invalid_hostnames(true))?;
    let url = format!("{}/api/v1/ca", base.as_str().trim_end_matches('/'));
    let response =
        http.get(url).timeout(Duration::from_secs(15)).send().await.map_err(|error| unreachable(base, &error))?;
    if !response.status().is_success() {
        return Err(unnamed_refusal("ask the server for its authority", response.status()));
    }
    let bytes = response.bytes().await.map_err(|error| unreachable(base, &error))?;
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Failure::other("the server presented something that is no certificate"))
}

/// The fingerprint of what a server presents, to be compared by a person.
pub fn fingerprint_of(pem: &str) -> Option<Fingerprint> {
    trust::der(pem).map(|der| Fingerprint::of(&der))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_type_them() {
        let cases = [
            ("https://lab:8420", "https://lab:8420/"),
            ("lab", "https://lab:8420/"),
            ("lab:9000", "https://lab:9000/"),
            ("http://127.0.0.1:8420/", "http://127.0.0.1:8420/"),
            ("https://lab.example/dsg/", "https://lab.example/dsg/"),
        ];
        for (typed, url) in cases {
            assert_eq!(parse_url(typed).expect(typed).as_str(), url);
        }
        for typed in ["", "ftp://lab", "https://", "https://me:secret@lab", "a b"] {
            assert_eq!(parse_url(typed).expect_err(typed).exit, Exit::Usage, "{typed:?}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for (url, is) in
            [("http://127.0.0.1:1", true), ("http://localhost", true), ("http://[::1]:1", true), ("http://lab", false)]
        {
            assert_eq!(is_loopback(&parse_url(url).expect(url)), is, "{url}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("a b&c=ü/"), "a%20b%26c%3D%C3%BC%2F");
        assert_eq!(with_cursor("/x?state=failed", Some("a=")), "/x?state=failed&cursor=a%3D");
        assert_eq!(with_cursor("/x", None), "/x");
    }
}
