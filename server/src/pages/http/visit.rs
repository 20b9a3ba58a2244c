//! One visit of a page: who comes, what they are to be told, and how a page goes back.
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use dsg_schemas::api::Whoami;
use dsg_schemas::wire::PROTOCOL;
use http::request::Parts;
use http::{StatusCode, header};
use maud::Markup;

use super::super::frame::{Flash, Frame};
use super::super::url::SafeUrl;
use super::flash;
use crate::api::overview::VERSION;
use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::failure::Failure;

pub struct Visit {
    pub app: App,
    pub caller: Caller,
    pub viewer: Whoami,
    banners: Vec<String>,
    flash: Option<Flash>,
    now_ms: u64,
    /// The page is fetched again by its own script, which shows live regions only.
    pub live: bool,
}

impl FromRequestParts<App> for Visit {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Visit, Failure> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let live = parts.headers.contains_key("x-live");
        Ok(Visit {
            viewer: whoami(app, &caller),
            caller,
            banners: app.banners.all(),
            flash: if live { None } else { flash::read(&parts.headers) },
            now_ms: app.clock.now_ms(),
            live,
            app: app.clone(),
        })
    }
}

pub fn whoami(app: &Shared, caller: &Caller) -> Whoami {
    Whoami {
        name: caller.name.clone(),
        role: caller.role,
        grid: app.grid.clone(),
        version: VERSION.to_owned(),
        protocol: PROTOCOL,
    }
}

impl Visit {
    pub fn frame(&self) -> Frame<'_> {
        Frame { viewer: Some(&self.viewer), banners: &self.banners, flash: self.flash.as_ref(), now_ms: self.now_ms }
    }
    pub fn page(&self, markup: Markup) -> Response {
        self.page_as(StatusCode::OK, markup)
    }
    pub fn page_as(&self, status: StatusCode, markup: Markup) -> Response {
        let mut response = (status, markup).into_response();
        if self.flash.is_some() {
            response.headers_mut().append(header::SET_COOKIE, flash::forget());
        }
        response
    }
    /// The command that adds a runner, but for its token.
    pub fn join_command(&self) -> String {
        format!("dsg-runner join {} --token TOKEN", self.app.url)
    }
}

/// After a form: to a page that says what it did. Reloading that page does nothing again.
pub fn redirect(to: &SafeUrl, good: bool, text: impl Into<String>) -> Response {
    let cookie = flash::set(&Flash { good, text: text.into() });
    ([(header::SET_COOKIE, cookie)], Redirect::to(to.as_str())).into_response()
}
