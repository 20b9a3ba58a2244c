//! What others wrote, made harmless for a terminal.
//!
//! A log line or a label can hold escape codes that rename the window, write to the clipboard or hide text. Names lose all of it;
//! log lines keep their colours (SGR) and lose the rest.
use std::borrow::Cow;

/// A name, label or sentence: control characters and those that turn the direction of text are shown as `\u{…}`, on one line.
pub fn name(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' => clean.push(' '),
            c if is_hidden(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

/// Several lines of a person's text: as [`name`], but newlines and tabs stay.
pub fn text(text: &str) -> String {
    text.split('\n')
        .map(|line| line.split('\t').map(name).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Where a log line is within an escape code.
enum At {
    Text,
    Escape,
    /// In a control sequence that began at this byte.
    Sequence(usize),
    /// In a string (title, link, clipboard), which ends with BEL or ESC `\`.
    String,
    StringEscape,
    /// In a two-letter code, as in `ESC ( B`.
    Charset,
}

/// A log line: colours stay (if `colour`), every other escape code and control character but the tab goes. Linear in its length.
/// Of a progress bar that overwrites itself with carriage returns, its last state stays.
pub fn log_line(line: &str, colour: bool) -> Cow<'_, str> {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or(line);
    if !line.chars().any(|c| c.is_control() && c != '\t') {
        return Cow::Borrowed(line);
    }
    let mut clean = String::with_capacity(line.len());
    let mut coloured = false;
    let mut at = At::Text;
    for (index, c) in line.char_indices() {
        at = match (at, c) {
            (At::String, '\u{7}' | '\u{9c}') => At::Text,
            (At::String, '\u{1b}') => At::StringEscape,
            (At::String, _) => At::String,
            (At::StringEscape, '\\') => At::Text,
            (At::StringEscape, '\u{1b}') => At::StringEscape,
            (At::StringEscape, _) => At::String,
            (_, '\u{1b}') => At::Escape,
            (_, '\u{9b}') => At::Sequence(index + c.len_utf8()),
            (_, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}') => At::String,
            (At::Escape, '[') => At::Sequence(index + 1),
            (At::Escape, ']' | 'P' | 'X' | '^' | '_') => At::String,
            (At::Escape, ' '..='/') => At::Charset,
            (At::Escape | At::Charset, _) => At::Text,
            (At::Sequence(from), 'm') => {
                let parameters = &line[from..index];
                if colour && parameters.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':') {
                    clean.push_str("\u{1b}[");
                    clean.push_str(parameters);
                    clean.push('m');
                    coloured = true;
                }
                At::Text
            }
            (At::Sequence(_), '@'..='~') => At::Text,
            (At::Sequence(from), ' '..='?') => At::Sequence(from),
            (At::Sequence(_), _) => At::Text,
            (At::Text, c) => {
                if c == '\t' || !is_hidden(c) {
                    clean.push(c);
                }
                At::Text
            }
        };
    }
    if coloured {
        clean.push_str("\u{1b}[0m");
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_what_hides_in_them() {
        let cases = [
            ("plain, with ünïcödé", "plain, with ünïcödé"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("two\nlines", "two lines"),
            ("exe\u{202e}gpj", "exe\\u{202e}gpj"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ];
        for (given, shown) in cases {
            assert_eq!(name(given), shown);
        }
        assert_eq!(text("a\tb\nc\u{7}"), "a\tb\nc\\u{7}");
    }

    #[test]
    fn log_lines_keep_colours_and_nothing_else() {
        let cases = [
            ("plain\ttab", "plain\ttab"),
            ("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m\u{1b}[0m"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]52;c;c2VjcmV0\u{1b}\\x", "x"),
            ("\u{1b}]8;;javascript:alert(1)\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}Pq#0;2;0;0;0\u{1b}\\x", "x"),
            ("a\u{1b}[2J\u{1b}[10;10Hb", "ab"),
            ("\u{1b}[?25lx", "x"),
            ("\u{1b}[38:5:1mx", "\u{1b}[38:5:1mx\u{1b}[0m"),
            ("\u{1b}[>4mx", "x"),
            ("\u{1b}(Bx", "x"),
            ("a\u{8}\u{8}b\r", "ab"),
            ("10 %\r50 %\r99 %\r", "99 %"),
            ("\u{9b}2Jx\u{9d}0;t\u{9c}y", "xy"),
            ("unterminated \u{1b}]0;and so on", "unterminated "),
            ("half \u{1b}[31", "half "),
        ];
        for (given, shown) in cases {
            assert_eq!(log_line(given, true), shown, "{given:?}");
        }
        assert_eq!(log_line("\u{1b}[31mred\u{1b}[0m", false), "red");
    }

    #[test]
    fn ten_megabytes_of_half_codes_leave_nothing() {
        assert_eq!(log_line(&"\u{1b}[".repeat(5 << 20), true), "");
        assert_eq!(log_line(&"\u{1b}]".repeat(5 << 20), true), "");
    }
}
