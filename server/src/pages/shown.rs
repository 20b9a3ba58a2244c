//! Foreign text on a page: escaped, and with nothing invisible left in it.
use maud::Render;

/// Text that somebody else chose. Control and direction characters, which could hide or reorder what a person reads, become
/// visible; newlines and tabs stay.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl Render for Shown<'_> {
    fn render_to(&self, page: &mut String) {
        for character in self.0.chars() {
            match visible(character) {
                '&' => page.push_str("&amp;"),
                '<' => page.push_str("&lt;"),
                '>' => page.push_str("&gt;"),
                '"' => page.push_str("&quot;"),
                '\'' => page.push_str("&#39;"),
                other => page.push(other),
            }
        }
    }
}

/// The character itself, or what stands for it on a page.
pub fn visible(character: char) -> char {
    match character {
        '\n' | '\t' => character,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + character as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => '\u{fffd}',
        '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => '\u{fffd}',
        other => other,
    }
}

/// At most so many characters, with an ellipsis where some are missing.
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_invisible_or_active_is_left() {
        let cases = [
            ("a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#39;"),
            ("a\0b\u{1b}[2J", "a\u{2400}b\u{241b}[2J"),
            ("gpj.\u{202e}exe", "gpj.\u{fffd}exe"),
            ("zero\u{200b}width\u{feff}", "zero\u{fffd}width\u{fffd}"),
            ("line\n\ttab é 漢", "line\n\ttab é 漢"),
        ];
        for (text, expected) in cases {
            assert_eq!(Shown(text).render().into_string(), expected, "{text:?}");
        }
    }

    #[test]
    fn shortening_never_cuts_a_character() {
        assert_eq!(shortened("héllo", 2), "hé…");
        assert_eq!(shortened("héllo", 5), "héllo");
    }
}
