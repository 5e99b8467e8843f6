//! ETags: the hash of what is shown, and requests that depend on it (RFC 9110, section 13).

use serde_json::Value;
use simsim_console::api::{ResourceBody, ResourceReply, ResourceRequest};
use simsim_model::Kind;

use super::problem;

const FIELD_BYTES_MAX: usize = 4096;

/// Of what is shown.
pub(super) fn etag_of(value: &Value) -> String {
    let hash = blake3::hash(value.to_string().as_bytes()).to_hex();
    format!("\"{}\"", &hash[..32])
}

/// What a request depends on.
pub(super) struct Conditions {
    matches: Option<Vec<String>>,
    none_matches: Option<Vec<String>>,
}

impl Conditions {
    pub(super) fn of(request: &ResourceRequest) -> Result<Self, ResourceReply> {
        Ok(Self {
            matches: request.if_match.as_deref().map(tags).transpose()?,
            none_matches: request.if_none_match.as_deref().map(tags).transpose()?,
        })
    }

    pub(super) fn any(&self) -> bool {
        self.matches.is_some() || self.none_matches.is_some()
    }

    /// Whether something may be changed that is seen like this now.
    pub(super) fn hold(&self, now: Option<&Value>) -> Result<(), ResourceReply> {
        let tag = now.map(etag_of);
        let is_one = |tags: &[String]| {
            tag.as_ref().is_some_and(|tag| tags.iter().any(|one| one == "*" || one == tag))
        };
        if self.matches.as_deref().is_some_and(|tags| !is_one(tags)) {
            let text = match now {
                Some(_) => "it is not any more as you saw it: look again, then change it",
                None => "it is not there",
            };
            return Err(problem(412, Kind::Busy, text.to_owned()));
        }
        if self.none_matches.as_deref().is_some_and(is_one) {
            let text = "it is there already, as you ruled out with 'If-None-Match'";
            return Err(problem(412, Kind::Busy, text.to_owned()));
        }
        Ok(())
    }

    /// An answer to GET with its tag; 304 where the caller has it already.
    pub(super) fn tagged(&self, mut reply: ResourceReply) -> Result<ResourceReply, ResourceReply> {
        let ResourceBody::Json(value) = &reply.body else { return Ok(reply) };
        let tag = etag_of(value);
        let is_one = |tags: &[String]| tags.iter().any(|one| *one == "*" || *one == tag);
        if self.matches.as_deref().is_some_and(|tags| !is_one(tags)) {
            let text = "it is not any more as you saw it";
            return Err(problem(412, Kind::Busy, text.to_owned()));
        }
        if self.none_matches.as_deref().is_some_and(is_one) {
            reply = ResourceReply::with(304, ResourceBody::Empty);
        }
        reply.etag = Some(tag);
        Ok(reply)
    }
}

/// Tags in a field, weak ones as strong ones: every tag of ours is of the very bytes.
fn tags(field: &str) -> Result<Vec<String>, ResourceReply> {
    let wrong = || {
        let text = "write a condition as * or as tags between quotation marks, such as \"0f3c…\"";
        problem(400, Kind::Invalid, text.to_owned())
    };
    if field.len() > FIELD_BYTES_MAX {
        return Err(wrong());
    }
    let mut tags = Vec::new();
    for part in field.split(',') {
        let part = part.trim();
        let tag = part.strip_prefix("W/").unwrap_or(part);
        let quoted = tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"');
        if !quoted && tag != "*" {
            return Err(wrong());
        }
        tags.push(tag.to_owned());
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conditions(matches: Option<&str>, none: Option<&str>) -> Conditions {
        let tags = |text: Option<&str>| text.map(|text| tags(text).ok().unwrap());
        Conditions { matches: tags(matches), none_matches: tags(none) }
    }

    #[test]
    fn what_is_changed_must_be_as_the_caller_saw_it() {
        let (now, tag) = (json!({"a": 1}), etag_of(&json!({"a": 1})));
        let held = |one: Conditions, now: Option<&Value>| one.hold(now).is_ok();
        assert!(held(conditions(None, None), Some(&now)));
        for good in [tag.clone(), "*".to_owned(), format!("\"x\", W/{tag}")] {
            assert!(held(conditions(Some(&good), None), Some(&now)), "{good}");
            assert!(!held(conditions(Some(&good), None), None), "{good} of nothing");
        }
        assert!(!held(conditions(Some("\"x\""), None), Some(&now)));
        assert!(!held(conditions(None, Some("*")), Some(&now)));
        assert!(held(conditions(None, Some("*")), None));
        assert!(!held(conditions(None, Some(&tag)), Some(&now)));
        assert!(held(conditions(None, Some("\"x\"")), Some(&now)));
    }

    #[test]
    fn what_the_caller_has_is_not_sent_again() {
        let reply = || ResourceReply::json(200, json!([1]));
        let tag = etag_of(&json!([1]));
        let status = |none: &str| conditions(None, Some(none)).tagged(reply()).ok().unwrap();
        assert_eq!(status(&tag).status, 304);
        assert!(matches!(status(&tag).body, ResourceBody::Empty));
        assert_eq!(status("\"x\"").status, 200);
        assert_eq!(status("\"x\"").etag, Some(tag));
    }

    #[test]
    fn other_texts_are_no_conditions() {
        for wrong in ["", "x", "\"", "\"x\", y", "W/x", &"\"x\",".repeat(2000)] {
            assert!(tags(wrong).is_err(), "{wrong}");
        }
    }
}
