//! What is open to everybody: assets and the login page.
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header;
use serde::Deserialize;

use super::super::frame::Frame;
use super::super::{asset, login as page};
use crate::api::login;
use crate::app::App;
use crate::failure::{Failure, Reply};
use crate::web::{Ask, In};

/// Its name holds its hash, so it never changes.
pub async fn asset(In(name): In<String>) -> Reply<Response> {
    let asset =
        asset::find(&name).ok_or_else(|| Failure::not_found("this asset is another version's; reload the page"))?;
    let headers =
        [(header::CONTENT_TYPE, asset.content_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.bytes).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    code: Option<String>,
}

pub async fn login(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Ask(Code { code }): Ask<Code>,
) -> Reply<Response> {
    match code {
        Some(code) => {
            let cookie = login::by_code(&app, address, &code).await?;
            Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
        }
        None => {
            let frame = Frame { viewer: None, banners: &app.banners.all(), flash: None, now_ms: app.clock.now_ms() };
            Ok(page::page(frame, &app.grid, None).into_response())
        }
    }
}
