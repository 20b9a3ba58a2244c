//! Plain HTTP calls over the engine's socket, for what bollard has no call for (libpod's create) or reads too strictly: its
//! closed enums refuse a whole answer because of one state name that only Podman knows.
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use super::failure::{Trouble, chain};

/// An answer above this is no answer of an engine that works.
const ANSWER_BYTES: usize = 64 << 20;

#[derive(Clone, Debug)]
pub(super) struct Plain {
    pub socket: PathBuf,
    pub deadline: Duration,
}

impl Plain {
    pub(super) async fn get(&self, path: &str) -> Result<Value, Trouble> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// A call without a body, either way.
    pub(super) async fn order(&self, path: &str) -> Result<(), Trouble> {
        self.call(Method::POST, path, None).await.map(drop)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Trouble> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let exchange = exchange(&self.socket, method, path, body);
        let answer = tokio::time::timeout(self.deadline, exchange).await;
        answer.unwrap_or_else(|_| Err(Trouble::Silent(format!("no answer in {} s", self.deadline.as_secs()))))
    }
}

/// A connection of its own, and the answer's head.
async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    header: Option<(&str, &str)>,
    body: Option<&Value>,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Trouble> {
    let silent = |error: &dyn std::error::Error| Trouble::Silent(chain(error));
    let stream =
        UnixStream::connect(socket).await.map_err(|error| Trouble::Silent(format!("{}: {error}", socket.display())))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| silent(&error))?;
    // How it ended shows in the answer.
    let driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json");
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(bytes)).map_err(|error| Trouble::Strange(chain(&error)))?;
    let answer = sender.send_request(request).await.map_err(|error| silent(&error))?;
    Ok((answer, driver))
}

async fn exchange(socket: &Path, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
    let (answer, _driver) = ask(socket, method, path, None, body).await?;
    let status = answer.status();
    let read = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
    let bytes = read.map_err(|error| Trouble::Silent(error.to_string()))?.to_bytes();
    let value = serde_json::from_slice::<Value>(&bytes);
    if status.is_success() {
        return match value {
            Ok(value) => Ok(value),
            Err(_) if bytes.is_empty() => Ok(Value::Null),
            Err(error) => Err(Trouble::Strange(error.to_string())),
        };
    }
    Err(refused(status.as_u16(), &bytes))
}

fn refused(status: u16, bytes: &[u8]) -> Trouble {
    let said =
        serde_json::from_slice::<Value>(bytes).ok().and_then(|value| value["message"].as_str().map(str::to_owned));
    let message = said.unwrap_or_else(|| String::from_utf8_lossy(bytes).trim().to_owned());
    Trouble::Refused { status, message }
}

/// An answer that comes line by line, each of them JSON.
pub(super) struct Lines {
    body: Incoming,
    read: Vec<u8>,
    _driver: AbortOnDropHandle<()>,
}

impl Plain {
    /// Without a deadline: whoever reads has one between two lines.
    pub(super) async fn lines(&self, path: &str, header: Option<(&str, &str)>) -> Result<Lines, Trouble> {
        let (answer, driver) = ask(&self.socket, Method::POST, path, header, None).await?;
        let (status, body) = (answer.status(), answer.into_body());
        if status.is_success() {
            return Ok(Lines { body, read: Vec::new(), _driver: driver });
        }
        let read = Limited::new(body, ANSWER_BYTES).collect().await;
        Err(refused(status.as_u16(), &read.map(|read| read.to_bytes()).unwrap_or_default()))
    }
}

impl Lines {
    /// `None`: it is over. One that breaks off is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, Trouble> {
        loop {
            let end = self.read.iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                match line.trim_ascii() {
                    [] => continue,
                    line => return parsed(line).map(Some),
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Some(Err(error)) => return Err(Trouble::Silent(chain(&error))),
                None if self.read.trim_ascii().is_empty() => return Ok(None),
                None => return parsed(std::mem::take(&mut self.read).trim_ascii()).map(Some),
            }
            if self.read.len() > ANSWER_BYTES {
                return Err(Trouble::Strange("a line without an end".to_owned()));
            }
        }
    }
}

fn parsed(line: &[u8]) -> Result<Value, Trouble> {
    serde_json::from_slice(line).map_err(|error| Trouble::Strange(error.to_string()))
}

/// A value for a query.
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// An image name for a path: what separates its parts stays, everything else is escaped.
pub(super) fn escaped_path(text: &str) -> String {
    text.split('/').map(|part| escaped(part).replace("%3A", ":").replace("%40", "@")).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_the_address() {
        assert_eq!(escaped("{\"a\":1}"), "%7B%22a%22%3A1%7D");
        assert_eq!(escaped_path("docker.io/lab/x:1@sha256:ab"), "docker.io/lab/x:1@sha256:ab");
        assert_eq!(escaped_path("x?y#z w"), "x%3Fy%23z%20w");
    }

    #[tokio::test]
    async fn no_socket_is_silence_not_a_refusal() {
        let folder = std::env::temp_dir().join(format!("dsg-plain-{}", std::process::id()));
        let plain = Plain { socket: folder.join("none.sock"), deadline: Duration::from_secs(5) };
        let trouble = plain.get("/info").await.expect_err("nobody listens");
        assert!(matches!(&trouble, Trouble::Silent(text) if text.contains("none.sock")), "{trouble:?}");
    }
}
