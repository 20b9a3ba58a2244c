//! In front of each handler: is the caller who the route is for, and does the query hold only what the route knows?
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use dsg_schemas::api::Role;
use http::{HeaderMap, Method, header};

use crate::app::App;
use crate::auth::door::Visitor;
use crate::failure::{Failure, Reply};
use crate::routes::Surface;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// People with this role or more.
    Role(Role),
    /// Runners, with their own credential.
    Runner,
    /// Both.
    RoleOrRunner(Role),
    /// Machines with a join token.
    Join,
}

#[derive(Clone)]
pub struct Gate {
    pub app: App,
    pub access: Access,
    pub surface: Surface,
    pub query: &'static [&'static str],
}

pub async fn admit(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    match check(&gate, &mut request) {
        Ok(()) => next.run(request).await,
        // A person in front of a browser is asked to log in, a program is told.
        Err(failure) if failure.0.status == 401 && gate.surface == Surface::Page && request.method() == Method::GET => {
            Redirect::to("/login").into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

fn check(gate: &Gate, request: &mut Request) -> Reply<()> {
    let now_ms = gate.app.clock.now_ms();
    let secret = secret(request.headers(), gate.app.cookie_name());
    let visitor = match (secret, gate.access) {
        (None, Access::Open) => None,
        (Some(secret), Access::Open) => gate.app.doors.visitor(secret, now_ms).ok(),
        (Some(secret), _) => Some(gate.app.doors.visitor(secret, now_ms)?),
        (None, _) => {
            let detail = "say who you are: send `Authorization: Bearer TOKEN`, or log in with a browser";
            return Err(Failure::unauthorized(detail));
        }
    };
    match visitor {
        Some(Visitor::Caller(caller)) => {
            let allowed = match gate.access {
                Access::Open => true,
                Access::Role(role) => caller.is_at_least(role),
                Access::Runner => caller.role == Role::Runner,
                Access::RoleOrRunner(role) => caller.role == Role::Runner || caller.is_at_least(role),
                Access::Join => false,
            };
            if !allowed {
                return Err(Failure::forbidden(needed(gate.access)));
            }
            request.extensions_mut().insert(caller);
        }
        Some(Visitor::Joiner(joiner)) => {
            if gate.access != Access::Join && gate.access != Access::Open {
                return Err(Failure::forbidden(needed(gate.access)));
            }
            request.extensions_mut().insert(joiner);
        }
        None => {}
    }
    if gate.surface == Surface::Api { known_keys(request.uri().query(), gate.query) } else { Ok(()) }
}

fn needed(access: Access) -> String {
    match access {
        Access::Open => "nothing is needed for this".to_owned(),
        Access::Role(role) | Access::RoleOrRunner(role) => {
            let role = serde_json::to_value(role).ok().and_then(|role| role.as_str().map(str::to_owned));
            format!("this needs the role {}; ask an admin for a token that has it", role.unwrap_or_default())
        }
        Access::Runner => "only a runner may do this, with its own credential".to_owned(),
        Access::Join => "this needs a join token; make one with `dsg token join`".to_owned(),
    }
}

/// A misspelt filter must not look like an empty list.
fn known_keys(query: Option<&str>, known: &[&str]) -> Reply<()> {
    let keys = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let unknown = keys.map(|pair| pair.split('=').next().unwrap_or_default()).find(|key| !known.contains(key));
    match unknown {
        Some(key) if known.is_empty() => {
            Err(Failure::bad_request(format!("the query key {key:?} is unknown; this route takes none")))
        }
        Some(key) => Err(Failure::bad_request(format!(
            "the query key {key:?} is unknown; this route takes {}",
            known.join(", ")
        ))),
        None => Ok(()),
    }
}

/// A bearer token, else the cookie of a browser's session.
pub fn secret<'a>(headers: &'a HeaderMap, cookie: &str) -> Option<&'a str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim());
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == cookie).then_some(value)
    })
}
