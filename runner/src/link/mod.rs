//! The runner's calls to its server. Each has a deadline; none is repeated here: whoever asks knows whether to ask again.
mod first_contact;
mod problem;

use std::time::Duration;

use bytes::Bytes;
use dsg_schemas::api::BlobHave;
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::log::{self, LogAnswer};
use dsg_schemas::wire::{HelloAnswer, HelloRequest, JoinAnswer, JoinRequest, SecretValues, SyncAnswer, SyncRequest};
use futures_util::{Stream, StreamExt};
use http::StatusCode;
use reqwest::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;

use crate::spool::Identity;

pub use first_contact::{Invitation, JoinError, join};
pub use problem::LinkError;

const CALL: Duration = Duration::from_secs(15);
const BYTES: Duration = Duration::from_secs(120);
/// A download that stands still this long has failed.
const SILENCE: Duration = Duration::from_secs(30);

/// A connection pool to one server, with this runner's credential.
#[derive(Clone, Debug)]
pub struct Link {
    client: Client,
    base: String,
    credential: String,
}

impl Link {
    pub fn new(identity: &Identity) -> Result<Link, LinkError> {
        let client = first_contact::client(&identity.server, identity.ca_pem.as_deref())?;
        Ok(Link { client, base: identity.server.clone(), credential: identity.credential.clone() })
    }

    pub async fn hello(&self, request: &HelloRequest, within: Duration) -> Result<HelloAnswer, LinkError> {
        answer(self.post("runners/me/hello").json(request).timeout(within)).await
    }

    /// `within`: beside the time for which the server may hold the answer.
    pub async fn sync(&self, request: &SyncRequest, within: Duration) -> Result<SyncAnswer, LinkError> {
        let deadline = within + Duration::from_millis(request.wait_ms);
        answer(self.post("runners/me/sync").json(request).timeout(deadline)).await
    }

    /// Sends frames and hears what the server has.
    pub async fn log(&self, attempt: AttemptId, frames: Vec<u8>) -> Result<LogAnswer, LinkError> {
        let call = self.client.patch(self.url(&format!("attempts/{attempt}/log"))).bearer_auth(&self.credential);
        answer(call.header(http::header::CONTENT_TYPE, log::CONTENT_TYPE).body(frames).timeout(CALL * 2)).await
    }

    /// What the containers of an attempt that we hold are to find. Nothing of it may be written to a disk.
    pub async fn secrets(&self, attempt: AttemptId) -> Result<SecretValues, LinkError> {
        answer(self.post(&format!("attempts/{attempt}/secrets")).timeout(CALL)).await
    }

    /// Sends one piece of a blob. A piece that begins where the server is not is answered with where it is.
    pub async fn put_blob(&self, sha256: &str, offset: u64, size: u64, piece: Bytes) -> Result<BlobHave, LinkError> {
        let url = self.url(&format!("blobs/sha256/{sha256}?offset={offset}&size={size}"));
        let call = self.client.put(url).bearer_auth(&self.credential).body(piece).timeout(BYTES);
        let response = call.send().await?;
        let status = response.status();
        let body = response.bytes().await?;
        match serde_json::from_slice::<BlobHave>(&body) {
            Ok(have) if status.is_success() || status == StatusCode::CONFLICT => Ok(have),
            Ok(_) | Err(_) => Err(LinkError::from_body(status, &body)),
        }
    }

    /// The bytes of a blob from `offset` on.
    pub async fn blob(
        &self,
        sha256: &str,
        offset: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, LinkError>> + use<>, LinkError> {
        let mut call = self.client.get(self.url(&format!("blobs/sha256/{sha256}"))).bearer_auth(&self.credential);
        if offset > 0 {
            call = call.header(http::header::RANGE, format!("bytes={offset}-"));
        }
        let response = tokio::time::timeout(SILENCE, call.send()).await.map_err(|_| LinkError::silent())??;
        let status = response.status();
        if !status.is_success() {
            return Err(LinkError::from_body(status, &response.bytes().await?));
        }
        if offset > 0 && status != StatusCode::PARTIAL_CONTENT {
            return Err(LinkError::Broken("the server ignored the range of a download".to_owned()));
        }
        let pieces = response.bytes_stream();
        Ok(futures_util::stream::unfold(Some(Box::pin(pieces)), |pieces| async {
            let mut pieces = pieces?;
            match tokio::time::timeout(SILENCE, pieces.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(piece))) => Some((Ok(piece), Some(pieces))),
                Ok(Some(Err(error))) => Some((Err(error.into()), None)),
                Err(_) => Some((Err(LinkError::silent()), None)),
            }
        }))
    }

    /// Asks for a blob that nobody has: whether the server is there, is itself, and takes our credential. Changes nothing. Gives the
    /// server's time, if it says it.
    pub async fn knock(&self, within: Duration) -> Result<Option<u64>, LinkError> {
        let url = self.url(&format!("blobs/sha256/{}", "0".repeat(64)));
        let response = self.client.get(url).bearer_auth(&self.credential).timeout(within).send().await?;
        let status = response.status();
        let date = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        match LinkError::from_body(status, &response.bytes().await?) {
            // Our server's own words for "there is none".
            LinkError::Refused { status: 404, code, .. } if !code.is_empty() => Ok(date.and_then(|date| time(&date))),
            error => Err(error),
        }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(&self.credential)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }
}

/// As in `Sun, 06 Nov 1994 08:49:37 GMT`, in milliseconds.
fn time(date: &str) -> Option<u64> {
    jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_millisecond().try_into().ok()
}

async fn answer<T: DeserializeOwned>(call: RequestBuilder) -> Result<T, LinkError> {
    understand(call.send().await?).await
}

async fn understand<T: DeserializeOwned>(response: Response) -> Result<T, LinkError> {
    let status = response.status();
    let body = response.bytes().await?;
    if !status.is_success() {
        return Err(LinkError::from_body(status, &body));
    }
    serde_json::from_slice(&body).map_err(|error| LinkError::Broken(format!("cannot understand its answer: {error}")))
}

async fn exchange(client: &Client, base: &str, token: &str, name: &str) -> Result<JoinAnswer, LinkError> {
    let request = JoinRequest { name: name.to_owned() };
    answer(client.post(format!("{base}/api/v1/runners/join")).bearer_auth(token).json(&request).timeout(CALL)).await
}
