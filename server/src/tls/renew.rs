//! Certificates of a running server: renewed ones are taken up without a restart, and broken ones change nothing but a banner.
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;

use super::{Certificates, TlsError, load};
use crate::app::App;
use crate::config::Tls;

/// Two small files; whoever renews them wants to see it work.
const FILES_EVERY: Duration = Duration::from_secs(2);
/// Our own are renewed months before their end.
const OWN_EVERY: Duration = Duration::from_secs(3600);
const BANNER: &str = "certificate";

/// `serving`: what the listener shows now. Ends with the server.
pub async fn follow(app: App, listener: RustlsConfig, mut serving: Certificates) {
    let every = match app.config.tls {
        Tls::Files { .. } => FILES_EVERY,
        Tls::Own | Tls::Off => OWN_EVERY,
    };
    let mut refused = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = app.stopping.cancelled() => return,
        }
        match read(&app).await {
            Ok(Some(fresh)) if fresh == serving => app.banners.hide(BANNER),
            // Told already; the files have not changed since.
            Ok(Some(fresh)) if refused.as_ref() == Some(&fresh) => {}
            Ok(Some(fresh)) => match take_up(&listener, &fresh).await {
                Ok(()) => {
                    tracing::info!("the renewed certificate is in use");
                    app.banners.hide(BANNER);
                    serving = fresh;
                }
                Err(error) => {
                    warn(&app, &error.to_string());
                    refused = Some(fresh);
                }
            },
            Ok(None) => return,
            Err(why) => warn(&app, &why),
        }
    }
}

async fn read(app: &App) -> Result<Option<Certificates>, String> {
    let of = app.clone();
    let told = |error: TlsError| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    };
    let loaded = tokio::task::spawn_blocking(move || load(&of.config)).await;
    loaded.map_err(|error| error.to_string())?.map_err(told)
}

async fn take_up(listener: &RustlsConfig, fresh: &Certificates) -> std::io::Result<()> {
    listener.reload_from_pem(fresh.chain_pem.clone().into_bytes(), fresh.key_pem.clone().into_bytes()).await
}

fn warn(app: &App, why: &str) {
    tracing::warn!(why, "the renewed certificate cannot be used; the old one stays");
    app.banners.show(
        BANNER,
        format!("The certificate on disk cannot be used: {why}. The server goes on with the one that it read before."),
    );
}
