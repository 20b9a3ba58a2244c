//! A person's browser, as far as the server can tell: it opens links, keeps the cookie it is given, and follows nothing by itself.
use anyhow::{Context, Result, ensure};

pub struct Browser {
    http: reqwest::Client,
}

impl Browser {
    /// `ca`: the PEM of the authority that it trusts, where the server speaks TLS.
    pub fn new(ca: Option<&[u8]>) -> Result<Browser> {
        // Only the first call installs it; the later ones find it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = ca {
            builder = builder.tls_certs_only([reqwest::Certificate::from_pem(pem)?]);
        }
        Ok(Browser { http: builder.build()? })
    }

    pub async fn status(&self, url: &str) -> Result<u16> {
        Ok(self.http.get(url).send().await?.status().as_u16())
    }

    /// Opens a login link, which must lead on with a cookie; then, with that cookie, the page `path` of the same server.
    pub async fn log_in(&self, link: &str, path: &str) -> Result<String> {
        let answer = self.http.get(link).send().await?;
        ensure!(answer.status() == 303, "{link} answered {}", answer.status());
        let cookie = answer.headers().get("set-cookie").context("the link gave no cookie")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let (server, _) = link.split_once("/login").context("no login link")?;
        let page = self.http.get(format!("{server}{path}")).header("cookie", cookie).send().await?;
        ensure!(page.status() == 200, "{path} answered {}", page.status());
        Ok(page.text().await?)
    }
}
