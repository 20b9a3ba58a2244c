//! The doors: who comes in with which secret, seen by many threads at once.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use dsg_schemas::api::{Role, TokenKind};

use super::book::{Book, Kind};
use super::caller::{Caller, Joiner};
use super::secret;
use crate::failure::{Failure, Reply};

/// Failed logins that one address may have in a minute.
const TRIES_A_MINUTE: u32 = 10;
const MINUTE_MS: u64 = 60_000;
/// Addresses remembered; beyond that the oldest minutes are forgotten.
const ADDRESSES: usize = 10_000;

#[derive(Default)]
pub struct Doors {
    book: RwLock<Arc<Book>>,
    last_used: Mutex<HashMap<String, u64>>,
    tries: Mutex<HashMap<IpAddr, (u64, u32)>>,
}

/// What a secret turned out to be.
pub enum Visitor {
    Caller(Caller),
    Joiner(Joiner),
}

impl Doors {
    /// The engine thread publishes the book once it is on disk.
    pub fn publish(&self, book: Arc<Book>) {
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = book;
    }
    pub fn book(&self) -> Arc<Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub fn last_used(&self, hash: &str) -> Option<u64> {
        lock(&self.last_used).get(hash).copied()
    }

    pub fn visitor(&self, secret: &str, now_ms: u64) -> Reply<Visitor> {
        let hash = secret::sha256(secret);
        let book = self.book();
        if let Some(runner) = book.runner(&hash) {
            let name = format!("runner {runner}");
            return Ok(Visitor::Caller(Caller { name, role: Role::Runner, runner: Some(runner), token: None }));
        }
        let unknown = "the server knows no such token; it was revoked, or belongs to another server";
        let entry = book.get(&hash).ok_or_else(|| Failure::unauthorized(unknown))?;
        if entry.is_expired(now_ms) {
            return Err(Failure::unauthorized("this token has expired; ask an admin for a new one"));
        }
        let visitor = match (entry.kind, entry.kind.role()) {
            (Kind::Token { kind: TokenKind::Join }, _) => Visitor::Joiner(Joiner { secret_sha256: hash.clone() }),
            (kind, Some(role)) => {
                let token = match kind {
                    Kind::Token { .. } => Some(entry.id.clone()),
                    Kind::Session { .. } | Kind::Link { .. } => entry.parent.clone(),
                };
                Visitor::Caller(Caller { name: entry.name.clone(), role, runner: None, token })
            }
            (_, None) => return Err(Failure::unauthorized("this is a login link; open it in a browser")),
        };
        lock(&self.last_used).insert(hash, now_ms);
        Ok(visitor)
    }

    /// Refuses an address that guessed too often.
    pub fn may_try(&self, address: IpAddr, now_ms: u64) -> Reply<()> {
        match lock(&self.tries).get(&address) {
            Some((since, tries)) if now_ms < since + MINUTE_MS && *tries >= TRIES_A_MINUTE => Err(Failure::new(
                http::StatusCode::TOO_MANY_REQUESTS,
                "too_many_tries",
                "too many failed logins from this address; wait a minute and try again",
            )),
            Some(_) | None => Ok(()),
        }
    }
    pub fn failed_try(&self, address: IpAddr, now_ms: u64) {
        let mut tries = lock(&self.tries);
        if tries.len() >= ADDRESSES {
            tries.retain(|_, (since, _)| now_ms < *since + MINUTE_MS);
        }
        let entry = tries.entry(address).or_insert((now_ms, 0));
        if now_ms >= entry.0 + MINUTE_MS {
            *entry = (now_ms, 0);
        }
        entry.1 += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_guess_in_a_minute_is_refused() {
        let doors = Doors::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for second in 0..10 {
            doors.may_try(here, second * 1000).expect("still allowed");
            doors.failed_try(here, second * 1000);
        }
        assert_eq!(doors.may_try(here, 59_999).expect_err("refused").0.code, "too_many_tries");
        doors.may_try(there, 59_999).expect("another address is not concerned");
        doors.may_try(here, 60_000).expect("a minute later");
    }
}
