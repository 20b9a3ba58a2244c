//! Colours of a log line: SGR codes become classes, every other escape is dropped, control characters become visible.
use maud::{Markup, PreEscaped, Render};

use super::shown::Shown;

/// What a terminal would show of a line at last: a carriage return starts it anew.
pub fn last_state(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rsplit('\r').next().unwrap_or(line)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    strike: bool,
    /// One of the sixteen; the dashboard's script also draws the others.
    colour: Option<u8>,
}

/// A line, coloured.
pub fn line(text: &str) -> Markup {
    let mut page = String::with_capacity(text.len() + 16);
    let mut style = Style::default();
    let mut rest = last_state(text);
    while let Some(at) = rest.find(['\u{1b}', '\u{9b}', '\u{9d}']) {
        piece(&rest[..at], style, &mut page);
        rest = escape(&rest[at..], &mut style);
    }
    piece(rest, style, &mut page);
    PreEscaped(page)
}

fn piece(text: &str, style: Style, page: &mut String) {
    if text.is_empty() {
        return;
    }
    if style == Style::default() {
        return Shown(text).render_to(page);
    }
    let flags = [
        (style.bold, "t-b"),
        (style.dim, "t-d"),
        (style.italic, "t-i"),
        (style.underline, "t-u"),
        (style.strike, "t-s"),
    ];
    let mut classes: Vec<String> = flags.iter().filter(|(on, _)| *on).map(|(_, class)| (*class).to_owned()).collect();
    classes.extend(style.colour.map(|colour| format!("f{colour}")));
    page.push_str("<span class=\"");
    page.push_str(&classes.join(" "));
    page.push_str("\">");
    Shown(text).render_to(page);
    page.push_str("</span>");
}

/// Takes one escape off the front; what is left follows it.
fn escape<'a>(text: &'a str, style: &mut Style) -> &'a str {
    let (body, kind) = match text.strip_prefix('\u{1b}') {
        Some(after) => match after.chars().next() {
            Some('[') => (&after[1..], '['),
            Some(']' | 'P' | 'X' | '^' | '_') => (&after[1..], ']'),
            Some(' '..='/') => (after, ' '),
            // A two-character escape.
            Some(other) if other.is_ascii_graphic() => return &after[1..],
            _ => return after,
        },
        None => match text.strip_prefix('\u{9b}') {
            Some(after) => (after, '['),
            None => (text.strip_prefix('\u{9d}').unwrap_or_default(), ']'),
        },
    };
    match kind {
        '[' => {
            let end = body.find(|c: char| !matches!(c, ' '..='?')).unwrap_or(body.len());
            let (codes, after) = body.split_at(end);
            match after.chars().next() {
                Some('m') => {
                    select(codes, style);
                    &after[1..]
                }
                Some('@'..='~') => &after[1..],
                _ => after,
            }
        }
        ']' => match body.find(['\u{7}', '\u{1b}', '\u{9c}']) {
            None => "",
            Some(end) => {
                let after = &body[end..];
                let length = after.chars().next().map_or(0, char::len_utf8);
                after.strip_prefix("\u{1b}\\").unwrap_or(&after[length..])
            }
        },
        _ => {
            let end = body.find(|c: char| !matches!(c, ' '..='/')).unwrap_or(body.len());
            let length = body[end..].chars().next().map_or(0, char::len_utf8);
            &body[end + length..]
        }
    }
}

/// Select Graphic Rendition.
fn select(codes: &str, style: &mut Style) {
    let mut codes =
        codes.split([';', ':']).map(|code| if code.is_empty() { Some(0) } else { code.parse::<u32>().ok() });
    while let Some(code) = codes.next() {
        match code {
            Some(0) => *style = Style::default(),
            Some(1) => style.bold = true,
            Some(2) => style.dim = true,
            Some(3) => style.italic = true,
            Some(4) => style.underline = true,
            Some(9) => style.strike = true,
            Some(22) => (style.bold, style.dim) = (false, false),
            Some(23) => style.italic = false,
            Some(24) => style.underline = false,
            Some(29) => style.strike = false,
            Some(code @ 30..=37) => style.colour = Some(code as u8 - 30),
            Some(code @ 90..=97) => style.colour = Some(code as u8 - 82),
            Some(39) => style.colour = None,
            Some(code @ (38 | 48)) => {
                let colour = match codes.next().flatten() {
                    Some(5) => codes.next().flatten(),
                    Some(2) => codes.nth(2).and(None),
                    _ => None,
                };
                if code == 38 {
                    style.colour = colour.filter(|colour| *colour < 16).map(|colour| colour as u8);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_all_else_goes() {
        let cases = [
            ("plain <b>", "plain &lt;b&gt;"),
            ("\u{1b}[1;31merror\u{1b}[0m: x", "<span class=\"t-b f1\">error</span>: x"),
            ("\u{1b}[92mok\u{1b}[39m.", "<span class=\"f10\">ok</span>."),
            ("\u{1b}[38;5;3my\u{1b}[m\u{1b}[38;2;1;2;3mtrue", "<span class=\"f3\">y</span>true"),
            ("\u{1b}]8;;javascript:alert(1)\u{1b}\\link\u{1b}]8;;\u{7}", "link"),
            ("\u{1b}]0;title", ""),
            ("\u{1b}[2J\u{1b}[10;10Hmoved\u{1b}(B\u{1b}c", "moved"),
            ("\u{9b}31mc1\u{9d}52;c;x\u{9c}!", "<span class=\"f1\">c1</span><span class=\"f1\">!</span>"),
            ("10 %\r40 %\r70 %\r", "70 %"),
            ("bell\u{7}\u{8}", "bell\u{2407}\u{2408}"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}[é", "é"),
            ("\u{1b}é", "é"),
            ("\u{1b}[99999999999999999999m\u{1b}[;;m!", "!"),
        ];
        for (text, expected) in cases {
            assert_eq!(line(text).into_string(), expected, "{text:?}");
        }
    }

    #[test]
    fn many_escapes_cost_linear_time() {
        let text = "\u{1b}[".repeat(1_000_000);
        assert_eq!(line(&text).into_string(), "");
        let text = "\u{1b}]".repeat(500_000) + "x";
        assert!(line(&text).into_string().len() <= text.len());
    }
}
