//! Buttons that do something: plain POST forms. What cannot be undone asks first, without a script.
use maud::{Markup, html};

use super::url::SafeUrl;

/// One hidden field says which act it is.
#[derive(Clone, Debug)]
pub struct Act<'a> {
    pub to: SafeUrl,
    pub act: &'static str,
    pub label: &'a str,
}

impl Act<'_> {
    /// Done at once.
    pub fn button(&self) -> Markup {
        html! {
            form method="post" action=(self.to) {
                button type="submit" name="act" value=(self.act) { (self.label) }
            }
        }
    }
    /// Opens a question first; its own button does it.
    pub fn ask(&self, key: &str, opener: &str, question: &str, danger: bool) -> Markup {
        html! {
            details.ask data-key=(key) {
                summary.button { (opener) "…" }
                form method="post" action=(self.to) {
                    p { (question) }
                    button.danger[danger].main[!danger] type="submit" name="act" value=(self.act) { (self.label) }
                }
            }
        }
    }
}
