//! Pages for browsers: everything on the console port that is no interface for programs.
//!
//! The channel knows sessions, cookies and forms, and nothing of what is on a page. A form counts
//! only when it is sent by a page of ours: from the same origin, with the text that only pages of
//! the same session hold in their field `csrf`.

use std::net::IpAddr;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::api::{Asker, SecretText};

/// What a browser asks for.
pub struct PageRequest {
    /// As it was sent, from the first `/` to before the `?`.
    pub path: String,
    /// What follows the `?`.
    pub query: String,
    /// Fields of a form that was sent, in order; `None`: something is only looked at.
    pub form: Option<Vec<(String, SecretText)>>,
    pub from: IpAddr,
    /// The browser says that a page of another site led here. Such a first step carries no cookie.
    pub from_elsewhere: bool,
    /// As the browser calls this host, with a port where it is not the usual one.
    pub host: Option<String>,
    /// The cookie of a sign-in that was begun at an identity provider. It comes along from there, other than that of a
    /// session.
    pub sign_in: Option<SecretText>,
}

/// Who visits.
pub enum Visitor {
    /// Nobody that is known.
    Stranger,
    Somebody {
        asker: Box<dyn Asker>,
        secret: SecretText,
    },
}

/// What becomes of the cookie of the session.
pub enum Cookie {
    Leave,
    Set(SecretText),
    Clear,
}

/// A page, or what stands in its place.
pub struct PageReply {
    /// An HTTP status.
    pub status: u16,
    pub body: PageBody,
    /// Where the browser goes.
    pub location: Option<String>,
    pub cookie: Cookie,
    /// The same of the cookie of a sign-in.
    pub sign_in: Cookie,
}

/// What is in it.
pub enum PageBody {
    Html(String),
    /// Something that never changes under its name: browsers keep it.
    Asset {
        kind: &'static str,
        bytes: &'static [u8],
    },
    /// Server-sent events: each is the name of the event, and its data.
    Events(mpsc::Receiver<(&'static str, String)>),
    /// A file for the one who visits, under this name. It breaks off where an error comes.
    Download {
        name: String,
        kind: &'static str,
        bytes: mpsc::Receiver<Result<Bytes, String>>,
    },
}

impl PageReply {
    pub fn html(status: u16, text: String) -> Self {
        Self { status, ..Self::with(PageBody::Html(text)) }
    }

    pub fn with(body: PageBody) -> Self {
        Self { status: 200, body, location: None, cookie: Cookie::Leave, sign_in: Cookie::Leave }
    }

    /// After a form: the browser asks for this page.
    pub fn see(location: impl Into<String>) -> Self {
        Self { location: Some(location.into()), ..Self::html(303, String::new()) }
    }
}

/// Fields of `application/x-www-form-urlencoded`, also of what follows a `?`. What is no UTF-8 is
/// refused.
pub fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A text as a value of `application/x-www-form-urlencoded`.
pub fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_what_was_encoded() {
        for text in ["", "a b&c=d+%", "ä\u{1F600}\n", "x%2"] {
            let line = format!("n={}&m=1&{}", encoded(text), encoded("last"));
            let read = fields(&line).unwrap();
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            assert_eq!(read, [pair("n", text), pair("m", "1"), pair("last", "")]);
        }
        for wrong in ["a=%", "a=%4", "a=%zz", "a=%ff", "%c3=1"] {
            assert_eq!(fields(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fuzz_forms() {
        let form = b"csrf=abc&name=caf%C3%A9&paths=%2Fa%0A%2Fb&x=&+=%20".to_vec();
        simsim_testkit::fuzz("form", &[form], |bytes| {
            if let Ok(text) = std::str::from_utf8(bytes) {
                let _ = fields(text);
            }
        });
    }
}
