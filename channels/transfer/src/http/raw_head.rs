//! What the head of a request for a raw stream says: task, saveset, secret, range.

use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderMap};
use simsim_model::Kind;

use super::raw::PREFIX;
use crate::gate::{SecretText, StreamRefusal, TASK_BYTES_MAX, is_saveset_id, is_task_name};

/// Which stream.
#[derive(Debug)]
pub(super) struct Asked {
    pub task: String,
    /// Its id, or the beginning of it; none: the newest.
    pub saveset: Option<String>,
    /// In the path, in place of a header.
    pub ticket: Option<SecretText>,
}

/// Reads path and query.
pub(super) fn target(uri: &Uri) -> Result<Asked, StreamRefusal> {
    let wrong = |text: &str| StreamRefusal::new(Kind::Invalid, text);
    let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let (task, ticket) = match path.split_once('/') {
        Some((task, ticket)) => (task, Some(ticket)),
        None => (path, None),
    };
    let task = Some(task)
        .filter(|task| task.len() <= TASK_BYTES_MAX)
        .and_then(unescaped)
        .filter(|task| is_task_name(task))
        .ok_or_else(|| wrong("the path is /v1/streams/TASK, with the name of an external task"))?;
    let ticket = match ticket {
        None => None,
        Some(ticket) if ticket.is_empty() || ticket.contains('/') => {
            return Err(wrong("the path is /v1/streams/TASK or /v1/streams/TASK/TICKET"));
        }
        Some(ticket) => Some(SecretText::new(ticket)),
    };
    let mut saveset = None;
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("saveset", id)) if is_saveset_id(id) => saveset = Some(id.to_ascii_lowercase()),
            Some(("saveset", _)) => {
                let text = "'saveset' is an id, or at least 4 of its digits: 'simsim savesets'";
                return Err(wrong(text));
            }
            _ => return Err(wrong("only 'saveset=ID' may stand behind the '?'")),
        }
    }
    Ok(Asked { task, saveset, ticket })
}

/// Percent-decoding, strict: a lone `%` or bytes that are no UTF-8 are refused.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// User and secret: the ticket of the path, else `Bearer TOKEN`, else `Basic USER:TOKEN`. `None`: the
/// caller gave none.
pub(super) fn given_secret(
    headers: &HeaderMap,
    asked: &Asked,
) -> Result<Option<(String, SecretText)>, StreamRefusal> {
    if let Some(ticket) = &asked.ticket {
        return Ok(Some((String::new(), ticket.clone())));
    }
    let Some(given) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let wrong = || {
        let text = "the header is 'Authorization: Bearer TOKEN', or Basic with any user and the token \
                    as password";
        StreamRefusal::new(Kind::Invalid, text)
    };
    let given = given.to_str().map_err(|_| wrong())?;
    let (scheme, value) = given.split_once(' ').ok_or_else(wrong)?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some((String::new(), SecretText::new(value))));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong());
    }
    let decoded = data_encoding::BASE64.decode(value.as_bytes()).map_err(|_| wrong())?;
    let decoded = zeroize::Zeroizing::new(decoded);
    let pair = std::str::from_utf8(&decoded).map_err(|_| wrong())?;
    let (user, secret) = pair.split_once(':').ok_or_else(wrong)?;
    let user = user.chars().filter(|c| !c.is_control()).take(64).collect();
    Ok(Some((user, SecretText::new(secret))))
}

/// Which part of a stream is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Whole,
    /// First and last byte, both included.
    Part(u64, u64),
    /// It begins behind the end.
    Beyond,
}

impl Range {
    /// First byte and number of bytes, of a stream of this size.
    pub fn span(self, size: u64) -> (u64, u64) {
        match self {
            Range::Whole => (0, size),
            Range::Part(first, last) => (first, last.saturating_sub(first).saturating_add(1)),
            Range::Beyond => (size, 0),
        }
    }
}

