//! A running server: everything opened, wired and served; embeddable, so that tests and the demo run the real thing.
use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use dsg_schemas::api::{CreateToken, Role, TokenKind};
use hyper_util::rt::TokioTimer;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::tokens;
use crate::app::{App, Shared};
use crate::auth::secret::{self, Prefix};
use crate::auth::{Caller, Doors, Entry, Kind};
use crate::blobs::BlobStore;
use crate::clock::Clock;
use crate::config::{Config, Tls};
use crate::engine::{self, Banners, Outbox};
use crate::failure::Failure;
use crate::logs::LogStore;
use crate::store::{Store, StoreError, private_dir};
use crate::tls::{self, Certificates, TlsError};
use crate::vault::{Vault, VaultError};
use crate::{gather, housekeeping, retention, routes};

/// A client that is slower than this with its headers is not one of ours.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// For requests under way when the server stops.
const STOP_TIME: Duration = Duration::from_secs(5);
/// Of the join token that the first start shows.
const FIRST_JOIN_USES: u32 = 10;
const FIRST_JOIN_HOURS: u64 = 24;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Engine(#[from] engine::StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}: {source}", source = std::error::Error::source(.0).map(ToString::to_string).unwrap_or_default())]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("cannot use the certificate: {0}")]
    Certificate(std::io::Error),
    #[error("cannot listen on {address}: {source}; choose another one with --listen")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot look at the secrets: {0}")]
    Secrets(String),
    #[error("cannot make the first tokens: {0}")]
    Tokens(String),
}

pub struct Server {
    /// Where people and runners reach it.
    pub url: String,
    pub address: SocketAddr,
    /// As it lies in `DATA/admin.token`.
    pub admin_token: String,
    /// Of the server's own CA.
    pub ca_pem: Option<String>,
    /// Shown once, at the very first start.
    pub welcome: Option<Welcome>,
    pub app: App,
    handle: Handle<SocketAddr>,
    served: JoinHandle<std::io::Result<()>>,
    engine: thread::JoinHandle<()>,
}

pub struct Welcome {
    /// Logs a browser in as admin, once.
    pub login_url: String,
    pub join_command: String,
}

/// Opens everything below `config.data`, and serves.
pub async fn start(config: Config) -> Result<Server, StartError> {
    // Only the first call in a process installs it; later ones find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let data = config.data.clone();
    private_dir(&data)?;
    let store = Arc::new(Store::open(&data, config.cache_bytes)?);
    let file = |path: PathBuf| move |source| StartError::File { path, source };
    let blobs = BlobStore::open(&data.join("blobs")).map_err(file(data.join("blobs")))?;
    let logs = LogStore::open(&data.join("logs")).map_err(file(data.join("logs")))?;
    let certificates = tls::load(&config)?;
    let vault = Vault::open(&config.secrets_key.clone().unwrap_or_else(|| data.join("secrets.key")))?;
    let listener = listen(config.listen)?;
    let address = listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;

    let (gather, gather_due) = mpsc::unbounded_channel();
    let (logs_due, due_logs) = mpsc::unbounded_channel();
    let (doors, banners) = (Arc::new(Doors::default()), Arc::new(Banners::default()));
    let outbox = Outbox { gather, logs: logs_due };
    let settings = engine::Settings {
        half_life_ms: config.fair_share_half_life_ms,
        lease_ms: config.lease_ms,
        secret_key: vault.id().to_owned(),
    };
    let (engine, clock, thread) =
        engine::start(store.clone(), Clock::start, doors.clone(), banners.clone(), outbox, settings)?;
    if certificates.is_none() && !address.ip().is_loopback() {
        banners.show("http", "This server speaks plain HTTP: everybody on the network can read tokens. Start it without --insecure-http.");
    }
    let authority = certificates.as_ref().and_then(|certificates| certificates.ca.clone());
    let app = Arc::new(Shared {
        clock,
        engine,
        grid: store.read(|rows| rows.grid())?,
        store,
        blobs: Arc::new(blobs),
        logs: Arc::new(logs),
        doors,
        banners,
        plans: Default::default(),
        syncs: Default::default(),
        retention: Default::default(),
        vault,
        url: url(&config, address),
        names: tls::addresses::names(&config.public_names).into_iter().collect(),
        authority,
        stopping: CancellationToken::new(),
        config,
    });
    let looked = app.look_at_secrets().await;
    looked.map_err(|failure| StartError::Secrets(failure.0.detail))?;
    let (admin_token, welcome) = first_tokens(&app).await?;
    tokio::spawn(gather::run(app.clone(), gather_due));
    tokio::spawn(housekeeping::keep_logs(app.clone(), due_logs));
    tokio::spawn(housekeeping::keep(app.clone()));
    tokio::spawn(housekeeping::keep_snapshots(app.clone()));
    tokio::spawn(retention::keep(app.clone()));
    let handle = Handle::new();
    let served = serve(app.clone(), listener, certificates.as_ref(), handle.clone()).await?;
    let url = app.url.clone();
    match write_private(&data.join("url"), &url) {
        // Whoever wants to read, or to delete what fills the disk, must find a server.
        Err(StartError::File { path, source }) if source.kind() == std::io::ErrorKind::StorageFull => {
            tracing::warn!(path = %path.display(), "the disk is full: the file cannot be written");
        }
        written => written?,
    }
    let ca_pem = app.authority.as_ref().map(|authority| authority.pem.clone());
    Ok(Server { url, address, admin_token, ca_pem, welcome, app, handle, served, engine: thread })
}

