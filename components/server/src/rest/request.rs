//! From path, query and body to the request of a verb.

use std::sync::LazyLock;

use serde_json::{Map, Value};
use simsim_console::api::{Method, ResourceReply, ResourceRequest};
use simsim_model::Kind;

use super::route::Route;
use super::shapes::{Shapes, types};
use super::table::ROUTES;
use super::{not_allowed, problem};

/// Fields of a query.
const FIELDS_MAX: usize = 64;

/// Fields of a path with their values, in its order.
type Named = Vec<(&'static str, String)>;

/// The fields that the verb of each route takes, with their schemas; in the order of the table.
static FIELDS: LazyLock<Vec<Map<String, Value>>> = LazyLock::new(|| {
    let mut shapes = Shapes::new();
    let fields = |route: &Route| match (route.shape.make)(&mut shapes).request {
        Value::Object(mut schema) => match schema.remove("properties") {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        },
        _ => Map::new(),
    };
    ROUTES.iter().map(fields).collect()
});

/// A request that was understood.
pub(super) struct Asked<'r> {
    pub route: &'static Route,
    /// As it was sent.
    pub path: &'r str,
    /// Fields from the path, in its order.
    named: Named,
    /// What the query says.
    pub query: Vec<(String, String)>,
    body: &'r Value,
    fields: &'static Map<String, Value>,
}

/// Finds the route. Errors: no such path, or no such method there.
pub(super) fn read(request: &ResourceRequest) -> Result<Asked<'_>, ResourceReply> {
    let mut allowed: Vec<Method> = Vec::new();
    let mut best: Option<(usize, usize, Named)> = None;
    for (at, route) in ROUTES.iter().enumerate() {
        let Some((literal, named)) = fits(route.path, &request.path)? else { continue };
        if !allowed.contains(&route.method) {
            allowed.push(route.method);
        }
        let better = best.as_ref().is_none_or(|(most, ..)| literal > *most);
        if route.method == request.method && better {
            best = Some((literal, at, named));
        }
    }
    let Some((_, at, named)) = best else {
        if allowed.is_empty() {
            let text = "there is nothing here; 'openapi.json' says what there is".to_owned();
            return Err(problem(404, Kind::NotFound, text));
        }
        return Err(not_allowed(&allowed));
    };
    let empty = || problem(500, Kind::Internal, "a route without a row".to_owned());
    Ok(Asked {
        route: ROUTES.get(at).ok_or_else(empty)?,
        path: &request.path,
        named,
        query: query(&request.query)?,
        body: &request.body,
        fields: FIELDS.get(at).ok_or_else(empty)?,
    })
}

/// How many parts of a path are as the route has them, and the values of the others.
fn fits(route: &'static str, path: &str) -> Result<Option<(usize, Named)>, ResourceReply> {
    let (mut wanted, mut parts) = (route.split('/'), path.split('/'));
    let (mut literal, mut named) = (0, Vec::new());
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return Ok(Some((literal, named))),
            (Some(wanted), Some(part)) => match field(wanted) {
                Some(_) if part.is_empty() => return Ok(None),
                Some(name) => named.push((name, decoded(part, false)?)),
                None if wanted == part => literal += 1,
                None => return Ok(None),
            },
            _ => return Ok(None),
        }
    }
}

