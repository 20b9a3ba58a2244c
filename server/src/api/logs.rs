//! Logs over HTTP: runners append, people read pages, follow, or fetch the raw bytes.
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use dsg_schemas::api::LogPage;
use dsg_schemas::ids::{AttemptId, RunnerId};
use dsg_schemas::wire::log::{LogAnswer, LogHave, Stream, pieces};
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::blobs::serve::{Answer, Served};
use crate::failure::{Failure, Reply};
use crate::logs::{Follower, LogError, LogQuery, RawLog};
use crate::pages::words;
use crate::views;
use crate::web::body::body;
use crate::web::{Ask, In, Json};

/// Comments in a quiet stream: keeps proxies from closing it.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneStream {
    stream: Option<Stream>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowFrom {
    from: Option<u64>,
    stream: Option<Stream>,
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        match &error {
            LogError::DiskFull => Failure::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", error.to_string()),
            LogError::Absurd { .. } => Failure::bad_request(error.to_string()),
            LogError::Moved => Failure::conflict("log_moved", error.to_string()),
            LogError::File { source, .. } => Failure::internal("use the log store", format!("{error}: {source}")),
        }
    }
}

/// Only from the runner that holds the attempt, or that was lost with it.
pub async fn append(
    State(app): State<App>,
    caller: Caller,
    In(attempt): In<u64>,
    request: Request,
) -> Reply<Json<LogAnswer>> {
    let (runner, attempt) = (caller.runner()?, AttemptId(attempt));
    let batch = body(request, &()).await?;
    match app.engine.ask(move |grid, _| grid.attempt_owner(attempt)).await? {
        Some(owner) if owner == runner => {}
        Some(_) | None => app.take_late(runner, attempt).await?,
    }
    let logs = app.logs.clone();
    let append = move || {
        let pieces = pieces(&batch).map_err(|error| Failure::bad_request(error.to_string()))?;
        Ok(logs.append(attempt, &pieces)?)
    };
    Ok(Json(app.blocking("append to a log", append).await?))
}

pub async fn page(State(app): State<App>, In(attempt): In<u64>, Ask(query): Ask<LogQuery>) -> Reply<Json<LogPage>> {
    let attempt = AttemptId(attempt);
    Ok(Json(app.log_page(attempt, query).await?))
}

/// Ends by itself after the page that says `ended`. A browser that comes back then is told (204) not to come again.
pub async fn follow(
    State(app): State<App>,
    In(attempt): In<u64>,
    Ask(FollowFrom { from, stream }): Ask<FollowFrom>,
    headers: HeaderMap,
) -> Reply<Response> {
    let attempt = AttemptId(attempt);
    app.settle_log(attempt).await?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse::<u64>().ok());
    let from = last.or(from).unwrap_or(0);
    if last.is_some() {
        let rest = app.log_page(attempt, LogQuery { from: Some(from), limit: Some(1), ..LogQuery::default() }).await?;
        if rest.ended && from >= rest.total {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
    let follower = app.logs.follow(attempt, from, stream);
    let events = stream::unfold(Some((app, attempt, follower)), |state| async {
        let (app, attempt, mut follower) = state?;
        let page = app.next_page(attempt, &mut follower).await?;
        let ended = page.ended && page.next >= page.total;
        let event = Event::default().id(page.next.to_string()).json_data(&page).ok()?;
        Some((Ok::<_, Infallible>(event), (!ended).then_some((app, attempt, follower))))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENT_EVERY)).into_response())
}

pub async fn raw(
    State(app): State<App>,
    In(attempt): In<u64>,
    Ask(OneStream { stream }): Ask<OneStream>,
    headers: HeaderMap,
) -> Reply<Response> {
    let attempt = AttemptId(attempt);
    app.settle_log(attempt).await?;
    let logs = app.logs.clone();
    let name = match stream {
        None => format!("attempt-{attempt}.log"),
        Some(Stream::Stdout) => format!("attempt-{attempt}.stdout.log"),
        Some(Stream::Stderr) => format!("attempt-{attempt}.stderr.log"),
    };
    let open = move || {
        // A log may be packed between the look at it and the first read.
        let mut tries = 0..4;
        loop {
            let raw = logs.raw(attempt, stream)?;
            let served = Served {
                content_type: "text/plain; charset=utf-8",
                file_name: name.clone(),
                tag: raw.tag.clone(),
                length: raw.length,
                is_final: false,
            };
            let answer = served.answer(&headers);
            let first = match &answer {
                Answer::Bytes(_, range) => raw.read(range.start, range.end),
                Answer::Nothing(_) => Ok(Vec::new()),
            };
            match first {
                Err(LogError::Moved) if tries.next().is_some() => {}
                first => return Ok((raw, answer, first?)),
            }
        }
    };
    let (raw, answer, first) = app.blocking("read a log", open).await?;
    match answer {
        Answer::Nothing(response) => Ok(*response),
        Answer::Bytes(head, range) => {
            let body = Body::from_stream(rest(raw, first, range.start, range.end));
            head.body(body).map_err(|error| Failure::internal("answer with a log", error))
        }
    }
}