/// Reads `bytes=…` (RFC 9110, section 14.1.2). What is no single range of bytes is passed over, as
/// the RFC allows: the whole is answered.
pub(super) fn range_of(text: &str, size: u64) -> Range {
    let Some(spec) = text.trim().strip_prefix("bytes=") else { return Range::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Range::Whole };
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        // More digits than fit are behind every end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", last) => match number(last) {
            Some(0) => Range::Beyond,
            Some(_) if size == 0 => Range::Beyond,
            Some(count) => Range::Part(size.saturating_sub(count), size - 1),
            None => Range::Whole,
        },
        (first, last) => {
            let Some(first) = number(first) else { return Range::Whole };
            let last = match last {
                "" => u64::MAX,
                last => match number(last) {
                    Some(last) if last >= first => last,
                    _ => return Range::Whole,
                },
            };
            match first < size {
                true => Range::Part(first, last.min(size - 1)),
                false => Range::Beyond,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(uri: &str) -> Option<(String, Option<String>, Option<String>)> {
        let asked = target(&uri.parse().unwrap()).ok()?;
        let ticket = asked.ticket.map(|ticket| ticket.reveal().to_owned());
        Some((asked.task, asked.saveset, ticket))
    }

    #[test]
    fn paths_are_read_strictly() {
        let task = || "db".to_owned();
        assert_eq!(read("/v1/streams/db"), Some((task(), None, None)));
        let some = Some((task(), Some("00ab".into()), None));
        assert_eq!(read("/v1/streams/db?saveset=00AB"), some);
        assert_eq!(read("/v1/streams/d%62/t1"), Some((task(), None, Some("t1".into()))));
        assert_eq!(read("/v1/streams/%C3%A4"), Some(("ä".into(), None, None)));
        for bad in [
            "/v1/streams/",
            "/v1/streams",
            "/v1/streams//t",
            "/v1/streams/db/",
            "/v1/streams/db/a/b",
            "/v1/streams/%",
            "/v1/streams/%2",
            "/v1/streams/%+1",
            "/v1/streams/%ff",
            "/v1/streams/a%2Fb",
            "/v1/streams/a%00",
            "/v1/streams/a%22b",
            "/v1/streams/db?saveset=abc",
            "/v1/streams/db?saveset=xyz0",
            "/v1/streams/db?other=1",
            "/v1/streams/db?saveset",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let long = format!("/v1/streams/{}", "a".repeat(TASK_BYTES_MAX + 1));
        assert_eq!(read(&long), None);
    }

    #[test]
    fn secrets_come_in_three_ways() {
        let asked = |uri: &str| target(&uri.parse().unwrap()).unwrap();
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            given_secret(&headers, &asked("/v1/streams/db"))
                .map(|given| given.map(|(user, secret)| (user, secret.reveal().to_owned())))
        };
        let got = |user: &str, secret: &str| Some((user.to_owned(), secret.to_owned()));
        assert_eq!(with("Bearer abc").unwrap(), got("", "abc"));
        assert_eq!(with("bearer  abc ").unwrap(), got("", "abc"));
        // me:abc:d
        assert_eq!(with("Basic bWU6YWJjOmQ=").unwrap(), got("me", "abc:d"));
        for bad in ["Basic", "Basic !", "Basic bWU=", "Digest x=y", "abc"] {
            assert!(with(bad).is_err(), "{bad}");
        }
        let none = given_secret(&HeaderMap::new(), &asked("/v1/streams/db")).unwrap();
        assert!(none.is_none());
        let (_, ticket) = given_secret(&HeaderMap::new(), &asked("/v1/streams/db/t"))
            .unwrap()
            .expect("in the path");
        assert_eq!(ticket.reveal(), "t");
    }

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        for (text, size, range) in [
            ("bytes=0-0", 10, Range::Part(0, 0)),
            ("bytes=0-", 10, Range::Part(0, 9)),
            ("bytes=9-", 10, Range::Part(9, 9)),
            ("bytes=10-", 10, Range::Beyond),
            ("bytes=5-99", 10, Range::Part(5, 9)),
            ("bytes=-3", 10, Range::Part(7, 9)),
            ("bytes=-30", 10, Range::Part(0, 9)),
            ("bytes=-0", 10, Range::Beyond),
            ("bytes=0-", 0, Range::Beyond),
            ("bytes=-1", 0, Range::Beyond),
            ("bytes=99999999999999999999-", 10, Range::Beyond),
            ("bytes=3-2", 10, Range::Whole),
            ("bytes=0-1,3-4", 10, Range::Whole),
            ("bytes=a-b", 10, Range::Whole),
            ("bytes=+1-2", 10, Range::Whole),
            ("lines=0-1", 10, Range::Whole),
            ("bytes=", 10, Range::Whole),
        ] {
            assert_eq!(range_of(text, size), range, "{text} of {size}");
        }
    }

    proptest! {
        #[test]
        fn no_range_reaches_beyond_the_stream(text in ".{0,40}", size in any::<u64>()) {
            let (first, length) = range_of(&format!("bytes={text}"), size).span(size);
            prop_assert!(first.checked_add(length).is_some_and(|end| end <= size));
        }

        #[test]
        fn no_text_makes_the_decoder_fall(text in ".{0,80}") {
            let _ = unescaped(&text);
        }
    }
}
