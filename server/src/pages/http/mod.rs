//! Pages over HTTP: the same views as the API's, drawn for people.
mod act;
mod door;
mod flash;
mod look;
mod multipart;
mod problems;
mod submit;
mod tokens;
mod visit;

use axum::handler::Handler;
use dsg_schemas::api::Role;
use dsg_schemas::limits;
use http::Method;

pub use problems::problems;

use crate::app::App;
use crate::routes::Route;
use crate::web::Access;

/// A form with a job file, its settings, and files for those who have no JavaScript; larger ones go through the blob store.
const SUBMIT_BYTES: usize = 64 << 20;
const FORM_BYTES: usize = 64 << 10;
const VIEWER: Access = Access::Role(Role::Viewer);
const SUBMITTER: Access = Access::Role(Role::Submitter);
const OPERATOR: Access = Access::Role(Role::Operator);
const ADMIN: Access = Access::Role(Role::Admin);

pub fn routes() -> Vec<Route> {
    vec![
        get("/assets/{name}", Access::Open, "A style sheet or script", door::asset),
        get("/login", Access::Open, "The page to log in, or with a login link's code the login itself", door::login),
        get("/", VIEWER, "Overview", look::overview),
        get("/jobs", VIEWER, "Jobs", look::jobs),
        get("/jobs/{job}", VIEWER, "One job", look::job),
        get("/jobs/{job}/chunks/{stage}/{index}", VIEWER, "One chunk, with its log", look::chunk),
        get("/runners", VIEWER, "Runners", look::runners),
        get("/queue", VIEWER, "The queue", look::queue),
        get("/submit", SUBMITTER, "The form to submit a job", submit::form),
        post("/submit", SUBMITTER, "Check or submit a job", submit::send).up_to(SUBMIT_BYTES + 2 * limits::SPEC_BYTES),
        post("/jobs/{job}/act", SUBMITTER, "Retry, cancel, hold, release or delete a job", act::job),
        post("/jobs/{job}/chunks/{stage}/{index}/retry", SUBMITTER, "Run one chunk again", act::chunk),
        post("/runners/{runner}/act", OPERATOR, "Drain, pause, evict, resume or remove a runner", act::runner),
        get("/tokens", ADMIN, "Tokens", tokens::list),
        post("/tokens", ADMIN, "Make a token", tokens::create),
        post("/tokens/{id}/revoke", ADMIN, "Revoke a token", tokens::revoke),
    ]
}

fn get<H: Handler<T, App>, T: 'static>(path: &'static str, access: Access, summary: &'static str, handler: H) -> Route {
    Route::new(Method::GET, path, access, summary, handler).page()
}

fn post<H: Handler<T, App>, T: 'static>(
    path: &'static str,
    access: Access,
    summary: &'static str,
    handler: H,
) -> Route {
    Route::new(Method::POST, path, access, summary, handler).page().up_to(FORM_BYTES)
}
