//! The door: a login link brings people in; a token can be pasted.
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::shown::Shown;
use super::words;

/// `wrong` says why the last try was refused.
pub fn page(frame: Frame<'_>, grid: &str, wrong: Option<&str>) -> Markup {
    frame.page(
        Here::Elsewhere,
        "Log in",
        &[],
        html! {
            section.panel.door { div.body {
                h1 { "Log in" }
                p.dim { "to the grid " b { (Shown(grid)) } }
                @if let Some(wrong) = wrong { div.notice.wrong role="alert" { p { (Shown(&words::sentence(wrong))) } } }
                form method="post" action="/login" {
                    div.field { label for="token" { "Token" }
                        input #token name="token" type="password" autocomplete="current-password" required size="40" autofocus;
                    }
                    button.main type="submit" { "Log in" }
                }
                p.dim.small {
                    "No token? Open the login link that the server printed when it first started, or make a new one where you are logged in already: "
                    code { "dsg open" }
                }
            } }
        },
    )
}
