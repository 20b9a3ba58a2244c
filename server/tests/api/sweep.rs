//! A knock at every door of the table, with every kind of key.
use dsg_schemas::api::{Role, TokenKind};
use dsg_server::routes::{Route, Surface, document, table};
use dsg_server::web::Access;
use reqwest::Method;

use super::grid::{Grid, Runner};

/// What may be done without a token. A route that becomes open must be added here by hand.
const OPEN: [&str; 5] = ["GET /healthz", "GET /api/v1/ca", "GET /login", "POST /login", "POST /logout"];

fn path(route: &Route) -> String {
    let filled = route.path.split('/').map(|part| match part.starts_with('{') {
        true if part == "{stage}" => "main".to_owned(),
        true if part == "{hash}" => "0".repeat(64),
        true => "1".to_owned(),
        false => part.to_owned(),
    });
    filled.collect::<Vec<_>>().join("/")
}

/// 401 and 403 keep out; everything else means that the door was open.
async fn knock(grid: &Grid, route: &Route, token: &str) -> u16 {
    let mut request = grid.http.request(route.method.clone(), format!("{}{}", grid.server.url, path(route)));
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    if route.request.is_some() {
        request = request.header("content-type", "application/json").body("{");
    }
    // Of a stream only the head is waited for.
    let answer = request.send().await.expect("an answer");
    // A browser without a session is sent to log in.
    let to_login = answer.headers().get("location").is_some_and(|to| to == "/login");
    if route.surface == Surface::Page && to_login { 401 } else { answer.status().as_u16() }
}

fn may(access: Access, role: Role) -> bool {
    match access {
        Access::Open => true,
        Access::Role(least) => role != Role::Runner && role >= least,
        Access::Runner => role == Role::Runner,
        Access::RoleOrRunner(least) => role == Role::Runner || role >= least,
        Access::Join => false,
    }
}

#[tokio::test]
async fn every_door_opens_for_the_right_key_only() {
    let grid = Grid::start().await;
    let Runner { credential, .. } = grid.join("ada").await;
    let revoked = grid.create(TokenKind::Admin, "gone", None).await;
    grid.call::<()>(Method::DELETE, &format!("/api/v1/tokens/{}", revoked.token.id), &grid.token, None).await;
    let join = grid.token(TokenKind::Join, "join").await;
    let keys = [
        (Role::Viewer, grid.token(TokenKind::Viewer, "v").await),
        (Role::Submitter, grid.token(TokenKind::Submitter, "s").await),
        (Role::Operator, grid.token(TokenKind::Operator, "o").await),
        (Role::Admin, grid.token(TokenKind::Admin, "a").await),
        (Role::Runner, credential),
    ];
    for route in table() {
        let name = format!("{} {}", route.method, route.path);
        let is_open =
            OPEN.contains(&name.as_str()) || (route.surface == Surface::Page && route.path.starts_with("/assets/"));
        assert_eq!(route.access == Access::Open, is_open, "{name} is open, or should be");
        // Logging in and out answers 401 by itself.
        if is_open {
            continue;
        }
        for wrong in ["", "dsg_u_nobody", revoked.secret.as_str()] {
            assert_eq!(knock(&grid, &route, wrong).await, 401, "{name} with {wrong:?}");
        }
        for (role, key) in &keys {
            let status = knock(&grid, &route, key).await;
            assert_eq!(status != 403 && status != 401, may(route.access, *role), "{name} as {role:?}: {status}");
        }
        let status = knock(&grid, &route, &join).await;
        assert_eq!(status != 403, route.access == Access::Join, "{name} with a join token: {status}");
    }
}

#[tokio::test]
async fn an_expired_token_opens_nothing() {
    let grid = Grid::start().await;
    let token = grid.token(TokenKind::Admin, "short").await;
    let hash = dsg_server::auth::secret::sha256(&token);
    let expire = move |book: &mut dsg_server::auth::Book, now: u64| {
        let mut entry = book.get(&hash).expect("there").clone();
        entry.expires_ms = Some(now);
        book.put(hash.clone(), entry);
    };
    grid.server.app.engine.book(expire).await.expect("changed");
    for route in table().iter().filter(|route| route.access != Access::Open) {
        assert_eq!(knock(&grid, route, &token).await, 401, "{} {}", route.method, route.path);
    }
}

#[test]
fn the_document_describes_every_route_for_programs() {
    let document = document();
    for route in table() {
        let method = route.method.as_str().to_ascii_lowercase();
        let described = document["paths"][route.path][&method].is_object();
        assert_eq!(described, route.surface == Surface::Api, "{method} {}", route.path);
    }
}
