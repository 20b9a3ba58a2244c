//! What is the same on every page: head, navigation, who is here, banners.
use dsg_schemas::api::{Role, Whoami};
use maud::{DOCTYPE, Markup, html};

use super::asset;
use super::shown::{Shown, shortened};
use super::url::SafeUrl;
use super::words;

/// What every page knows beside its own view.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Absent on the login page and where the caller is not known.
    pub viewer: Option<&'a Whoami>,
    pub banners: &'a [String],
    /// The result of the last act, shown once.
    pub flash: Option<&'a Flash>,
    pub now_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    pub good: bool,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    Overview,
    Jobs,
    Runners,
    Queue,
    Submit,
    Tokens,
    Elsewhere,
}

impl Frame<'_> {
    /// Whether the viewer may do what this role may.
    pub fn may(&self, role: Role) -> bool {
        self.viewer.is_some_and(|viewer| viewer.role != Role::Runner && viewer.role >= role)
    }
    /// Whether the viewer may act on a job of this owner.
    pub fn may_act_on(&self, owner: &str) -> bool {
        self.may(Role::Operator) || self.may(Role::Submitter) && self.viewer.is_some_and(|viewer| viewer.name == owner)
    }

    /// A whole page. `scripts` are names of assets that only this page needs.
    pub fn page(&self, here: Here, title: &str, scripts: &[&'static str], main: Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (Shown(title)) " · DSG" }
                    link rel="icon" href=(asset::url("icon")) type="image/svg+xml";
                    link rel="stylesheet" href=(asset::url("style"));
                    @if self.viewer.is_some() { script type="module" src=(asset::url("live")) {} }
                    @for script in scripts { script type="module" src=(asset::url(script)) {} }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    (self.top(here))
                    div #banners data-live { @for banner in self.banners { p.banner role="alert" { (Shown(banner)) } } }
                    main #main tabindex="-1" {
                        @if let Some(flash) = self.flash {
                            p class=(if flash.good { "flash good" } else { "flash wrong" }) role="status" { (Shown(&words::sentence(&flash.text))) }
                        }
                        (main)
                    }
                    (self.bottom())
                }
            }
        }
    }

    fn top(&self, here: Here) -> Markup {
        let links = [
            (Here::Overview, "/", "Overview", true),
            (Here::Jobs, "/jobs", "Jobs", true),
            (Here::Runners, "/runners", "Runners", true),
            (Here::Queue, "/queue", "Queue", true),
            (Here::Submit, "/submit", "Submit", self.may(Role::Submitter)),
            (Here::Tokens, "/tokens", "Tokens", self.may(Role::Admin)),
        ];
        html! {
            header.top { div {
                a.brand href="/" { img src=(asset::url("icon")) alt="" width="20" height="20"; "DSG" }
                @if let Some(viewer) = self.viewer {
                    nav aria-label="Main" {
                        @for (place, path, name, shown) in links { @if shown {
                            a href=(SafeUrl::fixed(path)) aria-current=[(place == here).then_some("page")] { (name) }
                        } }
                    }
                    div.me {
                        span #live.needs-js title="Whether this page follows what happens" { "static" }
                        span title=(role_word(viewer.role)) { (Shown(&shortened(&viewer.name, 24))) }
                        form method="post" action="/logout" { button.plain type="submit" { "Log out" } }
                    }
                }
            } }
        }
    }

    fn bottom(&self) -> Markup {
        html! {
            @if let Some(viewer) = self.viewer {
                footer.bottom {
                    span { "Grid " (Shown(&viewer.grid)) " · DSG " (Shown(&viewer.version)) }
                    a href="/api/v1/openapi.json" { "API" }
                    span.needs-js { kbd { "?" } " for keys" }
                }
            }
        }
    }
}

pub fn role_word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Submitter => "submitter",
        Role::Operator => "operator",
        Role::Admin => "admin",
        Role::Runner => "runner",
    }
}
