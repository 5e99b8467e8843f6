//! Bodies of strangers: JSON within its limits.

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use simsim_model::limits;
use zeroize::Zeroizing;

/// Reads a body; `None`: there is none.
pub(crate) async fn read(body: Incoming) -> Result<Option<Value>, String> {
    let bytes = Limited::new(body, limits::JSON_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| format!("the body cannot be read: {error}"))?
        .to_bytes();
    if bytes.is_empty() {
        return Ok(None);
    }
    parse(&bytes).map(Some)
}

/// Reads the bytes of a form; wiped when dropped.
pub(crate) async fn form(body: Incoming) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = Limited::new(body, limits::FORM_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| format!("the form cannot be read: {error}"))?
        .to_bytes();
    Ok(Zeroizing::new(bytes.to_vec()))
}

/// JSON of a stranger: not nested deeper than the limit, which is looked at first.
fn parse(bytes: &[u8]) -> Result<Value, String> {
    if depth(bytes) > limits::JSON_DEPTH_MAX {
        return Err(format!("the body is nested deeper than {}", limits::JSON_DEPTH_MAX));
    }
    serde_json::from_slice(bytes).map_err(|error| format!("the body is not JSON: {error}"))
}

/// How deep brackets nest outside of texts.
fn depth(bytes: &[u8]) -> usize {
    let (mut now, mut most, mut text, mut escaped) = (0usize, 0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' | b'[' if !text => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_nested_as_deep_as_the_limit_and_no_deeper() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(limits::JSON_DEPTH_MAX).as_bytes()).is_ok());
        let error = parse(nested(limits::JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err();
        assert!(error.contains("nested deeper"), "{error}");
        assert!(
            parse(br#"{"a":"[[[[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#).is_ok(),
            "in a text"
        );
    }

    #[test]
    fn fuzz_json_bodies() {
        let body = br#"{"task":"home","level":"incr","paths":["/a","\u00e4\\"],"n":1.5e3,"x":[[null,true]]}"#;
        simsim_testkit::fuzz("JSON body", &[body.to_vec(), b"null".to_vec()], |bytes| {
            let _ = parse(bytes);
        });
    }
}
