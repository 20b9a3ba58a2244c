//! A bad network between runners and their server, in one process: it loses, delays, doubles and cuts what is said by a seeded dice, and
//! can be parted for a while. One request per connection, so that each is met by exactly one fate.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What can become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Reaches nobody; the connection breaks.
    Lost,
    /// Reaches nobody, and for some seconds nobody says so.
    Silence,
    /// The server acts on it, the answer is lost.
    AnswerLost,
    /// Comes twice at once.
    Twin,
    /// Comes once more some time later, after newer ones.
    Echo,
    Late,
    /// Half of it arrives.
    Cut,
    /// Half of the answer arrives.
    AnswerCut,
    /// Something on the way says 503, in its own words.
    Refused,
}

pub const FATES: [Fate; 9] = [
    Fate::Lost,
    Fate::Silence,
    Fate::AnswerLost,
    Fate::Twin,
    Fate::Echo,
    Fate::Late,
    Fate::Cut,
    Fate::AnswerCut,
    Fate::Refused,
];

/// What the network does to whoever uses it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// So many of a hundred requests meet a fate, each of [`FATES`] as often as the others.
    pub percent: u64,
    /// Delays last up to this.
    pub late_ms: u64,
    /// Nothing passes. What is under way arrives when it is over, if anybody still waits for it.
    pub parted: bool,
    /// Messages in JSON carry a field more, as those of a newer version do.
    pub newer: bool,
}

pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
    listener: AbortHandle,
}

struct Shared {
    server: SocketAddr,
    weather: watch::Sender<Weather>,
    dice: Mutex<u64>,
    met: Mutex<BTreeMap<Fate, u64>>,
}

impl Proxy {
    /// In front of the server, in fair weather. The same seed throws the same fates in the same order.
    pub async fn start(server: SocketAddr, seed: u64) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let dice = Mutex::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (weather, _) = watch::channel(Weather::default());
        let shared = Arc::new(Shared { server, weather, dice, met: Mutex::default() });
        let serving = shared.clone();
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                // A broken connection is what this is for.
                tokio::spawn(async move { shared.exchange(stream).await.ok() });
            }
        });
        Ok(Proxy { url, shared, listener: listener.abort_handle() })
    }

    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Nothing passes for so long.
    pub async fn part(&self, time: Duration) {
        self.shared.weather.send_modify(|weather| weather.parted = true);
        tokio::time::sleep(time).await;
        self.shared.weather.send_modify(|weather| weather.parted = false);
    }

    /// How many requests met which fate.
    pub fn met(&self) -> BTreeMap<Fate, u64> {
        self.shared.met.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Shared {
    async fn exchange(self: Arc<Shared>, mut client: TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        let weather = *self.weather.borrow();
        let Some(mut request) = read_request(&mut client).await? else { return Ok(()) };
        if weather.newer {
            request = embellished(&request);
        }
        self.passage().await;
        let fate = self.throw();
        match fate {
            Some(Fate::Lost) => return Ok(()),
            Some(Fate::Silence) => {
                // Or until the caller hangs up.
                let silence = Duration::from_millis(weather.late_ms * 4);
                let _ = tokio::time::timeout(silence, client.read(&mut [0])).await;
                return Ok(());
            }
            Some(Fate::Refused) => {
                let answer = b"HTTP/1.1 503 Busy\r\ncontent-length: 5\r\nconnection: close\r\n\r\nbusy\n";
                return Ok(client.write_all(answer).await?);
            }
            Some(Fate::Cut) => {
                let mut server = TcpStream::connect(self.server).await?;
                return Ok(server.write_all(&request[..request.len() / 2]).await?);
            }
            Some(Fate::Late) => self.wait(weather.late_ms).await,
            Some(Fate::Twin) => self.again(request.clone(), 0),
            Some(Fate::Echo) => self.again(request.clone(), weather.late_ms),
            Some(Fate::AnswerLost | Fate::AnswerCut) | None => {}
        }
        let mut answer = self.ask(&request).await?;
        if weather.newer {
            answer = embellished(&answer);
        }
        self.passage().await;
        match fate {
            Some(Fate::AnswerLost) => {}
            Some(Fate::AnswerCut) => client.write_all(&answer[..answer.len() / 2]).await?,
            Some(_) | None => client.write_all(&answer).await?,
        }
        Ok(())
    }

    /// Returns when something can pass.
    async fn passage(&self) {
        // The sender is ours.
        drop(self.weather.subscribe().wait_for(|weather| !weather.parted).await);
    }

    async fn ask(&self, request: &[u8]) -> Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.server).await?;
        server.set_nodelay(true)?;
        server.write_all(request).await?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await?;
        Ok(answer)
    }

    /// Sends it once more, for nobody to hear the answer.
    fn again(self: &Arc<Shared>, request: Vec<u8>, late_ms: u64) {
        let shared = self.clone();
        tokio::spawn(async move {
            shared.wait(late_ms).await;
            shared.passage().await;
            shared.ask(&request).await.map(drop).ok()
        });
    }

    async fn wait(&self, at_most_ms: u64) {
        let wait = self.roll() % (at_most_ms + 1);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    fn throw(&self) -> Option<Fate> {
        let percent = self.weather.borrow().percent;
        if self.roll() % 100 >= percent {
            return None;
        }
        let fate = FATES[(self.roll() % FATES.len() as u64) as usize];
        *self.met.lock().unwrap_or_else(PoisonError::into_inner).entry(fate).or_default() += 1;
        Some(fate)
    }

    fn roll(&self) -> u64 {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        *dice >> 11
    }
}

