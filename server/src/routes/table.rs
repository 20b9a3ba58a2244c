//! The table. A route that is not here does not exist.
use dsg_schemas::api::{
    Act, Acted, BlobHave, Checked, ChunkDetail, ChunkView, CreateToken, CreatedToken, EditJob, Edited, Explanation,
    ImageView, JobDetail, JobView, LogPage, LoginLink, Overview, OwnerView, Page, QueueEntry, Role, RunnerView,
    SecretView, Submit, Submitted, TokenView, Whoami,
};
use dsg_schemas::limits;
use dsg_schemas::wire::log::LogAnswer;
use dsg_schemas::wire::{HelloAnswer, HelloRequest, JoinAnswer, JoinRequest, SecretValues, SyncAnswer, SyncRequest};
use http::Method;

use super::Route;
use crate::api::{
    acts, blobs, chunks, events, images, jobs, login, logs, overview, runners, secrets, submit, sync, tokens,
};
use crate::gather::manifest;
use crate::pages;
use crate::web::Access;

const VIEWER: Access = Access::Role(Role::Viewer);
const SUBMITTER: Access = Access::Role(Role::Submitter);
const ADMIN: Access = Access::Role(Role::Admin);
/// A sync holds everything a runner has, and facts.
const SYNC_BYTES: usize = 16 << 20;

pub fn table() -> Vec<Route> {
    let mut table = open();
    table.extend(looking());
    table.extend(doing());
    table.extend(for_runners());
    table.extend(bytes());
    table.extend(pages::http::routes());
    table
}

fn get<H, T>(path: &'static str, access: Access, summary: &'static str, handler: H) -> Route
where
    H: axum::handler::Handler<T, crate::app::App>,
    T: 'static,
{
    Route::new(Method::GET, path, access, summary, handler)
}

fn post<H, T>(path: &'static str, access: Access, summary: &'static str, handler: H) -> Route
where
    H: axum::handler::Handler<T, crate::app::App>,
    T: 'static,
{
    Route::new(Method::POST, path, access, summary, handler)
}

fn open() -> Vec<Route> {
    vec![
        get("/healthz", Access::Open, "Is the server there", overview::healthz).sends("text/plain"),
        get("/api/v1/ca", Access::Open, "The certificate of the server's own CA", overview::ca)
            .sends("application/x-pem-file"),
        post("/login", Access::Open, "Log in with a token", login::login).page().up_to(4096),
        post("/logout", Access::Open, "Log out", login::logout).page().up_to(4096),
    ]
}

fn looking() -> Vec<Route> {
    vec![
        get("/api/v1/openapi.json", VIEWER, "This document", overview::openapi).sends("application/json"),
        get("/api/v1/whoami", VIEWER, "Who the caller is", overview::whoami).answers::<Whoami>(),
        get("/api/v1/overview", VIEWER, "The grid at a glance", overview::overview).answers::<Overview>(),
        get("/api/v1/queue", VIEWER, "What waits, in the order in which it will start, and why", overview::queue)
            .query(&["job", "owner", "cursor", "limit"])
            .answers::<Page<QueueEntry>>(),
        get("/api/v1/owners", VIEWER, "What owners use, used and may use; who comes next first", overview::owners)
            .answers::<Vec<OwnerView>>(),
        get("/api/v1/images", VIEWER, "Images that people brought without a registry", images::list)
            .answers::<Vec<ImageView>>(),
        get("/api/v1/runners", VIEWER, "Runners", overview::runners)
            .query(&["state", "text", "cursor", "limit"])
            .answers::<Page<RunnerView>>(),
        get("/api/v1/events", VIEWER, "A stream of changes", events::events).sends("text/event-stream"),
        get("/api/v1/jobs", VIEWER, "Jobs, newest first", jobs::list)
            .query(&["state", "owner", "text", "cursor", "limit"])
            .answers::<Page<JobView>>(),
        get("/api/v1/jobs/{job}", VIEWER, "One job", jobs::show).answers::<JobDetail>(),
        get("/api/v1/jobs/{job}/map", VIEWER, "The state of each chunk, one byte each", jobs::map)
            .sends("application/octet-stream"),
        get("/api/v1/jobs/{job}/chunks", VIEWER, "Chunks of a job by index", chunks::list)
            .query(&["state", "stage", "cursor", "limit"])
            .answers::<Page<ChunkView>>(),
        get("/api/v1/jobs/{job}/chunks/{stage}/{index}", VIEWER, "One chunk with its attempts", chunks::show)
            .answers::<ChunkDetail>(),
        get("/api/v1/jobs/{job}/explain/{stage}/{index}", VIEWER, "Why a chunk waits", chunks::explain)
            .answers::<Explanation>(),
    ]
}

