//! Docker's API, as far as a runner uses it, told truly or not.
use dsg_schemas::wire::log::Stream;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::engine::{LyingEngine, Real, Truth, now_ms};
use super::http::{Out, Over, Request, read};
use super::script::{Call, How};

pub async fn answer(engine: LyingEngine, mut stream: UnixStream) {
    let Some(request) = read(&mut stream).await else { return };
    if engine.world().hung {
        return Out::new(stream, None).abandoned().await;
    }
    let parts: Vec<_> = request.path.trim_matches('/').split('/').collect();
    let parts = if parts[0].starts_with('v') && parts.len() > 1 { &parts[1..] } else { &parts[..] };
    let done = match (request.method.as_str(), parts) {
        ("GET", ["version"]) => Out::new(stream, None).json(200, &version()).await,
        ("GET", ["info"]) => {
            Out::new(stream, None).json(200, &json!({"LiveRestoreEnabled": engine.world().outlived})).await
        }
        ("GET", ["images", ..]) => image(&engine, stream).await,
        ("POST", ["containers", "create"]) => create(&engine, stream, &request).await,
        ("GET", ["containers", "json"]) => Out::new(stream, None).json(200, &list(&engine)).await,
        (method, ["containers", id, rest @ ..]) => {
            let found = engine
                .world()
                .containers
                .iter()
                // A name is free again once its container is gone.
                .find(|(own, truth)| *own == id || (truth.name == *id && !truth.removed))
                .map(|(own, _)| own.clone());
            let about = About { engine: &engine, id: found.unwrap_or_default() };
            match (method, rest) {
                ("GET", ["json"]) => about.inspect(stream).await,
                ("POST", ["attach"]) => about.attach(stream).await,
                ("POST", ["start"]) => about.start(stream).await,
                ("POST", ["wait"]) => about.wait(stream).await,
                ("GET", ["logs"]) => about.logs(stream, request.query.contains("follow=true")).await,
                ("POST", ["stop"]) => about.stop(stream).await,
                ("DELETE", []) => about.remove(stream).await,
                _ => panic!("{method} {} is unknown here", request.path),
            }
        }
        (method, _) => panic!("{method} {} is unknown here", request.path),
    };
    // Whoever was cut off knows.
    drop(done);
}

fn version() -> Value {
    json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Components": [{"Name": "Engine", "Version": "20.10.24"}]})
}

/// Asked once for all attempts: the lies of any.
async fn image(engine: &LyingEngine, stream: UnixStream) -> Result<(), Over> {
    let whole = json!({"Id": "sha256:1", "Config": {"User": "", "Env": []}});
    match engine.lie(Call::Image, 0) {
        Some(How::Refuses(status)) => Out::new(stream, None).json(status, &refusal(status)).await,
        Some(How::Cut(at)) => Out::new(stream, Some(at)).json(200, &whole).await,
        _ => Out::new(stream, None).json(200, &whole).await,
    }
}

async fn create(engine: &LyingEngine, stream: UnixStream, request: &Request) -> Result<(), Over> {
    let asked: Value = serde_json::from_slice(&request.body).expect("a request");
    let name = request.query.split('&').find_map(|part| part.strip_prefix("name=")).expect("a name").to_owned();
    let attempt: u64 = asked["Labels"]["dsg.attempt"].as_str().and_then(|text| text.parse().ok()).expect("an attempt");
    let lie = engine.lie(Call::Create, attempt);
    let mut id = format!("{:016x}", attempt).repeat(4);
    let made = engine.change(|world| {
        if world.containers.values().any(|truth| truth.name == name && !truth.removed) {
            return Err(409);
        }
        if matches!(lie, Some(How::Hangs | How::Claims | How::Refuses(_))) {
            return Ok(());
        }
        let script = world.scripts.get(&attempt).cloned().unwrap_or_default();
        let ignored = script.gpus_ignored && !world.calm;
        let wants = asked["HostConfig"]["DeviceRequests"].clone();
        let truth = Truth {
            attempt,
            name,
            labels: asked["Labels"].clone(),
            requests: if ignored { Value::Null } else { wants.clone() },
            real: Real::Created,
            removed: false,
            began_ms: 0,
            ended_ms: 0,
            code: 0,
            oom: false,
            own_end: false,
            gpus: wants.is_null() || !ignored,
            log: Vec::new(),
        };
        while world.containers.contains_key(&id) {
            id = format!("{:016x}", world.containers.len() + 1_000_000).repeat(4);
        }
        world.containers.insert(id.clone(), truth);
        Ok(())
    });
    if let Err(status) = made {
        return Out::new(stream, None)
            .json(status, &json!({"message": "Conflict. The container name is already in use"}))
            .await;
    }
    simple(stream, lie, 201, &json!({"Id": id, "Warnings": []})).await
}

