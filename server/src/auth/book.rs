//! Everything that opens a door: tokens, sessions, login links, and the credentials of runners, each by the hash of its secret.
use std::collections::BTreeMap;

use dsg_core::row::{Key, Row};
use dsg_schemas::api::{Role, TokenKind, TokenView};
use dsg_schemas::ids::RunnerId;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// To revoke it by; no secret.
    pub id: String,
    pub kind: Kind,
    /// Whom it stands for.
    pub name: String,
    pub created_ms: u64,
    pub expires_ms: Option<u64>,
    /// Join tokens: joins left.
    pub uses_left: Option<u32>,
    /// Of a session or link: the token behind it, with which it is revoked.
    pub parent: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Kind {
    Token {
        kind: TokenKind,
    },
    Session {
        role: Role,
    },
    /// Turned into a session once.
    Link {
        role: Role,
    },
}

impl Kind {
    /// What its holder is, where it stands for a person.
    pub fn role(self) -> Option<Role> {
        match self {
            Kind::Token { kind: TokenKind::Viewer } => Some(Role::Viewer),
            Kind::Token { kind: TokenKind::Submitter } => Some(Role::Submitter),
            Kind::Token { kind: TokenKind::Operator } => Some(Role::Operator),
            Kind::Token { kind: TokenKind::Admin } => Some(Role::Admin),
            Kind::Session { role } => Some(role),
            Kind::Token { kind: TokenKind::Join } | Kind::Link { .. } => None,
        }
    }
}

impl Entry {
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires| expires <= now_ms)
    }
}

/// The engine thread owns the book, and publishes a copy after each commit.
#[derive(Clone, Debug, Default)]
pub struct Book {
    entries: BTreeMap<String, Entry>,
    runners: BTreeMap<String, RunnerId>,
    /// Rows to write with the next commit.
    changed: BTreeMap<String, Option<Vec<u8>>>,
}

impl Book {
    pub fn load(rows: Vec<(String, Vec<u8>)>) -> Result<Book, serde_json::Error> {
        let mut book = Book::default();
        for (hash, bytes) in rows {
            book.entries.insert(hash, serde_json::from_slice(&bytes)?);
        }
        Ok(book)
    }

    pub fn get(&self, hash: &str) -> Option<&Entry> {
        self.entries.get(hash)
    }
    pub fn runner(&self, hash: &str) -> Option<RunnerId> {
        self.runners.get(hash).copied()
    }
    pub fn tokens(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries.iter().filter(|(_, entry)| matches!(entry.kind, Kind::Token { .. }))
    }

    pub fn put(&mut self, hash: String, entry: Entry) {
        // A row of our own types always has a JSON form; without it the entry is not kept either.
        if let Ok(bytes) = serde_json::to_vec(&entry) {
            self.changed.insert(hash.clone(), Some(bytes));
            self.entries.insert(hash, entry);
        }
    }
    pub fn remove(&mut self, hash: &str) -> Option<Entry> {
        let entry = self.entries.remove(hash)?;
        self.changed.insert(hash.to_owned(), None);
        Some(entry)
    }

    /// Removes a token and whatever was opened with it.
    pub fn revoke(&mut self, id: &str) -> bool {
        let known = self.tokens().any(|(_, entry)| entry.id == id);
        if known {
            self.remove_all(|entry| entry.id == id || entry.parent.as_deref() == Some(id));
        }
        known
    }
    pub fn forget_expired(&mut self, now_ms: u64) {
        self.remove_all(|entry| entry.is_expired(now_ms) && !matches!(entry.kind, Kind::Token { .. }));
    }
    fn remove_all(&mut self, which: impl Fn(&Entry) -> bool) {
        let hashes: Vec<String> =
            self.entries.iter().filter(|(_, entry)| which(entry)).map(|(hash, _)| hash.clone()).collect();
        for hash in hashes {
            self.remove(&hash);
        }
    }