/// One whole request, made the last one of its connection. `None`: the client went away without a word.
async fn read_request(client: &mut TcpStream) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let lines = std::str::from_utf8(&bytes[..head - 4]).context("a head that is no text")?.to_owned();
    if field(&lines, "transfer-encoding").is_some() {
        bail!("the proxy understands bodies of a known length only");
    }
    let length = field(&lines, "content-length").map_or(Ok(0), str::parse::<usize>)?;
    while bytes.len() < head + length {
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let kept: Vec<&str> = lines.split("\r\n").filter(|line| !is_field(line, "connection")).collect();
    let mut request = format!("{}\r\nconnection: close\r\n\r\n", kept.join("\r\n")).into_bytes();
    request.extend(&bytes[head..head + length]);
    Ok(Some(request))
}

fn is_field(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find(|line| is_field(line, name)).and_then(|line| line.split_once(':')).map(|(_, v)| v.trim())
}

/// A message of a later version: its JSON has a field that nobody knows yet. Anything else stays as it is.
fn embellished(message: &[u8]) -> Vec<u8> {
    const NEWS: &str = "{\"of_a_later_version\":{\"is\":[1]},";
    let Some(end) = message.windows(4).position(|four| four == b"\r\n\r\n") else { return message.to_vec() };
    let (head, body) = (String::from_utf8_lossy(&message[..end]), &message[end + 4..]);
    let is_json = field(&head, "content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let has_length = field(&head, "content-length").is_some();
    let Some(rest) = body.strip_prefix(b"{").filter(|rest| is_json && has_length && rest.len() > 1) else {
        return message.to_vec();
    };
    let lines: Vec<&str> = head.split("\r\n").filter(|line| !is_field(line, "content-length")).collect();
    let length = NEWS.len() + rest.len();
    let mut newer = format!("{}\r\ncontent-length: {length}\r\n\r\n{NEWS}", lines.join("\r\n")).into_bytes();
    newer.extend(rest);
    newer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_version_says_more_and_the_length_fits() {
        let old = b"POST /x HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        let newer = String::from_utf8(embellished(old)).expect("text");
        let (head, body) = newer.split_once("\r\n\r\n").expect("a body");
        assert_eq!(field(head, "content-length"), Some(body.len().to_string().as_str()));
        let value: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&value["a"], &value["of_a_later_version"]["is"][0]), (&1.into(), &1.into()));
        let other = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(embellished(other), other);
    }
}
