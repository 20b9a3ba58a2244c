//! As much of HTTP as an engine's socket needs, down to the byte: an answer can be cut anywhere, in its first line, too.
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    pub body: Vec<u8>,
}

/// `None`: the caller went away before it had asked.
pub async fn read(stream: &mut UnixStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    assert_eq!(header("transfer-encoding"), None, "this engine reads bodies of a known length only");
    let length = header("content-length").map_or(0, |length| length.parse::<usize>().expect("a length"));
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = head.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), body: bytes[end..end + length].to_vec() })
}

/// The connection is over: the caller went away, or the answer has been cut.
pub struct Over;

/// What the caller gets to see of an answer.
pub struct Out {
    stream: UnixStream,
    /// Bytes until the cut.
    left: Option<usize>,
}

impl Out {
    pub fn new(stream: UnixStream, cut_at: Option<usize>) -> Out {
        Out { stream, left: cut_at }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let allowed = self.left.map_or(bytes.len(), |left| left.min(bytes.len()));
        self.stream.write_all(&bytes[..allowed]).await.map_err(|_| Over)?;
        if let Some(left) = &mut self.left {
            *left -= allowed;
        }
        if allowed < bytes.len() { Err(Over) } else { Ok(()) }
    }

    pub async fn json(&mut self, status: u16, body: &serde_json::Value) -> Result<(), Over> {
        self.text(status, &body.to_string()).await
    }

    /// With a length that is true of the text: a text that was cut before looks whole.
    pub async fn text(&mut self, status: u16, body: &str) -> Result<(), Over> {
        let body = if matches!(status, 204 | 304) { "" } else { body };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        self.write(&[head.as_bytes(), body.as_bytes()].concat()).await
    }

    /// The head of an answer that comes in chunks.
    pub async fn begin(&mut self, kind: &str) -> Result<(), Over> {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        self.write(head.as_bytes()).await
    }

    pub async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let head = format!("{:x}\r\n", bytes.len());
        self.write(&[head.as_bytes(), bytes, b"\r\n"].concat()).await
    }

    pub async fn end(&mut self) -> Result<(), Over> {
        self.write(b"0\r\n\r\n").await
    }

    /// Waits until the caller goes away.
    pub async fn abandoned(&mut self) {
        let mut byte = [0; 64];
        while self.stream.read(&mut byte).await.is_ok_and(|length| length > 0) {}
    }
}
