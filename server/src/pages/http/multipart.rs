//! `multipart/form-data`, as browsers without JavaScript send files: read from memory, for bodies of a bounded size.
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub file: Option<&'a str>,
    pub bytes: &'a [u8],
}

/// Parts by the name of their field, in the order sent.
pub type Parts<'a> = BTreeMap<&'a str, Vec<Part<'a>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form did not arrive whole ({0}); send it again")]
pub struct BrokenForm(&'static str);

const PARTS: usize = 10_000;

/// `content_type` as the header says it, with its boundary.
pub fn parts<'a>(content_type: &str, body: &'a [u8]) -> Result<Parts<'a>, BrokenForm> {
    let boundary = boundary(content_type).ok_or(BrokenForm("it names no boundary"))?;
    let line = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(&line.as_bytes()[2..]).ok_or(BrokenForm("it does not begin with its boundary"))?;
    let mut found = Parts::new();
    for _ in 0..PARTS {
        if rest.starts_with(b"--") {
            return Ok(found);
        }
        rest = rest.strip_prefix(b"\r\n").ok_or(BrokenForm("a boundary is broken"))?;
        let head_end = find(rest, b"\r\n\r\n").ok_or(BrokenForm("a head is cut"))?;
        let head = std::str::from_utf8(&rest[..head_end]).map_err(|_| BrokenForm("a name is not UTF-8"))?;
        let content = &rest[head_end + 4..];
        let end = find(content, line.as_bytes()).ok_or(BrokenForm("a part is cut"))?;
        let name = parameter(head, "name").ok_or(BrokenForm("a part has no name"))?;
        found.entry(name).or_default().push(Part { file: parameter(head, "filename"), bytes: &content[..end] });
        rest = &content[end + line.len()..];
    }
    Err(BrokenForm("it has too many parts"))
}

fn boundary(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    let value = rest.split(';').find_map(|pair| pair.trim().strip_prefix("boundary="))?.trim_matches('"');
    let plain = !value.is_empty() && value.len() <= 70 && value.is_ascii();
    (kind.trim().eq_ignore_ascii_case("multipart/form-data") && plain).then_some(value)
}

/// Of `Content-Disposition`. Browsers write quotes in names as `%22`, so that none stands inside.
fn parameter<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let is_ours = |line: &&str| line.get(..20).is_some_and(|start| start.eq_ignore_ascii_case("content-disposition:"));
    let line = head.split("\r\n").find(is_ours)?;
    let start = line.find(&format!("; {name}=\""))? + name.len() + 4;
    line[start..].split('"').next()
}

/// Skips to the first byte of what is sought, so that a file of any content costs one pass.
fn find(text: &[u8], sought: &[u8]) -> Option<usize> {
    let first = *sought.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == first) {
        if text[from + at..].starts_with(sought) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=----x1";
    const BODY: &[u8] = b"------x1\r\nContent-Disposition: form-data; name=\"spec\"\r\n\r\nname: a\r\nimage: b\r\n------x1\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a;b.csv\"\r\nContent-Type: text/csv\r\n\r\n\r\n------x0\xff\r\n------x1--\r\n";

    #[test]
    fn fields_and_files_arrive_byte_by_byte() {
        let parts = parts(TYPE, BODY).expect("a form");
        assert_eq!(parts["spec"], [Part { file: None, bytes: b"name: a\r\nimage: b" }]);
        assert_eq!(parts["files"], [Part { file: Some("a;b.csv"), bytes: b"\r\n------x0\xff" }]);
    }

    #[test]
    fn every_cut_is_noticed_and_none_panics() {
        let end = BODY.len() - 4;
        for cut in 0..BODY.len() {
            assert_eq!(parts(TYPE, &BODY[..cut]).is_ok(), cut >= end + 2, "cut at {cut}");
        }
        for kind in ["", "text/plain; boundary=x", "multipart/form-data", "multipart/form-data; boundary="] {
            assert!(parts(kind, BODY).is_err(), "{kind}");
        }
    }
}
