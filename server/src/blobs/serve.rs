//! Serving bytes that people made: with ranges, and so that no browser ever runs them.
use std::ops::Range;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header, response};

/// What is served.
#[derive(Clone, Debug)]
pub struct Served {
    pub content_type: &'static str,
    /// What a browser saves it as.
    pub file_name: String,
    /// With its quotes.
    pub tag: String,
    pub length: u64,
    /// The bytes behind this address never change.
    pub is_final: bool,
}

/// The head of an answer and the bytes that belong behind it, or a whole answer without bytes.
pub enum Answer {
    Bytes(response::Builder, Range<u64>),
    Nothing(Box<Response>),
}

impl Served {
    pub fn answer(&self, request: &HeaderMap) -> Answer {
        if self.is_final && request.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == self.tag.as_str()) {
            return Answer::nothing(self.head(StatusCode::NOT_MODIFIED));
        }
        let same = request.get(header::IF_RANGE).is_none_or(|tag| tag == self.tag.as_str());
        let asked = request.get(header::RANGE).and_then(|range| range.to_str().ok()).filter(|_| same);
        match asked.map_or(Asked::Whole, |asked| range(asked, self.length)) {
            Asked::Whole => {
                Answer::Bytes(self.head(StatusCode::OK).header(header::CONTENT_LENGTH, self.length), 0..self.length)
            }
            Asked::Part(part) => {
                let content_range = format!("bytes {}-{}/{}", part.start, part.end - 1, self.length);
                let head = self.head(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, content_range);
                Answer::Bytes(head.header(header::CONTENT_LENGTH, part.end - part.start), part)
            }
            Asked::Beyond => {
                let content_range = format!("bytes */{}", self.length);
                Answer::nothing(
                    self.head(StatusCode::RANGE_NOT_SATISFIABLE).header(header::CONTENT_RANGE, content_range),
                )
            }
        }
    }

    fn head(&self, status: StatusCode) -> response::Builder {
        let cache = if self.is_final { "private, max-age=31536000, immutable" } else { "no-store" };
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, self.content_type)
            .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", safe_name(&self.file_name)))
            .header(header::ETAG, &self.tag)
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::CACHE_CONTROL, cache)
            .header(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
            .header(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"))
    }
}

impl Answer {
    fn nothing(head: response::Builder) -> Answer {
        Answer::Nothing(Box::new(head.body(Body::empty()).unwrap_or_default()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Beyond,
}

/// One range is served; several, other units and nonsense are answered with the whole, as the standard allows.
fn range(text: &str, length: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(last)) if start <= last => (start, last.saturating_add(1).min(length)),
        (Ok(start), Err(_)) if last.is_empty() => (start, length),
        (Err(_), Ok(count)) if first.is_empty() => (length.saturating_sub(count), length),
        _ => return Asked::Whole,
    };
    if start < end { Asked::Part(start..end) } else { Asked::Beyond }
}

/// Letters, digits, dots, dashes and underscores of the last part of a name.
fn safe_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let safe: String = last.chars().take(120).map(safe).collect();
    if safe.trim_matches('.').is_empty() { "download".to_owned() } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_the_standard_has_them() {
        for (text, expected) in [
            ("bytes=0-3", Asked::Part(0..4)),
            ("bytes=4-", Asked::Part(4..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=9-99", Asked::Part(9..10)),
            ("bytes=0-18446744073709551615", Asked::Part(0..10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=10-12", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("bytes=x-y", Asked::Whole),
            ("bytes=-", Asked::Whole),
        ] {
            assert_eq!(range(text, 10), expected, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Asked::Beyond);
    }

    #[test]
    fn a_name_cannot_leave_its_header() {
        for (name, expected) in [
            ("a/b/result.csv", "result.csv"),
            ("x\"; filename=evil.html\r\nSet-Cookie: a", "x___filename_evil.html__Set-Cookie__a"),
            ("..", "download"),
            ("größe.txt", "gr__e.txt"),
        ] {
            assert_eq!(safe_name(name), expected);
        }
    }
}