    /// Takes one use of a join token.
    pub fn join(&mut self, hash: &str, now_ms: u64) -> Result<(), NoJoin> {
        let entry = self.entries.get(hash).ok_or(NoJoin::Unknown)?;
        if !matches!(entry.kind, Kind::Token { kind: TokenKind::Join }) {
            return Err(NoJoin::Unknown);
        }
        if entry.is_expired(now_ms) {
            return Err(NoJoin::Expired);
        }
        let mut entry = entry.clone();
        match entry.uses_left {
            Some(0) => return Err(NoJoin::Used),
            Some(uses) => entry.uses_left = Some(uses - 1),
            None => {}
        }
        self.put(hash.to_owned(), entry);
        Ok(())
    }

    /// Follows the rows of runners, whose credentials are here, too.
    pub fn follow<'a>(&mut self, rows: impl IntoIterator<Item = (&'a Key, Option<&'a Row>)>) -> bool {
        let mut followed = false;
        for (key, row) in rows {
            let Key::Runner(id) = key else { continue };
            self.runners.retain(|_, runner| runner != id);
            if let Some(Row::Runner(row)) = row {
                self.runners.insert(row.credential_sha256.clone(), *id);
            }
            followed = true;
        }
        followed
    }

    pub fn take_changes(&mut self) -> BTreeMap<String, Option<Vec<u8>>> {
        std::mem::take(&mut self.changed)
    }

    pub fn view(hash: &str, entry: &Entry, doors: &super::Doors) -> Option<TokenView> {
        let Kind::Token { kind } = entry.kind else { return None };
        Some(TokenView {
            id: entry.id.clone(),
            kind,
            name: entry.name.clone(),
            created_ms: entry.created_ms,
            expires_ms: entry.expires_ms,
            uses_left: entry.uses_left,
            last_used_ms: doors.last_used(hash),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoJoin {
    #[error("the server knows no such join token; make one with `dsg token join`")]
    Unknown,
    #[error("this join token has expired; make a new one with `dsg token join`")]
    Expired,
    #[error("this join token is used up; make a new one with `dsg token join`")]
    Used,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, kind: Kind, parent: Option<&str>) -> Entry {
        let (id, parent) = (id.to_owned(), parent.map(str::to_owned));
        Entry { id, kind, name: "mara".into(), created_ms: 0, expires_ms: Some(100), uses_left: Some(2), parent }
    }

    #[test]
    fn a_join_token_is_good_for_its_uses_and_its_time() {
        let mut book = Book::default();
        book.put("hash".into(), entry("1", Kind::Token { kind: TokenKind::Join }, None));
        book.put("user".into(), entry("2", Kind::Token { kind: TokenKind::Admin }, None));
        assert_eq!(book.join("hash", 100), Err(NoJoin::Expired));
        assert_eq!(book.join("hash", 99), Ok(()));
        assert_eq!(book.join("hash", 99), Ok(()));
        assert_eq!(book.join("hash", 99), Err(NoJoin::Used));
        assert_eq!(book.join("other", 0), Err(NoJoin::Unknown));
        assert_eq!(book.join("user", 0), Err(NoJoin::Unknown), "a token for people lets no runner join");
    }

    #[test]
    fn revoking_a_token_ends_its_sessions_and_survives_a_restart() {
        let mut book = Book::default();
        book.put("token".into(), entry("1", Kind::Token { kind: TokenKind::Admin }, None));
        book.put("session".into(), entry("2", Kind::Session { role: Role::Admin }, Some("1")));
        book.put("other".into(), entry("3", Kind::Session { role: Role::Admin }, None));
        assert!(!book.revoke("2"), "a session is no token");
        assert!(book.revoke("1"));
        assert!(book.get("token").is_none() && book.get("session").is_none() && book.get("other").is_some());
        let rows = book.take_changes().into_iter().filter_map(|(hash, bytes)| Some((hash, bytes?))).collect();
        let again = Book::load(rows).expect("rows");
        assert_eq!(again.entries, book.entries);
    }
}
