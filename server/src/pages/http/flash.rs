//! The result of an act, carried over the redirect in a cookie and shown once.
use http::{HeaderMap, HeaderValue, header};

use super::super::frame::Flash;
use super::super::shown::shortened;
use super::super::url::encode;

const NAME: &str = "dsg-flash";
const CHARS: usize = 600;

/// To set beside the redirect.
pub fn set(flash: &Flash) -> HeaderValue {
    let mut value = String::from(if flash.good { "g" } else { "w" });
    encode(&shortened(&flash.text, CHARS), &mut value);
    cookie(&value, 60)
}

/// To set once it was shown.
pub fn forget() -> HeaderValue {
    cookie("", 0)
}

fn cookie(value: &str, seconds: u32) -> HeaderValue {
    let text = format!("{NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax");
    // Percent-encoded: visible ASCII only.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

pub fn read(headers: &HeaderMap) -> Option<Flash> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let value =
        cookies.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))?;
    let good = value.starts_with('g');
    let text = decode(value.strip_prefix(['g', 'w'])?)?;
    Some(Flash { good, text: shortened(&text, CHARS) })
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flash_survives_its_cookie_and_rubbish_is_none() {
        for text in ["4 chunks run again.", "ä; Path=/evil\r\nSet-Cookie: x", "100 %"] {
            let flash = Flash { good: text.len() > 12, text: text.to_owned() };
            let cookie = set(&flash);
            let pair = cookie.to_str().expect("ascii").split(';').next().expect("a pair").to_owned();
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::try_from(format!("dsg=1; {pair}")).expect("a header"));
            assert_eq!(read(&headers), Some(flash));
        }
        for rubbish in ["dsg-flash=", "dsg-flash=x", "dsg-flash=g%f", "dsg-flash=g%ff", "dsg-flash=g%é"] {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::try_from(rubbish).expect("a header"));
            assert_eq!(read(&headers), None, "{rubbish}");
        }
    }
}
