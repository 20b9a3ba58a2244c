//! Forms, whose refusals are problems like all others.
use axum::extract::{Form, FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// As axum's `Form`, with our errors.
pub struct Filled<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Filled<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Filled<T>, Failure> {
        match Form::<T>::from_request(request, state).await {
            Ok(Form(filled)) => Ok(Filled(filled)),
            Err(refusal) => {
                Err(Failure::bad_request(format!("the form cannot be understood: {}", refusal.body_text())))
            }
        }
    }
}
