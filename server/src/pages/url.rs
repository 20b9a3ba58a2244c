//! Addresses of our own pages and routes. Every href built from data goes through here, so none can leave the grid or run code.
use std::fmt::Write;

use dsg_schemas::ids::{AttemptId, ChunkId, JobId, RunnerId, stage_name};
use maud::{Escaper, Render};

/// A path on this server, with every piece of data percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeUrl(String);

impl SafeUrl {
    pub fn fixed(path: &'static str) -> SafeUrl {
        SafeUrl(path.to_owned())
    }
    pub fn job(job: JobId) -> SafeUrl {
        SafeUrl(format!("/jobs/{job}"))
    }
    pub fn job_act(job: JobId) -> SafeUrl {
        SafeUrl(format!("/jobs/{job}/act"))
    }
    pub fn chunk(chunk: ChunkId) -> SafeUrl {
        SafeUrl(format!("/jobs/{}/chunks/{}/{}", chunk.job, stage_name(chunk.stage), chunk.index))
    }
    pub fn chunk_retry(chunk: ChunkId) -> SafeUrl {
        SafeUrl(format!("{}/retry", SafeUrl::chunk(chunk).0))
    }
    /// Its card.
    pub fn runner(runner: RunnerId) -> SafeUrl {
        SafeUrl(format!("/runners#runner-{runner}"))
    }
    pub fn runner_act(runner: RunnerId) -> SafeUrl {
        SafeUrl(format!("/runners/{runner}/act"))
    }
    pub fn manifest(job: JobId) -> SafeUrl {
        SafeUrl(format!("/api/v1/jobs/{job}/manifest"))
    }
    pub fn map(job: JobId) -> SafeUrl {
        SafeUrl(format!("/api/v1/jobs/{job}/map"))
    }
    pub fn log(attempt: AttemptId) -> SafeUrl {
        SafeUrl(format!("/api/v1/attempts/{attempt}/log"))
    }
    pub fn raw_log(attempt: AttemptId) -> SafeUrl {
        SafeUrl(format!("/api/v1/attempts/{attempt}/log/raw"))
    }
    pub fn blob(sha256: &str) -> SafeUrl {
        SafeUrl("/api/v1/blobs/sha256".to_owned()).under(sha256)
    }
    pub fn token_revoke(id: &str) -> SafeUrl {
        SafeUrl("/tokens".to_owned()).under(id).under("revoke")
    }
    /// One more piece of path. Never `.` or `..`, which a browser would resolve.
    fn under(mut self, piece: &str) -> SafeUrl {
        self.0.push('/');
        match piece {
            "." | ".." => self.0.push('_'),
            piece => encode(piece, &mut self.0),
        }
        self
    }
    /// `?key=value`, or `&key=value` where there is one already; left out if the value is empty.
    pub fn with(mut self, key: &'static str, value: &str) -> SafeUrl {
        if !value.is_empty() {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(key);
            self.0.push('=');
            encode(value, &mut self.0);
        }
        self
    }
    /// `#place`.
    pub fn at(mut self, place: &'static str) -> SafeUrl {
        self.0.push('#');
        self.0.push_str(place);
        self
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Render for SafeUrl {
    fn render_to(&self, page: &mut String) {
        let _ = Escaper::new(page).write_str(&self.0);
    }
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
pub fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => into.push(byte as char),
            other => {
                let _ = write!(into, "%{other:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_leave_its_place_in_an_address() {
        assert_eq!(SafeUrl::blob("../../login?x#y").as_str(), "/api/v1/blobs/sha256/..%2F..%2Flogin%3Fx%23y");
        assert_eq!(SafeUrl::token_revoke("..").as_str(), "/tokens/_/revoke");
        let url = SafeUrl::fixed("/jobs").with("owner", "a&b=c").with("text", "").with("state", "é\0").at("list");
        assert_eq!(url.as_str(), "/jobs?owner=a%26b%3Dc&state=%C3%A9%00#list");
        assert_eq!(url.render().into_string(), "/jobs?owner=a%26b%3Dc&amp;state=%C3%A9%00#list");
    }
}
