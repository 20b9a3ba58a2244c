//! The API as a typed client, for tests: it panics with the server's own words where something is refused.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dsg_schemas::api::{Act, Acted, ChunkDetail, JobDetail, Page, RunnerView, Submit, Submitted, Upload, Uploads};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, stage_name};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// How long anything in a test may take before it is called stuck: far above what is expected, because machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub url: String,
    token: String,
}

impl Client {
    /// `ca`: the PEM of the server's own CA, where it speaks TLS.
    pub fn new(url: &str, token: &str, ca: Option<&[u8]>) -> Result<Client> {
        // Only the first call installs it; the later ones find it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().timeout(Duration::from_secs(60)).tcp_nodelay(true);
        if let Some(pem) = ca {
            builder = builder.tls_certs_only([reqwest::Certificate::from_pem(pem)?]);
        }
        Ok(Client { http: builder.build()?, url: url.trim_end_matches('/').to_owned(), token: token.to_owned() })
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let answer = request.send().await?;
        let (status, url) = (answer.status(), answer.url().clone());
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{url} answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{url} answered {text}"))
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.json(self.request(Method::GET, path)).await
    }

    /// Sends the files under `folder` that `names` lists, as `dsg submit` would.
    pub async fn upload(&self, folder: &Path, names: &[&str]) -> Result<Uploads> {
        let mut uploads = BTreeMap::new();
        for name in names {
            let bytes = std::fs::read(folder.join(name)).with_context(|| format!("reading {name}"))?;
            let sha256 = hex(&Sha256::digest(&bytes));
            let size = bytes.len() as u64;
            let path = format!("/api/v1/blobs/sha256/{sha256}?offset=0&size={size}");
            let _: dsg_schemas::api::BlobHave = self.json(self.request(Method::PUT, &path).body(bytes)).await?;
            uploads.insert((*name).to_owned(), Upload { size, sha256 });
        }
        Ok(uploads)
    }

    pub async fn submit(&self, spec: &str) -> Result<JobId> {
        self.submit_with(Submit { spec: spec.to_owned(), ..Submit::default() }).await
    }

    pub async fn submit_with(&self, submit: Submit) -> Result<JobId> {
        let done: Submitted = self.json(self.request(Method::POST, "/api/v1/jobs").json(&submit)).await?;
        Ok(done.job)
    }

    pub async fn act(&self, act: Act) -> Result<Acted> {
        self.json(self.request(Method::POST, "/api/v1/acts").json(&act)).await
    }

    pub async fn job(&self, job: JobId) -> Result<JobDetail> {
        self.get(&format!("/api/v1/jobs/{job}")).await
    }

    pub async fn chunk(&self, id: ChunkId) -> Result<ChunkDetail> {
        self.get(&format!("/api/v1/jobs/{}/chunks/{}/{}", id.job, stage_name(id.stage), id.index)).await
    }

    pub async fn chunk_at(&self, job: JobId, index: u32) -> Result<ChunkDetail> {
        self.chunk(ChunkId { job, stage: 0, index }).await
    }

    pub async fn runners(&self) -> Result<Vec<RunnerView>> {
        Ok(self.get::<Page<RunnerView>>("/api/v1/runners").await?.rows)
    }

    /// The bytes of one stream as the container wrote them.
    pub async fn log(&self, attempt: AttemptId, stream: &str) -> Result<Vec<u8>> {
        let path = format!("/api/v1/attempts/{attempt}/log/raw?stream={stream}");
        let answer = self.request(Method::GET, &path).send().await?.error_for_status()?;
        Ok(answer.bytes().await?.to_vec())
    }

    pub async fn blob(&self, sha256: &str) -> Result<Vec<u8>> {
        let answer =
            self.request(Method::GET, &format!("/api/v1/blobs/sha256/{sha256}")).send().await?.error_for_status()?;
        let bytes = answer.bytes().await?.to_vec();
        anyhow::ensure!(hex(&Sha256::digest(&bytes)) == sha256, "blob {sha256} came with other bytes");
        Ok(bytes)
    }

    /// A gathered file by name.
    pub async fn gathered(&self, job: &JobDetail, name: &str) -> Result<Vec<u8>> {
        let found = job.gathered.iter().find(|file| file.name == name);
        let file = found.with_context(|| format!("{name} is not among the gathered files {:?}", job.gathered))?;
        self.blob(&file.sha256).await
    }

    /// Asks until the answer satisfies, or patience ends; an unreachable server is asked again.
    pub async fn eventually<T, F>(&self, what: &str, mut ask: impl FnMut(Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        let begun = Instant::now();
        loop {
            let trouble = match ask(self.clone()).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => None,
                Err(error) => Some(error),
            };
            if begun.elapsed() > PATIENCE {
                match trouble {
                    Some(error) => return Err(error.context(format!("waited in vain: {what}"))),
                    None => bail!("waited in vain: {what}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn ended(&self, job: JobId) -> Result<JobDetail> {
        let what = format!("job {job} ends");
        let ended = self.eventually(&what, |client| async move {
            let detail = client.job(job).await?;
            Ok(detail.job.state.is_final().then_some(detail))
        });
        match ended.await {
            Ok(detail) => Ok(detail),
            Err(error) => Err(error.context(format!("{:?}", self.job(job).await))),
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