/// The bytes in order, read as fast as the caller takes them.
fn rest(raw: RawLog, first: Vec<u8>, at: u64, end: u64) -> impl stream::Stream<Item = Result<Bytes, LogError>> {
    stream::try_unfold((Some(raw), Some(first), at), move |(raw, first, at)| async move {
        let Some(raw) = raw.filter(|_| at < end) else { return Ok(None) };
        let (raw, bytes) = match first {
            Some(bytes) => (raw, bytes),
            None => {
                let read = tokio::task::spawn_blocking(move || raw.read(at, end).map(|bytes| (raw, bytes)));
                read.await.unwrap_or(Err(LogError::Moved))?
            }
        };
        let next = at + bytes.len() as u64;
        Ok(Some((Bytes::from(bytes), (Some(raw), None, next))))
    })
}

impl Shared {
    pub async fn log_page(&self, attempt: AttemptId, query: LogQuery) -> Reply<LogPage> {
        let unheard = self.settle_log(attempt).await?;
        let logs = self.logs.clone();
        let page = self.blocking("read a log", move || Ok(logs.page(attempt, query)?)).await?;
        Ok(LogPage { unheard: unheard && page.ended, ..page })
    }

    /// An attempt that was given up while its runner was not heard: its result does not count any more, but what its container wrote is
    /// what happened, and somebody may want to know. Refused once its runner has told its end, or its log was removed.
    async fn take_late(&self, runner: RunnerId, attempt: AttemptId) -> Reply<()> {
        let found = self.read(move |rows| {
            let Some(row) = rows.attempt(attempt)? else { return Ok(false) };
            let removed = rows.job(row.chunk.job)?.is_none_or(|job| views::log_removed(&job, &row).is_some());
            Ok(row.runner == runner && row.is_unheard() && !removed)
        });
        if found.await? {
            return Ok(());
        }
        let detail = format!(
            "attempt {attempt} is not (or no longer) this runner's; drop what is left of its log and stop its container"
        );
        Err(Failure::conflict("fenced", detail))
    }

    /// Refuses an attempt that there is not, or whose log a rule removed. Closes the log of one that ended some time ago and whose runner never came back
    /// to say so, so that nobody waits for more; answers whether it is such a one.
    async fn settle_log(&self, attempt: AttemptId) -> Reply<bool> {
        let found = self.read(move |rows| {
            let Some(row) = rows.attempt(attempt)? else { return Ok(None) };
            let removed = rows.job(row.chunk.job)?.and_then(|job| views::log_removed(&job, &row));
            Ok(Some((row, removed)))
        });
        let (row, removed) =
            found.await?.ok_or_else(|| Failure::not_found(format!("there is no attempt {attempt}")))?;
        if let Some(removed) = removed {
            let when = words::exact(removed.at_ms);
            let detail = format!("the log of attempt {attempt} was removed on {when}: {}", removed.why);
            return Err(Failure::new(StatusCode::GONE, "removed", detail));
        }
        // Of one that never started there is nothing to be missed.
        let unheard = row.is_unheard() && row.started_ms.is_some();
        match row.ended_ms {
            Some(ended_ms) if ended_ms + self.config.log_grace_ms < self.clock.now_ms() => {
                let wrote = row.ended.map_or((0, 0), |ended| (ended.stdout_bytes, ended.stderr_bytes));
                let (logs, wrote) = (self.logs.clone(), LogHave { stdout: wrote.0, stderr: wrote.1 });
                self.blocking("close a log", move || Ok(logs.close(attempt, wrote)?)).await?;
            }
            Some(_) | None => {}
        }
        Ok(unheard)
    }

    /// `None` when the server stops, or the log cannot be read any more (its job was deleted).
    async fn next_page(&self, attempt: AttemptId, follower: &mut Follower) -> Option<LogPage> {
        loop {
            tokio::select! {
                page = follower.next() => {
                    let page = page.ok()?;
                    let unheard = page.ended && self.settle_log(attempt).await.ok()?;
                    return Some(LogPage { unheard, ..page });
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    self.settle_log(attempt).await.ok()?;
                }
                () = self.stopping.cancelled() => return None,
            }
        }
    }
}
