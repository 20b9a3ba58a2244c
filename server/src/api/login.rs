//! Logging a browser in and out: a one-time link or a token becomes a session, kept in a cookie that scripts cannot read.
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Redirect, Response};
use dsg_schemas::api::Role;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

use crate::app::{App, Shared};
use crate::auth::door::Visitor;
use crate::auth::secret::{self, Prefix};
use crate::auth::{Entry, Kind};
use crate::config::Tls;
use crate::failure::{Failure, Reply};
use crate::web::{Filled, access};

/// A working week: long enough not to be a nuisance, short enough for a lost laptop.
const SESSION_MS: u64 = 7 * 24 * 3_600_000;

#[derive(Debug, Deserialize)]
pub struct Token {
    pub token: String,
}

/// A link works once, whoever opens it first. `Ok` carries the cookie to set.
pub async fn by_code(app: &Shared, address: SocketAddr, code: &str) -> Reply<HeaderValue> {
    let now_ms = app.clock.now_ms();
    app.doors.may_try(address.ip(), now_ms)?;
    let (link, session) = (secret::sha256(code), secret::fresh(Prefix::Session));
    let hash = secret::sha256(&session);
    let opened = app.engine.book(move |book, now_ms| {
        book.forget_expired(now_ms);
        let Some(Entry { kind: Kind::Link { role }, .. }) = book.get(&link) else { return false };
        let role = *role;
        let Some(entry) = book.remove(&link) else { return false };
        book.put(hash, session_entry(entry.name, role, entry.parent, now_ms));
        true
    });
    if opened.await? {
        return Ok(cookie(app, &session, SESSION_MS / 1000));
    }
    app.doors.failed_try(address.ip(), now_ms);
    Err(Failure::unauthorized("this login link was used already or has expired; make a new one with `dsg open`"))
}

/// `Ok` carries the cookie to set.
pub async fn by_token(app: &Shared, address: SocketAddr, token: &str) -> Reply<HeaderValue> {
    let now_ms = app.clock.now_ms();
    app.doors.may_try(address.ip(), now_ms)?;
    match app.doors.visitor(token.trim(), now_ms) {
        Ok(Visitor::Caller(caller)) if caller.role != Role::Runner => {
            let session = secret::fresh(Prefix::Session);
            let hash = secret::sha256(&session);
            app.engine
                .book(move |book, now_ms| {
                    book.forget_expired(now_ms);
                    book.put(hash, session_entry(caller.name, caller.role, caller.token, now_ms));
                })
                .await?;
            Ok(cookie(app, &session, SESSION_MS / 1000))
        }
        Ok(Visitor::Caller(_) | Visitor::Joiner(_)) => {
            app.doors.failed_try(address.ip(), now_ms);
            Err(Failure::unauthorized("this token is for a machine; ask an admin for one of your own"))
        }
        Err(failure) => {
            app.doors.failed_try(address.ip(), now_ms);
            Err(failure)
        }
    }
}

fn session_entry(name: String, role: Role, parent: Option<String>, now_ms: u64) -> Entry {
    Entry {
        id: secret::random_hex(4),
        kind: Kind::Session { role },
        name,
        created_ms: now_ms,
        expires_ms: Some(now_ms + SESSION_MS),
        uses_left: None,
        parent,
    }
}

fn cookie(app: &Shared, session: &str, seconds: u64) -> HeaderValue {
    let secure = match app.config.tls {
        Tls::Own | Tls::Files { .. } => "; Secure",
        Tls::Off => "",
    };
    let text = format!("{}={session}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", app.cookie_name());
    // Made of our own letters only.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

pub async fn login(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Filled(form): Filled<Token>,
) -> Response {
    match by_token(&app, address, &form.token).await {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(failure) => failure.into_response(),
    }
}

pub async fn logout(State(app): State<App>, headers: HeaderMap) -> Reply<Response> {
    if let Some(session) = access::secret(&headers, app.cookie_name()) {
        let hash = secret::sha256(session);
        app.engine
            .book(move |book, _| {
                if matches!(book.get(&hash), Some(Entry { kind: Kind::Session { .. }, .. })) {
                    book.remove(&hash);
                }
            })
            .await?;
    }
    Ok(([(header::SET_COOKIE, cookie(&app, "", 0))], Redirect::to("/login")).into_response())
}
