//! The event stream: something changed; fetch what you show.
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use dsg_schemas::api::Change;
use futures_util::Stream;
use futures_util::stream::unfold;

use crate::app::App;

/// Nobody reads faster, and each event costs each viewer a page.
const EVERY: Duration = Duration::from_millis(250);
/// Shorter than the patience of proxies; clients take silence for a dead line.
pub const COMMENT_EVERY: Duration = Duration::from_secs(15);

pub async fn events(State(app): State<App>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut revisions = app.engine.revisions();
    revisions.mark_changed();
    let stream = unfold((app, revisions), |(app, mut revisions)| async move {
        tokio::select! {
            changed = revisions.changed() => changed.ok()?,
            () = app.stopping.cancelled() => return None,
        }
        let revision = revisions.borrow_and_update().revision;
        // The change is told at once, the next one a little later.
        let data = serde_json::to_string(&Change { revision }).ok()?;
        let event = Event::default().id(revision.to_string()).data(data);
        Some((Ok(event), (app, revisions)))
    });
    let paced = futures_util::StreamExt::then(stream, {
        let mut next = tokio::time::Instant::now();
        move |event| {
            let at = next;
            next = at.max(tokio::time::Instant::now()) + EVERY;
            async move {
                tokio::time::sleep_until(at).await;
                event
            }
        }
    });
    Sse::new(paced).keep_alive(KeepAlive::new().interval(COMMENT_EVERY))
}