fn doing() -> Vec<Route> {
    vec![
        post("/api/v1/check", SUBMITTER, "What a submit would do, or what is wrong with the job file", submit::check)
            .takes::<Submit>()
            .answers::<Checked>(),
        post("/api/v1/jobs", SUBMITTER, "Submit a job", submit::submit).takes::<Submit>().answers::<Submitted>(),
        Route::new(
            Method::PUT,
            "/api/v1/jobs/{job}/spec",
            SUBMITTER,
            "Replace the job file of a held job",
            submit::edit,
        )
        .takes::<EditJob>()
        .answers::<Edited>(),
        post(
            "/api/v1/acts",
            SUBMITTER,
            "Cancel, hold, release, limit, retry, delete; drain, pause, evict; bring and remove images",
            acts::act,
        )
        .takes::<Act>()
        .answers::<Acted>(),
        post("/api/v1/login-links", VIEWER, "A link that logs a browser in as the caller, once", tokens::link)
            .answers::<LoginLink>(),
        get("/api/v1/tokens", ADMIN, "Tokens, without their secrets", tokens::list)
            .query(&["kind", "text", "cursor", "limit"])
            .answers::<Page<TokenView>>(),
        post("/api/v1/tokens", ADMIN, "Make a token", tokens::create).takes::<CreateToken>().answers::<CreatedToken>(),
        Route::new(Method::DELETE, "/api/v1/tokens/{id}", ADMIN, "Revoke a token", tokens::revoke),
        get("/api/v1/secrets", ADMIN, "Secrets by their names; nobody is told a value", secrets::list)
            .answers::<Vec<SecretView>>(),
        Route::new(Method::PUT, "/api/v1/secrets/{name}", ADMIN, "Set a secret; the body is its value", secrets::set)
            .up_to(4 * limits::SECRET_BYTES_MOST)
            .answers::<Acted>(),
        Route::new(Method::DELETE, "/api/v1/secrets/{name}", ADMIN, "Remove a secret", secrets::remove)
            .answers::<Acted>(),
    ]
}

fn for_runners() -> Vec<Route> {
    vec![
        post("/api/v1/runners/join", Access::Join, "Become a runner of this grid", runners::join)
            .takes::<JoinRequest>()
            .answers::<JoinAnswer>(),
        post("/api/v1/runners/me/hello", Access::Runner, "Begin a session", runners::hello)
            .takes::<HelloRequest>()
            .answers::<HelloAnswer>(),
        post("/api/v1/runners/me/sync", Access::Runner, "Report, claim, and get orders", sync::sync)
            .takes::<SyncRequest>()
            .up_to(SYNC_BYTES)
            .answers::<SyncAnswer>(),
    ]
}

/// Logs and blobs: the data plane.
fn bytes() -> Vec<Route> {
    let reader = Access::RoleOrRunner(Role::Viewer);
    let writer = Access::RoleOrRunner(Role::Submitter);
    vec![
        get("/api/v1/attempts/{attempt}/log", VIEWER, "Lines of a log", logs::page)
            .query(&["from", "limit", "tail", "stream"])
            .answers::<LogPage>(),
        get("/api/v1/attempts/{attempt}/log/follow", VIEWER, "Lines of a log as they come", logs::follow)
            .query(&["from", "stream"])
            .sends("text/event-stream"),
        get("/api/v1/attempts/{attempt}/log/raw", VIEWER, "What the container wrote, with ranges", logs::raw)
            .query(&["stream"])
            .sends("text/plain"),
        Route::new(Method::PATCH, "/api/v1/attempts/{attempt}/log", Access::Runner, "Append to a log", logs::append)
            .up_to(2 * limits::LOG_BATCH_BYTES)
            .answers::<LogAnswer>(),
        post(
            "/api/v1/attempts/{attempt}/secrets",
            Access::Runner,
            "The secrets of an attempt, for the runner that holds it",
            secrets::deliver,
        )
        .answers::<SecretValues>(),
        get("/api/v1/blobs/sha256/{hash}", reader, "A blob, with ranges; also as HEAD", blobs::get)
            .query(&["name"])
            .sends("application/octet-stream"),
        Route::new(Method::PUT, "/api/v1/blobs/sha256/{hash}", writer, "A piece of a blob", blobs::put)
            .query(&["offset", "size"])
            .up_to(2 * limits::BLOB_PIECE_BYTES as usize)
            .answers::<BlobHave>(),
        get("/api/v1/jobs/{job}/manifest", VIEWER, "What each chunk left, as JSON lines", manifest::show)
            .sends("application/x-ndjson"),
    ]
}
