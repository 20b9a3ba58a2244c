//! Submitting from a browser, with and without JavaScript.
use std::collections::BTreeMap;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use dsg_schemas::api::{EditJob, Submit, Upload, Uploads};
use dsg_schemas::ids::JobId;
use http::{StatusCode, header};
use serde::Deserialize;

use super::super::submit::{Draft, EXAMPLES, Outcome, page};
use super::super::url::SafeUrl;
use super::super::words;
use super::multipart::{self, Parts};
use super::visit::{Visit, redirect};
use crate::api::submit;
use crate::app::Shared;
use crate::auth::secret;
use crate::failure::{Failure, Reply};
use crate::web::Ask;
use crate::web::body::body;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    example: Option<String>,
    /// A job whose file to start from.
    like: Option<u64>,
    /// A held job whose file is to be replaced.
    edit: Option<u64>,
}

pub async fn form(visit: Visit, Ask(start): Ask<Start>) -> Reply<Response> {
    let mut draft = Draft { request: secret::random_hex(16), ..Draft::default() };
    if let Some(name) = start.example {
        let example = EXAMPLES.iter().find(|example| example.name == name);
        draft.spec =
            example.ok_or_else(|| Failure::not_found(format!("there is no example {name:?}")))?.text.to_owned();
    } else if let Some(job) = start.edit.or(start.like) {
        draft.edit = start.edit.map(JobId);
        let plan = visit.app.plan(JobId(job)).await?;
        (draft.spec, draft.uploads) = (plan.text.clone(), plan.uploads.clone());
        // Only what differs would need to be said; saying all of it is as right, and shows what was used.
        draft.set = plan.params.iter().map(|(name, value)| format!("{name}={}\n", plain(value))).collect();
    }
    Ok(visit.page(page(visit.frame(), &draft, &Outcome::Blank)))
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub async fn send(visit: Visit, request: Request) -> Reply<Response> {
    let kind =
        request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    let bytes = body(request, &()).await?;
    let app = visit.app.clone();
    let read = move || read_form(&app, &kind, &bytes);
    let (draft, button) = visit.app.blocking("read a form", read).await?;
    let answer = |status, outcome| Ok(visit.page_as(status, page(visit.frame(), &draft, &outcome)));
    let submission = match settings(&draft.set) {
        Ok(set) => Submit {
            spec: draft.spec.clone(),
            set,
            uploads: draft.uploads.clone(),
            request: Some(draft.request.clone()),
        },
        Err(detail) => {
            let failure = Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_parameters", detail);
            return answer(failure.status(), Outcome::Refused(*failure.0));
        }
    };
    if button == "check" {
        return match submit::checked(&visit.app, submission).await {
            Ok(checked) => answer(StatusCode::OK, Outcome::Checked(checked)),
            Err(failure) => answer(failure.status(), refused(failure)),
        };
    }
    if let Some(job) = draft.edit {
        let Submit { spec, set, uploads, request: _ } = submission;
        let edit = EditJob { spec, set, uploads, release: button == "release", again: draft.again };
        return match submit::edited(&visit.app, &visit.caller, job, edit).await {
            Ok(done) => {
                let mut text = format!("{}.", words::sentence(&done.message).trim_end_matches('.'));
                done.warnings.iter().for_each(|warning| text.extend([" ", warning]));
                Ok(redirect(&SafeUrl::job(job), true, text))
            }
            Err(failure) => answer(failure.status(), refused(failure)),
        };
    }
    match submit::submitted(&visit.app, &visit.caller, submission).await {
        Ok(done) => {
            let mut text = format!("Job {} was submitted: {}.", done.job, words::counted(done.chunks, "chunk"));
            done.warnings.iter().for_each(|warning| text.extend([" ", warning]));
            Ok(redirect(&SafeUrl::job(done.job), true, text))
        }
        Err(failure) => answer(failure.status(), refused(failure)),
    }
}

fn refused(failure: Failure) -> Outcome {
    Outcome::Refused(*failure.0)
}

/// The draft, and the button that was pressed.
fn read_form(app: &Shared, kind: &str, bytes: &Bytes) -> Reply<(Draft, String)> {
    let parts = multipart::parts(kind, bytes).map_err(|error| Failure::bad_request(error.to_string()))?;
    let uploads: Uploads = match text(&parts, "uploads")?.as_str() {
        "" => Uploads::new(),
        json => serde_json::from_str(json)
            .map_err(|error| Failure::bad_request(format!("the list of uploads cannot be understood: {error}")))?,
    };
    let edit = match text(&parts, "edit")?.as_str() {
        "" => None,
        job => Some(JobId(job.parse().map_err(|_| Failure::bad_request(format!("{job:?} is no number of a job")))?)),
    };
    let mut draft = Draft {
        spec: text(&parts, "spec")?,
        set: text(&parts, "set")?,
        uploads,
        request: text(&parts, "request")?,
        edit,
        again: text(&parts, "again")? == "yes",
    };
    let from_disk = text(&parts, "spec_file")?;
    if !from_disk.is_empty() {
        draft.spec = from_disk;
    }
    for part in parts.get("files").into_iter().flatten() {
        let Some(name) = part.file.filter(|name| !name.is_empty()) else { continue };
        app.room_for_uploads()?;
        let (hash, size) = app.blobs.write(part.bytes)?;
        draft.uploads.insert(name.to_owned(), Upload { size, sha256: hash.to_string() });
    }
    Ok((draft, text(&parts, "act")?))
}

/// Browsers send newlines as CR LF.
fn text(parts: &Parts<'_>, name: &str) -> Reply<String> {
    let bytes = parts.get(name).and_then(|found| found.last()).map_or(&b""[..], |part| part.bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.replace("\r\n", "\n")),
        Err(_) => Err(Failure::bad_request(format!("{name} is not UTF-8 text; save it as UTF-8 and send it again"))),
    }
}

fn settings(text: &str) -> Result<BTreeMap<String, String>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pair = |line: &str| match line.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err(format!("the parameter {line:?} has no value; write it as name=value")),
    };
    lines.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::settings;

    #[test]
    fn parameters_are_lines_with_an_equals_sign() {
        let read = settings("n=4\n\n name = a=b \r\n").expect("two pairs");
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [("n".to_owned(), "4".to_owned()), ("name".to_owned(), "a=b".to_owned())]
        );
        assert!(settings("n=4\nrubbish").expect_err("no value").contains("rubbish"));
    }
}
