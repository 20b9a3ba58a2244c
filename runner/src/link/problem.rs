//! How a call to the server fails, sorted by what can be done about it.
use dsg_schemas::api::Problem;
use http::StatusCode;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No answer at all; asking again may help.
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    /// It answered, and the answer is no.
    #[error("the server refuses ({status} {code}): {text}")]
    Refused { status: u16, code: String, text: String },
    /// It answered something that this build does not understand.
    #[error("the server at this address does not speak as expected: {0}")]
    Broken(String),
    #[error("cannot use the certificate of the server's authority: {0}")]
    Certificate(String),
}

impl LinkError {
    /// Whether the same request may succeed later.
    pub fn passes(&self) -> bool {
        match self {
            LinkError::Unreachable(_) | LinkError::Broken(_) => true,
            LinkError::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            LinkError::Certificate(_) => false,
        }
    }

    /// The stable word of a refusal.
    pub fn code(&self) -> &str {
        match self {
            LinkError::Refused { code, .. } => code,
            LinkError::Unreachable(_) | LinkError::Broken(_) | LinkError::Certificate(_) => "",
        }
    }

    pub(super) fn from_body(status: StatusCode, body: &[u8]) -> LinkError {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => {
                let text = if problem.detail.is_empty() { problem.title } else { problem.detail };
                LinkError::Refused { status: status.as_u16(), code: problem.code, text }
            }
            Err(_) => LinkError::Refused {
                status: status.as_u16(),
                code: String::new(),
                text: String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
            },
        }
    }

    pub(super) fn silent() -> LinkError {
        LinkError::Unreachable("it fell silent in the middle of a transfer".to_owned())
    }
}

impl From<reqwest::Error> for LinkError {
    /// The whole chain: the outermost text alone says nothing that helps.
    fn from(error: reqwest::Error) -> LinkError {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        LinkError::Unreachable(text)
    }
}
