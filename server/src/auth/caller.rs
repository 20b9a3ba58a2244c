//! The caller of a handler, found by the guard in front of it.
use axum::extract::FromRequestParts;
use dsg_schemas::api::Role;
use dsg_schemas::ids::RunnerId;
use http::request::Parts;

use crate::failure::Failure;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Of the person or the runner.
    pub name: String,
    pub role: Role,
    /// Where the caller is a runner.
    pub runner: Option<RunnerId>,
    /// Id of the token behind the call or behind its session.
    pub token: Option<String>,
}

/// A machine with a join token, which may join and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joiner {
    pub secret_sha256: String,
}

impl Caller {
    /// Whether a person has at least this role. A runner has none of them.
    pub fn is_at_least(&self, role: Role) -> bool {
        self.role != Role::Runner && self.role >= role
    }
    pub fn runner(&self) -> Result<RunnerId, Failure> {
        self.runner.ok_or_else(|| Failure::forbidden("only a runner may do this, with its own credential"))
    }
}

fn found<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, Failure> {
    parts.extensions.get::<T>().cloned().ok_or_else(|| Failure::unauthorized("say who you are with a token"))
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Failure> {
        found(parts)
    }
}

impl<S: Sync> FromRequestParts<S> for Joiner {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Joiner, Failure> {
        found(parts)
    }
}
