//! Tokens: list, make, revoke; and links that log a browser in.
use axum::extract::State;
use dsg_schemas::api::{CreateToken, CreatedToken, LoginLink, Page, TokenKind, TokenView};
use http::StatusCode;
use serde::Deserialize;

use crate::app::{App, Shared};
use crate::auth::secret::{self, Prefix};
use crate::auth::{Book, Caller, Entry, Kind};
use crate::failure::{Failure, Reply};
use crate::web::{Ask, In, Json, list};

const HOUR_MS: u64 = 3_600_000;
/// Long enough to walk to the runner's machine.
const JOIN_HOURS: u64 = 1;
/// Ten years: beyond that a token is not meant to end.
const MOST_HOURS: u64 = 87_600;
/// More hosts than any lab has.
const MOST_USES: u32 = 10_000;
pub const NAME_CHARS: usize = 120;
/// Long enough to copy a URL from one window to another.
pub const LINK_MS: u64 = 15 * 60_000;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensQuery {
    pub kind: Option<TokenKind>,
    /// Part of a name.
    pub text: Option<String>,
    pub cursor: Option<String>,
    pub limit: Option<usize>,
}

pub async fn list(State(app): State<App>, Ask(query): Ask<TokensQuery>) -> Json<Page<TokenView>> {
    let TokensQuery { kind, text, cursor, limit } = query;
    let fits =
        |token: &TokenView| kind.is_none_or(|kind| kind == token.kind) && list::holds(&token.name, text.as_deref());
    let rows = all(&app).into_iter().filter(fits).collect();
    Json(list::page(rows, age, cursor.as_deref(), limit))
}

/// Oldest first.
pub fn all(app: &Shared) -> Vec<TokenView> {
    let book = app.doors.book();
    let mut rows: Vec<_> = book.tokens().filter_map(|(hash, entry)| Book::view(hash, entry, &app.doors)).collect();
    rows.sort_by_key(age);
    rows
}

fn age(token: &TokenView) -> String {
    format!("{:020}-{}", token.created_ms, token.id)
}

pub async fn create(
    State(app): State<App>,
    Json(request): Json<CreateToken>,
) -> Reply<(StatusCode, Json<CreatedToken>)> {
    created(&app, request).await.map(|token| (StatusCode::CREATED, Json(token)))
}

/// For the API, the page and the first start alike.
pub async fn created(app: &Shared, request: CreateToken) -> Reply<CreatedToken> {
    let CreateToken { kind, name, hours, uses } = request;
    let name = name.trim().to_owned();
    if name.is_empty() || name.chars().count() > NAME_CHARS || name.chars().any(char::is_control) {
        let detail = format!("a token needs the name of who uses it, of up to {NAME_CHARS} characters");
        return Err(Failure::bad_request(detail));
    }
    if hours.is_some_and(|hours| hours == 0 || hours > MOST_HOURS) {
        return Err(Failure::bad_request(format!("a token lasts between 1 and {MOST_HOURS} hours")));
    }
    let join = kind == TokenKind::Join;
    if uses.is_some() && !join {
        return Err(Failure::bad_request("only join tokens count their uses; leave `uses` out"));
    }
    if uses.is_some_and(|uses| uses == 0 || uses > MOST_USES) {
        return Err(Failure::bad_request(format!("a join token lets between 1 and {MOST_USES} runners in")));
    }
    let hours = hours.or(join.then_some(JOIN_HOURS));
    let now_ms = app.clock.now_ms();
    let secret = secret::fresh(if join { Prefix::Join } else { Prefix::User });
    let entry = Entry {
        id: secret::random_hex(4),
        kind: Kind::Token { kind },
        name,
        created_ms: now_ms,
        expires_ms: hours.map(|hours| now_ms + hours * HOUR_MS),
        uses_left: join.then_some(uses.unwrap_or(1)),
        parent: None,
    };
    let hash = secret::sha256(&secret);
    let view = Book::view(&hash, &entry, &app.doors).ok_or_else(|| Failure::internal("make a token", "no view"))?;
    tracing::info!(id = view.id, ?kind, name = ?view.name, "a token was made");
    app.engine.book(move |book, _| book.put(hash, entry)).await?;
    let secret = app.shown(&secret);
    let command = match kind {
        TokenKind::Join => format!("dsg-runner join {} --token {secret}", app.url),
        TokenKind::Viewer | TokenKind::Submitter | TokenKind::Operator | TokenKind::Admin => {
            format!("dsg login {}", app.url)
        }
    };
    Ok(CreatedToken { token: view, secret, command })
}

pub async fn revoke(State(app): State<App>, In(id): In<String>) -> Reply<StatusCode> {
    revoked(&app, id).await.map(|()| StatusCode::NO_CONTENT)
}

pub async fn revoked(app: &Shared, id: String) -> Reply<()> {
    let wanted = id.clone();
    if app.engine.book(move |book, _| book.revoke(&wanted)).await? {
        tracing::info!(?id, "a token was revoked");
        return Ok(());
    }
    Err(Failure::not_found(format!("there is no token {id:?}; list them with `dsg token list`")))
}

/// A link that logs a browser in as the caller, once.
pub async fn link(State(app): State<App>, caller: Caller) -> Reply<(StatusCode, Json<LoginLink>)> {
    login_link(&app, &caller).await.map(|link| (StatusCode::CREATED, Json(link)))
}

pub async fn login_link(app: &Shared, caller: &Caller) -> Reply<LoginLink> {
    let now_ms = app.clock.now_ms();
    let secret = secret::fresh(Prefix::Link);
    let expires_ms = now_ms + LINK_MS;
    let entry = Entry {
        id: secret::random_hex(4),
        kind: Kind::Link { role: caller.role },
        name: caller.name.clone(),
        created_ms: now_ms,
        expires_ms: Some(expires_ms),
        uses_left: None,
        parent: caller.token.clone(),
    };
    let hash = secret::sha256(&secret);
    app.engine.book(move |book, _| book.put(hash, entry)).await?;
    Ok(LoginLink { url: format!("{}/login?code={secret}", app.url), expires_ms })
}
