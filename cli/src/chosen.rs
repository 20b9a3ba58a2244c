//! Chunks that a person selected, as the server knows them.
use dsg_schemas::api::{ChunkDetail, ChunkState, ChunkView};
use dsg_schemas::ids::{ChunkId, MAIN, stage_name};
use dsg_schemas::limits::PAGE_ROWS;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::client::{self, Client};
use crate::exit::Failure;
use crate::select::{Selection, chunk_path};

/// Up to here chunks are asked for one by one; beyond, the list is read and sifted.
const ONE_BY_ONE: u64 = 100;
const AT_ONCE: usize = 8;

pub async fn detail(client: &Client, chunk: &ChunkId) -> Result<(ChunkDetail, Value), Failure> {
    let attempted = format!("show chunk {chunk}");
    let value = client.get(&attempted, &chunk_path(chunk)).await?;
    Ok((client::understand(&attempted, value.clone())?, value))
}

/// The rows of selected chunks, perhaps only those in a state, and whether there are more than `limit`.
pub async fn rows(
    client: &Client,
    selection: &Selection,
    state: Option<&str>,
    limit: usize,
) -> Result<(Vec<Value>, bool), Failure> {
    let attempted = format!("list the chunks of {selection}");
    let stage = selection.chunks.as_ref().map_or(MAIN, |chunks| chunks.stage);
    let filter = state.map_or(String::new(), |state| format!("&state={state}"));
    let path = format!(
        "/api/v1/jobs/{}/chunks?stage={}&limit={}{filter}",
        selection.job,
        stage_name(stage),
        limit.min(PAGE_ROWS)
    );
    let Some(chunks) = &selection.chunks else {
        return client.rows(&attempted, &path, limit).await;
    };
    let (mut rows, _) = if chunks.count() <= ONE_BY_ONE {
        let found: Vec<Value> = stream::iter(chunks.ids(selection.job).collect::<Vec<_>>())
            .map(|chunk| async move { detail(client, &chunk).await.map(|(_, value)| value) })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        (found, false)
    } else {
        client.rows(&attempted, &path, usize::MAX).await?
    };
    let mut kept = Vec::new();
    for row in rows.drain(..) {
        let view: ChunkView = client::understand(&attempted, row.clone())?;
        if chunks.contains(&view.id) && state.is_none_or(|word| fits(view.state, word)) {
            kept.push(row);
        }
    }
    let more = kept.len() > limit;
    kept.truncate(limit);
    Ok((kept, more))
}

/// The words that the server takes as a filter.
fn fits(state: ChunkState, word: &str) -> bool {
    match word {
        "active" => state.is_active(),
        "ended" => state.is_final(),
        word => state.word() == word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_mean_what_they_mean_on_the_server() {
        let of = |word| {
            ChunkState::ALL.into_iter().filter(|state| fits(*state, word)).map(ChunkState::word).collect::<Vec<_>>()
        };
        assert_eq!(of("active"), ["leased", "running", "storing"]);
        assert_eq!(of("ended"), ["succeeded", "failed", "cancelled", "skipped"]);
        assert_eq!(of("failed"), ["failed"]);
    }
}
