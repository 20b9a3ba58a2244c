//! Tokens: who may come in, and how runners join. For admins.
use dsg_schemas::api::{CreatedToken, SecretView, TokenKind, TokenView};
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::shown::{Shown, shortened};
use super::url::SafeUrl;
use super::{act, words};

pub const KINDS: [(TokenKind, &str, &str); 5] = [
    (TokenKind::Join, "join", "lets runners join"),
    (TokenKind::Viewer, "viewer", "looks at everything"),
    (TokenKind::Submitter, "submitter", "submits jobs and acts on its own"),
    (TokenKind::Operator, "operator", "acts on all jobs and runners"),
    (TokenKind::Admin, "admin", "makes and revokes tokens, too"),
];

/// `created`: the one just made, with its secret, shown this once.
pub fn page(frame: Frame<'_>, tokens: &[TokenView], secrets: &[SecretView], created: Option<&CreatedToken>) -> Markup {
    frame.page(
        Here::Tokens,
        "Tokens",
        &[],
        html! {
            h1 { "Tokens" }
            @if let Some(created) = created { (secret(created)) }
            section.panel aria-labelledby="create" {
                header { h2 #create { "Make a token" } }
                div.body { form.filters method="post" action="/tokens" {
                    label { "Kind" select name="kind" { @for (_, word, about) in KINDS { option value=(word) { (word) " – " (about) } } } }
                    label { "Name" input name="name" required maxlength="120" size="16" placeholder="lab-3 or ada"; }
                    label { "Valid for hours" input name="hours" type="number" min="1" max="87600" size="6" placeholder="default"; }
                    label { "Joins" input name="uses" type="number" min="1" max="10000" size="6" placeholder="1"; }
                    button.main type="submit" { "Make" }
                } }
            }
            section #tokens.panel aria-label="Tokens" {
                @if tokens.is_empty() { div.empty { p { "No tokens." } } } @else {
                    div.scroll { table {
                        thead { tr { th { "Name" } th { "Kind" } th { "Made" } th { "Ends" } th.number { "Joins left" } th { "Last used" } th { span.hidden { "Revoke" } } } }
                        tbody { @for token in tokens { (row(frame.now_ms, token)) } }
                    } }
                }
            }
            (kept(frame.now_ms, secrets))
        },
    )
}

/// Names only: values go in by `dsg secret set`, and come out for containers.
fn kept(now_ms: u64, secrets: &[SecretView]) -> Markup {
    html! {
        section #secrets.panel aria-labelledby="secrets-title" {
            header { h2 #secrets-title { "Secrets" } }
            @if secrets.is_empty() {
                div.empty { p { "No secrets. " code { "dsg secret set NAME" } " keeps one for jobs to use." } }
            } @else {
                div.scroll { table {
                    thead { tr { th { "Name" } th { "Set by" } th { "Set" } th { "State" } } }
                    tbody { @for secret in secrets {
                        tr data-key={ "secret-" (Shown(&secret.name)) } {
                            td.name { (Shown(&secret.name)) }
                            td { (Shown(&shortened(&secret.set_by, 60))) }
                            td.nowrap { (words::time(now_ms, secret.set_ms)) }
                            td { @match &secret.locked { Some(why) => (Shown(why)), None => "can be used" } }
                        }
                    } }
                } }
            }
        }
    }
}

fn row(now_ms: u64, token: &TokenView) -> Markup {
    let revoke = act::Act { to: SafeUrl::token_revoke(&token.id), act: "revoke", label: "Revoke the token" };
    html! {
        tr data-key={ "token-" (Shown(&token.id)) } {
            td.name { (Shown(&shortened(&token.name, 60))) }
            td { (word(token.kind)) }
            td.nowrap { (words::time(now_ms, token.created_ms)) }
            td.nowrap { @match token.expires_ms { Some(ms) => (words::time(now_ms, ms)), None => span.dim { "never" } } }
            td.number { @match token.uses_left { Some(uses) => (uses), None => span.dim { "–" } } }
            td.nowrap { (words::time_or_dash(now_ms, token.last_used_ms)) }
            td { (revoke.ask("revoke", "Revoke", "Whoever holds it is shut out at once.", true)) }
        }
    }
}

fn word(kind: TokenKind) -> &'static str {
    KINDS.iter().find(|(one, _, _)| *one == kind).map_or("token", |(_, word, _)| word)
}

fn secret(created: &CreatedToken) -> Markup {
    html! {
        section.notice role="status" {
            h2 { "Made " (Shown(&created.token.name)) ": shown this once" }
            p { "Copy it now; the server keeps only its hash." }
            pre tabindex="0" { (Shown(&created.secret)) }
            @if !created.command.is_empty() { p { "Ready to paste:" } pre tabindex="0" { (Shown(&created.command)) } }
        }
    }
}
