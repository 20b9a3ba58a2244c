//! Path parameters and queries, whose refusals are problems like all others.
use axum::extract::{FromRequestParts, Path, Query};
use dsg_schemas::ids::{ChunkId, GATHER, JobId, MAIN, StageIndex};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::failure::{Failure, Reply};

/// Parameters of the path; what does not parse does not exist.
pub struct In<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for In<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<In<T>, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(found)) => Ok(In(found)),
            Err(_) => Err(Failure::not_found(format!("there is nothing at {}", parts.uri.path()))),
        }
    }
}

/// The query, as a type that refuses unknown keys.
pub struct Ask<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Ask<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Ask<T>, Failure> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(found)) => Ok(Ask(found)),
            Err(refusal) => Err(Failure::bad_request(format!("the query is wrong: {}", refusal.body_text()))),
        }
    }
}

/// `main` and `gather`, as in paths and queries.
pub fn stage(name: &str) -> Reply<StageIndex> {
    match name {
        "main" => Ok(MAIN),
        "gather" => Ok(GATHER),
        _ => {
            Err(Failure::not_found(format!("there is no stage {name:?}; a job has main, and gather where it has one")))
        }
    }
}

/// `(job, stage, index)` of a path.
pub fn chunk((job, name, index): (u64, String, u32)) -> Reply<ChunkId> {
    Ok(ChunkId { job: JobId(job), stage: stage(&name)?, index })
}
