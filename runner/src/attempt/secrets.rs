//! The secrets of one attempt: asked for while its lease lasts, put into memory, bound into the container, and read again from there
//! for the mask, also by a later life of the runner.
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dsg_schemas::limits::SECRETS_BYTES;
use dsg_schemas::reason::EndReason;
use dsg_schemas::units::Bytes;
use dsg_schemas::wire::{Ended, SecretValues, StartOrder};

use super::Shared;
use crate::container::Bind;
use crate::policy::refused;
use crate::secrets::Mask;

/// Gives what the engine has to bind. Waits for a server that is away.
pub async fn fetch(shared: &Shared, order: &StartOrder) -> Result<Vec<Bind>, Ended> {
    if order.secrets.is_empty() {
        return Ok(Vec::new());
    }
    // Not even asked for where they could not be kept.
    shared.secrets.ready().map_err(|error| *refused(&format!("cannot keep secrets: {error}")))?;
    let given = ask(shared, order).await?;
    let mut values = Vec::new();
    for secret in &order.secrets {
        let value = given.values.get(&secret.name).and_then(|value| STANDARD.decode(value).ok());
        let strange = || failed(format!("the server did not give secret `{}`, which it ordered", secret.name));
        values.push((secret, value.ok_or_else(strange)?));
    }
    let bytes: usize = values.iter().map(|(_, value)| value.len()).sum();
    if bytes > SECRETS_BYTES {
        let (bytes, most) = (Bytes(bytes as u64), Bytes(SECRETS_BYTES as u64));
        return Err(*refused(&format!("takes at most {most} of secrets for one container, not {bytes}")));
    }
    let mut binds = Vec::new();
    for (secret, value) in values {
        let put = shared.secrets.put(order.attempt, &secret.name, &value);
        binds.push(Bind::read_only(&put.map_err(|error| failed(error.to_string()))?, &secret.path));
    }
    Ok(binds)
}

async fn ask(shared: &Shared, order: &StartOrder) -> Result<SecretValues, Ended> {
    let mut failures = 0;
    loop {
        let error = match shared.link.secrets(order.attempt).await {
            Ok(values) => return Ok(values),
            Err(error) if error.passes() => {
                tracing::debug!(attempt = %order.attempt, %error, "secrets cannot be had; it is tried again");
                tokio::time::sleep(shared.patience.after(failures)).await;
                failures += 1;
                continue;
            }
            Err(error) => error,
        };
        return Err(match error.code() {
            // Taken away after this was ordered: it waits again, at no cost.
            "no_secret" => Ended::before_start(EndReason::Evicted, error.to_string()),
            _ => failed(error.to_string()),
        });
    }
}

/// What is to be masked in what the container writes. Output that cannot be masked is not taken.
pub fn mask(shared: &Shared, order: &StartOrder) -> Result<Option<Arc<Mask>>, Box<Ended>> {
    let values = order.secrets.iter().map(|secret| shared.secrets.get(order.attempt, &secret.name));
    let values: Result<Vec<_>, _> = values.collect();
    let values = values.map_err(|error| {
        Box::new(failed(format!(
            "{error}: without its secrets, the output of the container cannot be masked, and is not taken"
        )))
    })?;
    Ok(Mask::new(&values))
}

fn failed(message: String) -> Ended {
    Ended::before_start(EndReason::EngineError, message)
}