impl Server {
    /// Lets requests under way end, and closes everything; what was answered is on disk already.
    pub async fn stop(self) {
        self.app.stopping.cancel();
        self.handle.graceful_shutdown(Some(STOP_TIME));
        if let Err(error) = self.served.await {
            tracing::error!(%error, "the listener did not end well");
        }
        self.app.engine.stop();
        let (app, thread) = (self.app, self.engine);
        let close = move || {
            // A panic in the thread would have ended the process.
            let _ = thread.join();
            app.store.close();
            app.logs.flush()
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(close).await {
            tracing::error!(%error, "logs could not be flushed");
        }
    }

    /// Returns when the listener is gone by itself, which it should not.
    pub async fn ended(&mut self) -> std::io::Result<()> {
        match (&mut self.served).await {
            Ok(result) => result,
            Err(error) => Err(std::io::Error::other(error)),
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let wrap = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(wrap)?;
    listener.set_nonblocking(true).map_err(wrap)?;
    Ok(listener)
}

async fn serve(
    app: App,
    listener: TcpListener,
    certificates: Option<&Certificates>,
    handle: Handle<SocketAddr>,
) -> Result<JoinHandle<std::io::Result<()>>, StartError> {
    let service = routes::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    macro_rules! serve {
        ($acceptor:expr) => {{
            let server = axum_server::from_tcp(listener).map_err(StartError::Certificate)?;
            let mut server = server.acceptor($acceptor).handle(handle);
            server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
            server.http_builder().http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEADER_TIME * 2));
            tokio::spawn(server.serve(service))
        }};
    }
    // Without Nagle's delay: an order must not wait 40 ms for company.
    Ok(match certificates {
        Some(certificates) => {
            let Certificates { chain_pem, key_pem, ca: _ } = certificates;
            let config = RustlsConfig::from_pem(chain_pem.clone().into_bytes(), key_pem.clone().into_bytes());
            let config = config.await.map_err(StartError::Certificate)?;
            tokio::spawn(tls::follow(app, config.clone(), certificates.clone()));
            serve!(RustlsAcceptor::new(config).acceptor(NoDelayAcceptor::new()))
        }
        None => serve!(NoDelayAcceptor::new()),
    })
}

/// Under a name that the operator gave, else the address that others see.
fn url(config: &Config, address: SocketAddr) -> String {
    let scheme = match config.tls {
        Tls::Own | Tls::Files { .. } => "https",
        Tls::Off => "http",
    };
    let name = config.public_names.first().cloned();
    let ip = if address.ip().is_unspecified() { outward().unwrap_or(address.ip()) } else { address.ip() };
    let host = name.unwrap_or_else(|| if ip.is_unspecified() { "localhost".to_owned() } else { bracketed(ip) });
    format!("{scheme}://{host}:{}", address.port())
}

fn bracketed(ip: std::net::IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// Our address towards the world: a connected UDP socket knows it without sending anything.
fn outward() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// At the first start: an admin token in a file, a login link and a join token.
async fn first_tokens(app: &Shared) -> Result<(String, Option<Welcome>), StartError> {
    let path = app.config.data.join("admin.token");
    let has_admin = app.doors.book().tokens().any(|(_, entry)| entry.kind.role() == Some(Role::Admin));
    if has_admin {
        // Its owner may have moved the file away; the token goes on working.
        let token = std::fs::read_to_string(&path).unwrap_or_default();
        return Ok((token.trim().to_owned(), None));
    }
    let wrap = |failure: Failure| StartError::Tokens(failure.0.detail);
    let secret = secret::fresh(Prefix::User);
    let shown = app.shown(&secret);
    // The file comes first: after a crash in between, the next start makes another token and writes it anew.
    write_private(&path, &shown)?;
    let entry = Entry {
        id: secret::random_hex(4),
        kind: Kind::Token { kind: TokenKind::Admin },
        name: "admin".to_owned(),
        created_ms: app.clock.now_ms(),
        expires_ms: None,
        uses_left: None,
        parent: None,
    };
    let caller = Caller { name: entry.name.clone(), role: Role::Admin, runner: None, token: Some(entry.id.clone()) };
    let hash = secret::sha256(&secret);
    app.engine.book(move |book, _| book.put(hash, entry)).await.map_err(|refused| wrap(refused.into()))?;
    let link = tokens::login_link(app, &caller).await.map_err(wrap)?;
    let join = CreateToken {
        kind: TokenKind::Join,
        name: "first start".to_owned(),
        hours: Some(FIRST_JOIN_HOURS),
        uses: Some(FIRST_JOIN_USES),
    };
    let join = tokens::created(app, join).await.map_err(wrap)?;
    Ok((shown, Some(Welcome { login_url: link.url, join_command: join.command })))
}

/// Whole or not at all, and for our eyes only.
fn write_private(path: &Path, text: &str) -> Result<(), StartError> {
    let wrap = |source| StartError::File { path: path.to_owned(), source };
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new);
    file.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all()))
        .map_err(wrap)?;
    std::fs::rename(&new, path).map_err(wrap)
}
