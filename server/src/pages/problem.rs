//! Errors as pages: what was attempted, why it failed, what to do next.
use dsg_schemas::api::Problem;
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::shown::Shown;
use super::words;

pub fn page(frame: Frame<'_>, problem: &Problem) -> Markup {
    let next = match problem.status {
        401 => Some(("/login", "Log in")),
        404 => Some(("/jobs", "All jobs")),
        _ => Some(("/", "Overview")),
    };
    frame.page(
        Here::Elsewhere,
        &problem.title,
        &[],
        html! {
            section.panel.door { div.body {
                p.dim.small { (problem.status) " · " (Shown(&problem.code)) }
                h1 { (Shown(&problem.title)) }
                @if !problem.detail.is_empty() { p { (Shown(&words::sentence(&problem.detail))) } }
                @if !problem.problems.is_empty() {
                    ul { @for one in &problem.problems { li { (Shown(&one.message)) } } }
                }
                @if let Some((path, name)) = next { p { a.button href=(path) { (name) } } }
            } }
        },
    )
}
