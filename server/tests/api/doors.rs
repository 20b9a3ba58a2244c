//! Tokens, links, sessions, runners' identities.
use dsg_schemas::api::{LoginLink, Page, TokenKind, TokenView};
use dsg_schemas::wire::{JoinRequest, SyncAnswer};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Method, Response};

use super::grid::{Grid, Runner, is, problem, read};

#[tokio::test]
async fn a_join_token_for_one_lets_one_in_however_many_try_at_once() {
    let grid = Grid::start().await;
    let token = grid.create(TokenKind::Join, "one", None).await;
    assert!(token.command.contains("dsg-runner join") && token.command.contains(&token.secret));
    let join = |n: usize| {
        let (grid, secret) = (&grid, &token.secret);
        async move {
            let request = JoinRequest { name: format!("r{n}") };
            grid.call(Method::POST, "/api/v1/runners/join", secret, Some(&request)).await.status().as_u16()
        }
    };
    let answers = futures_util::future::join_all((0..100).map(join)).await;
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 99);
    let tokens: Page<TokenView> = grid.get("/api/v1/tokens").await;
    assert_eq!(tokens.rows.iter().find(|row| row.id == token.token.id).and_then(|row| row.uses_left), Some(0));
}

#[tokio::test]
async fn a_clone_is_refused_and_the_first_goes_on() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let hello = Runner::hello_request("another-machine");
    let refused = grid.refused(Method::POST, "/api/v1/runners/me/hello", &ada.credential, Some(&hello)).await;
    assert_eq!(refused.code, "cloned");
    ada.sync(&grid, Vec::new()).await;
    ada.hello(&grid, "boot-1").await;
    let late = Runner { seq: 0, ..ada.clone() }.request(Vec::new(), 0);
    read::<SyncAnswer>(ada.send(&grid, &late).await).await;
    let refused = problem(ada.send(&grid, &late).await).await;
    assert_eq!(refused.code, "stale_seq");
}

#[tokio::test]
async fn a_login_link_opens_once_and_the_session_ends_with_logout() {
    let grid = Grid::start().await;
    let link: LoginLink = grid.post("/api/v1/login-links", &()).await;
    let opened = grid.http.get(&link.url).send().await.expect("an answer");
    is(&opened, 303);
    let (cookie, attributes) = cookie(&opened);
    assert!(cookie.starts_with("dsg=") && attributes.contains("HttpOnly") && attributes.contains("SameSite=Lax"));
    let again = grid.http.get(&link.url).send().await.expect("an answer");
    is(&again, 401);

    let whoami =
        |cookie: String| grid.http.get(format!("{}/api/v1/whoami", grid.server.url)).header(COOKIE, cookie).send();
    is(&whoami(cookie.clone()).await.expect("an answer"), 200);
    let foreign = grid.http.post(format!("{}/logout", grid.server.url)).header(COOKIE, &cookie);
    let foreign = foreign.header("sec-fetch-site", "cross-site").send().await.expect("an answer");
    is(&foreign, 403);
    is(&whoami(cookie.clone()).await.expect("an answer"), 200);
    let logout = grid.http.post(format!("{}/logout", grid.server.url)).header(COOKIE, &cookie).send();
    is(&logout.await.expect("an answer"), 303);
    is(&whoami(cookie).await.expect("an answer"), 401);
}

fn cookie(answer: &Response) -> (String, String) {
    let whole = answer.headers().get(SET_COOKIE).expect("a cookie").to_str().expect("text").to_owned();
    (whole.split(';').next().expect("a pair").to_owned(), whole)
}

#[tokio::test]
async fn a_token_logs_a_browser_in_and_revoking_it_ends_the_session() {
    let grid = Grid::start().await;
    let made = grid.create(TokenKind::Viewer, "mara", None).await;
    let login = |token: String| {
        grid.http
            .post(format!("{}/login", grid.server.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"))
            .send()
    };
    let opened = login(made.secret.clone()).await.expect("an answer");
    is(&opened, 303);
    assert_eq!(opened.headers()[LOCATION], "/");
    let (session, _) = cookie(&opened);
    let jobs = || grid.http.get(format!("{}/api/v1/jobs", grid.server.url)).header(COOKIE, &session).send();
    is(&jobs().await.expect("an answer"), 200);
    is(&grid.call::<()>(Method::DELETE, &format!("/api/v1/tokens/{}", made.token.id), &grid.token, None).await, 204);
    is(&jobs().await.expect("an answer"), 401);
    for _ in 0..10 {
        is(&login("dsg_u_guess".to_owned()).await.expect("an answer"), 401);
    }
    is(&login("dsg_u_guess".to_owned()).await.expect("an answer"), 429);
    is(&login(grid.token.clone()).await.expect("an answer"), 429);
}

#[tokio::test]
async fn submitters_act_on_their_own_jobs_only() {
    let grid = Grid::start().await;
    let job = grid.submit(super::grid::HELLO).await;
    let mara = grid.token(TokenKind::Submitter, "mara").await;
    let act = dsg_schemas::api::Act::Cancel { job };
    assert_eq!(grid.refused(Method::POST, "/api/v1/acts", &mara, Some(&act)).await.code, "forbidden");
    let act = dsg_schemas::api::Act::Drain { runner: dsg_schemas::ids::RunnerId(1) };
    assert_eq!(grid.refused(Method::POST, "/api/v1/acts", &mara, Some(&act)).await.code, "forbidden");
    let ola = grid.token(TokenKind::Operator, "ola").await;
    let act = dsg_schemas::api::Act::Cancel { job };
    is(&grid.call(Method::POST, "/api/v1/acts", &ola, Some(&act)).await, 200);
}
