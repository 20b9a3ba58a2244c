//! An image that the engine has or pulls. A pull goes on when the attempt that began it is stopped: others may wait for it, and what comes
//! of it is ours to remove.
use std::sync::Arc;

use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, StartOrder};

use super::{Shared, failed};
use crate::container::{Failure, Present};
use crate::room::Hold;

pub async fn present(
    shared: Arc<Shared>,
    order: &StartOrder,
    note: impl Fn(String) + Send + Sync + 'static,
) -> Result<(Present, Hold), Ended> {
    let (image, policy) = (order.image.clone(), order.pull_policy);
    let fetch = tokio::spawn(async move {
        let mut hold = shared.stock.hold(shared.engine.full_name(&image)).await;
        let present = shared.engine.image(&image, policy, &note).await.map_err(failed)?;
        shared.stock.found(&mut hold, &present).await;
        runs_here(&present).map_err(failed)?;
        Ok((present, hold))
    });
    let broke =
        |error| Ended::before_start(EndReason::EngineError, format!("the fetch of the image broke off: {error}"));
    fetch.await.map_err(broke).flatten()
}

/// Another runner may have the right platform: nobody's failure, and this runner is not asked again.
pub fn runs_here(present: &Present) -> Result<(), Failure> {
    match &present.misfit {
        Some(why) => Err(Failure { reason: EndReason::Refused, message: why.clone(), engine_gone: false }),
        None => Ok(()),
    }
}
