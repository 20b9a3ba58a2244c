//! Does with a login link what a browser does: opens it once, and keeps the session it is given while it is needed.
use dsg_schemas::api::Problem;
use reqwest::{RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client;
use crate::exit::{Exit, Failure};

pub fn is_login_link(url: &Url) -> bool {
    url.path().ends_with("/login") && url.query_pairs().any(|(name, _)| name == "code")
}

pub struct Session {
    http: reqwest::Client,
    base: Url,
    cookie: String,
}

/// Opens the link. It works once, whatever happens afterwards.
pub async fn open_session(link: &Url, ca_pem: Option<&str>) -> Result<Session, Failure> {
    let http = client::plain(link, ca_pem)?;
    let mut response = http.get(link.clone()).send().await.map_err(|error| client::unreachable(link, &error))?;
    if response.status().as_u16() == 405 {
        response = http.post(link.clone()).send().await.map_err(|error| client::unreachable(link, &error))?;
    }
    let cookies = response.headers().get_all("set-cookie").iter();
    let cookie = cookies
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next().map(str::to_owned))
        .collect::<Vec<_>>()
        .join("; ");
    if cookie.is_empty() {
        return Err(Failure::new(
            Exit::Auth,
            "the login link does not log in: it was used before, or its time is over",
        )
        .hint("ask for a new one, or log in with a token: `dsg login URL`"));
    }
    let mut base = link.clone();
    base.set_query(None);
    base.set_path(link.path().trim_end_matches("/login"));
    Ok(Session { http, base, cookie })
}

impl Session {
    pub async fn get<T: DeserializeOwned>(&self, attempted: &str, path: &str) -> Result<T, Failure> {
        self.send(attempted, self.http.get(self.url(path))).await
    }
    pub async fn post<T: DeserializeOwned>(
        &self,
        attempted: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.send(attempted, self.http.post(self.url(path)).json(body)).await
    }
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }
    async fn send<T: DeserializeOwned>(&self, attempted: &str, request: RequestBuilder) -> Result<T, Failure> {
        let sent = request.header("cookie", &self.cookie).send().await;
        let response = sent.map_err(|error| client::unreachable(&self.base, &error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| client::broke_off(attempted, &client::root_cause(&error)))?;
        if status.is_success() {
            return client::understand(attempted, client::json(attempted, &body)?);
        }
        let failure = client::refusal_of(attempted, status, &body);
        match failure.problem.as_deref() {
            Some(Problem { status: 403, .. }) => {
                Err(failure.hint("only admins can make tokens; ask one for yours and log in with `dsg login URL`"))
            }
            _ => Err(failure),
        }
    }
}
