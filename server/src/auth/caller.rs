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
    /// SHA-256 of the secret that was shown, in hexadecimal.
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

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Failure> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(|| Failure::unauthorized("say who you are with a token"))
    }
}
