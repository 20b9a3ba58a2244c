//! Roles and tokens.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a caller may do. Each but runner may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Submit, and act on one's own jobs.
    Submitter,
    /// Act on all jobs and runners.
    Operator,
    /// Tokens.
    Admin,
    /// A runner: its own sync, log, blobs, and nothing else.
    Runner,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// To revoke it by.
    pub id: String,
    pub kind: TokenKind,
    /// Whom it stands for, or what it is for.
    pub name: String,
    pub created_ms: u64,
    pub expires_ms: Option<u64>,
    /// Joins left.
    pub uses_left: Option<u32>,
    pub last_used_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    Viewer,
    Submitter,
    Operator,
    Admin,
    /// Lets runners join.
    Join,
}

/// `POST /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateToken {
    pub kind: TokenKind,
    pub name: String,
    #[serde(default)]
    pub hours: Option<u64>,
    /// Join tokens only; 1 if left out.
    #[serde(default)]
    pub uses: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    pub token: TokenView,
    /// Shown this once. A join token carries the fingerprint of the server's CA.
    pub secret: String,
    /// Ready to paste.
    pub command: String,
}

/// `POST /api/v1/login-links`: a one-time URL that logs a browser in as the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoginLink {
    pub url: String,
    pub expires_ms: u64,
}