fn list(engine: &LyingEngine) -> Value {
    let world = engine.world();
    let there = world.containers.iter().filter(|(_, truth)| !truth.removed);
    there.map(|(id, truth)| json!({"Id": id, "Labels": truth.labels})).collect()
}

/// What was done is done; this is how it is told.
async fn simple(stream: UnixStream, lie: Option<How>, status: u16, body: &Value) -> Result<(), Over> {
    match lie {
        Some(How::Hangs | How::DoneAndHangs) => {
            Out::new(stream, None).abandoned().await;
            Err(Over)
        }
        Some(How::Refuses(status) | How::DoneAndRefuses(status)) => {
            Out::new(stream, None).json(status, &refusal(status)).await
        }
        Some(How::Cut(at)) => Out::new(stream, Some(at)).json(status, body).await,
        Some(How::Short(at)) => {
            let text = body.to_string();
            Out::new(stream, None).text(status, &text[..at.min(text.len())]).await
        }
        _ => Out::new(stream, None).json(status, body).await,
    }
}

fn refusal(status: u16) -> Value {
    json!({"message": format!("so it says: {status}")})
}

struct About<'a> {
    engine: &'a LyingEngine,
    id: String,
}

impl About<'_> {
    /// Unless it is not there, or its engine says so.
    fn truth(&self) -> Option<Truth> {
        self.engine.world().containers.get(&self.id).filter(|truth| !truth.removed).cloned()
    }

    /// The lie of this call; `Err`: there is no such container.
    async fn begin(&self, stream: UnixStream, call: Call) -> Result<(UnixStream, Truth, Option<How>), Over> {
        match self.truth() {
            Some(truth) => {
                let lie = self.engine.lie(call, truth.attempt);
                Ok((stream, truth, lie))
            }
            None => {
                Out::new(stream, None).json(404, &json!({"message": "No such container"})).await?;
                Err(Over)
            }
        }
    }

    async fn inspect(&self, stream: UnixStream) -> Result<(), Over> {
        let (stream, truth, lie) = self.begin(stream, Call::Inspect).await?;
        let shown = match lie {
            Some(How::EndedBefore) => {
                let began = if truth.began_ms > 0 { truth.began_ms } else { now_ms() };
                Truth { real: Real::Exited, began_ms: began, ended_ms: began - 3_600_000, code: 0, oom: false, ..truth }
            }
            Some(How::EndedNever) => {
                Truth { real: Real::Exited, began_ms: now_ms(), ended_ms: 0, code: 0, oom: false, ..truth }
            }
            Some(How::StillRuns) if truth.real == Real::Exited => {
                Truth { real: Real::Running, ended_ms: 0, code: 0, ..truth }
            }
            _ => truth,
        };
        simple(stream, lie, 200, &inspected(&self.id, &shown)).await
    }

    async fn start(&self, stream: UnixStream) -> Result<(), Over> {
        let (stream, truth, lie) = self.begin(stream, Call::Start).await?;
        match lie {
            Some(How::Hangs | How::Refuses(_) | How::Claims) => {}
            Some(How::Later(ms)) => {
                let (engine, id) = (self.engine.clone(), self.id.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
                    engine.really_start(&id);
                });
            }
            _ => self.engine.really_start(&self.id),
        }
        let honest = if truth.real == Real::Created { 204 } else { 304 };
        simple(stream, lie, honest, &json!({})).await
    }

    async fn stop(&self, stream: UnixStream) -> Result<(), Over> {
        let (stream, truth, lie) = self.begin(stream, Call::Stop).await?;
        if !matches!(lie, Some(How::Hangs | How::Refuses(_) | How::Claims)) {
            self.engine.really_stop(&self.id);
        }
        simple(stream, lie, if truth.real == Real::Running { 204 } else { 304 }, &json!({})).await
    }

    async fn remove(&self, stream: UnixStream) -> Result<(), Over> {
        let (stream, _, lie) = self.begin(stream, Call::Remove).await?;
        if !matches!(lie, Some(How::Hangs | How::Refuses(_) | How::Claims)) {
            self.engine.really_remove(&self.id);
        }
        simple(stream, lie, 204, &json!({})).await
    }

    async fn wait(&self, stream: UnixStream) -> Result<(), Over> {
        let (stream, _, lie) = self.begin(stream, Call::Wait).await?;
        let mut changed = self.engine.changed.subscribe();
        let early = matches!(lie, Some(How::Zero | How::Cut(_) | How::Refuses(_) | How::DoneAndRefuses(_)));
        // A container that was removed has ended with 0, says Podman.
        let code = loop {
            match self.truth() {
                Some(truth) if truth.real == Real::Exited && !early => break truth.code,
                Some(_) if !early => {}
                _ => break 0,
            }
            changed.changed().await.map_err(|_| Over)?;
        };
        match lie {
            Some(How::Hangs | How::DoneAndHangs | How::Refuses(_) | How::DoneAndRefuses(_)) => {
                simple(stream, lie, 200, &json!({})).await
            }
            _ => {
                let mut out = Out::new(stream, if let Some(How::Cut(at)) = lie { Some(at) } else { None });
                out.begin("application/json").await?;
                out.chunk(format!("{}\n", json!({"StatusCode": code})).as_bytes()).await?;
                out.end().await
            }
        }
    }

    /// Live from the moment it is opened, and whole if that is before the start.
    async fn attach(&self, stream: UnixStream) -> Result<(), Over> {
        let (stream, _, lie) = self.begin(stream, Call::Attach).await?;
        if let Some(How::Hangs | How::Refuses(_) | How::DoneAndRefuses(_)) = lie {
            return simple(stream, lie, 200, &json!({})).await;
        }
        let mut out = Out::new(stream, if let Some(How::Cut(at)) = lie { Some(at) } else { None });
        out.write(b"HTTP/1.1 101 UPGRADED\r\ncontent-type: application/vnd.docker.raw-stream\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n")
            .await?;
        if lie == Some(How::DoneAndHangs) {
            out.abandoned().await;
            return Err(Over);
        }
        let mut told = 0;
        let mut changed = self.engine.changed.subscribe();
        loop {
            let Some(truth) = self.engine.world().containers.get(&self.id).cloned() else { return Err(Over) };
            for (stream, bytes) in &truth.log[told..] {
                out.write(&frame(*stream, bytes)).await?;
            }
            told = truth.log.len();
            if truth.real == Real::Exited || truth.removed {
                return Ok(());
            }
            changed.changed().await.map_err(|_| Over)?;
        }
    }

    async fn logs(&self, stream: UnixStream, follow: bool) -> Result<(), Over> {
        let (stream, _, lie) = self.begin(stream, Call::Logs).await?;
        if let Some(How::Hangs | How::Refuses(_) | How::DoneAndRefuses(_)) = lie {
            return simple(stream, lie, 200, &json!({})).await;
        }
        let mut out = Out::new(stream, if let Some(How::Cut(at)) = lie { Some(at) } else { None });
        out.begin("application/vnd.docker.raw-stream").await?;
        let mut short = if let Some(How::Short(at)) = lie { at } else { usize::MAX };
        let mut told = 0;
        let mut changed = self.engine.changed.subscribe();
        loop {
            let Some(truth) = self.truth() else { break };
            for (stream, bytes) in &truth.log[told..] {
                let frame = frame(*stream, bytes);
                let allowed = short.min(frame.len());
                if allowed > 0 {
                    out.chunk(&frame[..allowed]).await?;
                }
                short -= allowed;
            }
            told = truth.log.len();
            if !follow || truth.real == Real::Exited || short == 0 {
                break;
            }
            changed.changed().await.map_err(|_| Over)?;
        }
        if lie == Some(How::DoneAndHangs) {
            out.abandoned().await;
            return Err(Over);
        }
        out.end().await
    }
}

fn inspected(id: &str, truth: &Truth) -> Value {
    let (status, running) = match truth.real {
        Real::Created => ("created", false),
        Real::Running => ("running", true),
        Real::Exited => ("exited", false),
    };
    json!({
        "Id": id,
        "Name": format!("/{}", truth.name),
        "State": {
            "Status": status, "Running": running, "Pid": 0, "ExitCode": truth.code, "OOMKilled": truth.oom, "Error": "",
            "StartedAt": time(truth.began_ms), "FinishedAt": time(truth.ended_ms),
        },
        "Config": {"Labels": truth.labels},
        "HostConfig": {"DeviceRequests": truth.requests},
    })
}

/// The year 1 is how Go writes: never.
fn time(ms: i64) -> String {
    match ms {
        0 => "0001-01-01T00:00:00Z".to_owned(),
        ms => jiff::Timestamp::from_millisecond(ms).expect("a time").to_string(),
    }
}

fn frame(stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let kind = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&[kind, 0, 0, 0][..], &length, bytes].concat()
}
