//! After a start: what an earlier life of this runner left, matched with the containers that are there. Containers of ours that
//! no spool knows are removed; nobody else's are touched.
use std::collections::{BTreeMap, BTreeSet};

use dsg_schemas::ids::AttemptId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, StartOrder};

use super::{Origin, Shared};
use crate::container::{Failure, Own};
use crate::spool::{Folder, Left};

/// One attempt to take up again.
pub struct Adopted {
    pub attempt: AttemptId,
    pub order: StartOrder,
    pub folder: Folder,
    pub origin: Origin,
}

pub async fn adopt(shared: &Shared, left: Vec<(AttemptId, Folder, Left)>) -> Result<Vec<Adopted>, Failure> {
    let own = shared.engine.own(&shared.grid, shared.runner).await?;
    let known: BTreeSet<AttemptId> = left.iter().map(|(attempt, ..)| *attempt).collect();
    for stray in own.iter().filter(|own| !known.contains(&own.attempt)) {
        tracing::warn!(attempt = %stray.attempt, container = stray.id, "removing a container that nothing here knows");
        if let Err(failure) = shared.engine.remove(&stray.id).await {
            tracing::warn!(container = stray.id, %failure, "cannot remove it; the next start tries again");
        }
    }
    let containers: BTreeMap<AttemptId, Own> = own.into_iter().map(|own| (own.attempt, own)).collect();
    Ok(left
        .into_iter()
        .map(|(attempt, folder, Left { order, started, past, ended })| {
            let origin = match (ended, started) {
                // Made and never started, it is known by its label only.
                (Some(ended), started) => {
                    let container = started.map(|started| started.container);
                    let made = || containers.get(&attempt).map(|own| own.id.clone());
                    Origin::Ended(Box::new(ended), container.or_else(made))
                }
                // Started for certain or perhaps: the command may have run, so that it must not run again by this attempt.
                (None, Some(started)) if containers.contains_key(&attempt) => Origin::Started(started, past),
                (None, Some(_)) => Origin::Ended(Box::new(vanished()), None),
                (None, None) => Origin::Unstarted,
            };
            tracing::info!(%attempt, chunk = %order.chunk, "taking up what an earlier life of this runner left");
            Adopted { attempt, order, folder, origin }
        })
        .collect())
}

fn vanished() -> Ended {
    Ended::before_start(EndReason::RunnerLost, "its container was gone when the runner came back")
}