/// The field that a part of a route's path stands for.
pub(super) fn field(part: &'static str) -> Option<&'static str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

/// A path with fields of a document put in.
pub(super) fn filled(path: &'static str, document: &Value) -> String {
    let part = |part: &'static str| match field(part) {
        None => part.to_owned(),
        Some(name) => {
            let within = document.as_object().into_iter().flat_map(Map::values);
            let found = std::iter::once(document).chain(within).find_map(|one| one.get(name));
            encoded(&found.map(text_of).unwrap_or_default())
        }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// A value as it stands in a path or query.
pub(super) fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Asked<'_> {
    /// The value of the path's last field.
    pub(super) fn last(&self) -> &str {
        self.named.last().map_or("", |(_, value)| value)
    }

    /// A request with the fields of the path alone.
    pub(super) fn named(&self) -> Value {
        let fields = self.named.iter();
        fields.map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect()
    }

    /// The request of the verb.
    pub(super) fn body(&self) -> Result<Value, ResourceReply> {
        self.body_with(&self.query)
    }

    /// The same, with another query.
    pub(super) fn body_with(&self, query: &[(String, String)]) -> Result<Value, ResourceReply> {
        let wrong = |text: String| problem(400, Kind::Invalid, text);
        let mut body = match self.body {
            Value::Null => Map::new(),
            Value::Object(fields) => fields.clone(),
            _ => return Err(wrong("the body must be an object".to_owned())),
        };
        for (name, value) in &self.named {
            let value = self.typed(name, value)?;
            match body.insert((*name).to_owned(), value.clone()) {
                Some(other) if other != value => {
                    let text = format!("the path says '{name}' {value}, and the body {other}");
                    return Err(wrong(text));
                }
                _ => {}
            }
        }
        let reads = matches!(self.route.method, Method::Get);
        for (name, value) in query {
            let known = self.fields.contains_key(name.as_str());
            if !reads || !known || self.named.iter().any(|(field, _)| field == name) {
                let name = name.escape_debug();
                return Err(wrong(format!(
                    "the query has a field '{name}' that is not known here"
                )));
            }
            let value = self.typed(name, value)?;
            match (body.get_mut(name.as_str()), value) {
                (Some(Value::Array(there)), Value::Array(more)) => there.extend(more),
                (_, value) => {
                    body.insert(name.clone(), value);
                }
            }
        }
        Ok(Value::Object(body))
    }

    /// A text as the verb takes it.
    fn typed(&self, name: &str, text: &str) -> Result<Value, ResourceReply> {
        let types = self.fields.get(name).map(types).unwrap_or_default();
        if types.contains(&"string") || types.is_empty() {
            return Ok(Value::from(text));
        }
        if types.contains(&"array") {
            return Ok(Value::from(vec![text]));
        }
        let value: Option<Value> = match () {
            () if types.contains(&"boolean") => text.parse().ok().map(Value::Bool),
            () => {
                let unsigned = text.parse::<u64>().ok().map(Value::from);
                unsigned.or_else(|| text.parse::<i64>().ok().map(Value::from))
            }
        };
        value.ok_or_else(|| {
            let text = text.escape_debug();
            problem(400, Kind::Invalid, format!("'{name}' cannot be '{text}'"))
        })
    }

    /// Whether the verb has such a field.
    pub(super) fn takes(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }
}

/// The fields of a query, decoded.
fn query(text: &str) -> Result<Vec<(String, String)>, ResourceReply> {
    let mut fields = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name, true)?, decoded(value, true)?);
        fields.push((name, value));
        if fields.len() > FIELDS_MAX {
            let text = format!("a query has at most {FIELDS_MAX} fields");
            return Err(problem(400, Kind::Invalid, text));
        }
    }
    Ok(fields)
}

/// What stands behind percent signs (RFC 3986, section 2.1). `plus`: + is a space.
fn decoded(text: &str, plus: bool) -> Result<String, ResourceReply> {
    let wrong = || {
        let text =
            "the address has a percent sign that begins no byte, or bytes that are not UTF-8";
        problem(400, Kind::Invalid, text.to_owned())
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
                bytes.push(u8::try_from(high << 4 | low).map_err(|_| wrong())?);
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// The inverse, for a part of a path or a field of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_decoded_and_encoded_and_others_refused() {
        for text in ["plain", "a b/c?d&e=f+g%", "ünï/\\x00"] {
            assert_eq!(decoded(&encoded(text), true).ok().unwrap(), text);
        }
        assert_eq!(decoded("a+b", true).ok().unwrap(), "a b");
        assert_eq!(decoded("a+b", false).ok().unwrap(), "a+b");
        for wrong in ["%", "%2", "%zz", "%ff", "a%c3"] {
            assert!(decoded(wrong, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_fits_part_by_part() {
        let fits = |route, path| fits(route, path).ok().unwrap();
        assert_eq!(fits("/a/{b}", "/a/x%2Fy"), Some((2, vec![("b", "x/y".to_owned())])));
        for (route, path) in [("/a/{b}", "/a/"), ("/a/{b}", "/a"), ("/a", "/a/"), ("/a", "/b")] {
            assert_eq!(fits(route, path), None, "{route} {path}");
        }
    }

    #[test]
    fn a_place_is_filled_from_a_document_or_from_one_in_it() {
        let made = serde_json::json!({"token": {"name": "a b"}, "secret": "x"});
        assert_eq!(filled("/api-tokens/{name}", &made), "/api-tokens/a%20b");
        assert_eq!(filled("/rates/{number}", &serde_json::json!({"number": 7})), "/rates/7");
    }
}
