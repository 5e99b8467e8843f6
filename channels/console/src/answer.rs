//! From a request to its response: who asks, what for, and how it is told.
//!
//! Nothing of a body is read before it is known who asks.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Request, Response};
use parking_lot::Mutex;
use serde_json::Value;
use simsim_net::Admitted;

use crate::api::{
    Api, ApiError, ApiReply, Asker, Credentials, LogIn, Method, NotKnown, ResourceRequest,
    SecretText,
};
use crate::page::{Cookie, PageRequest, Visitor};
use crate::{body, page, reply};

/// The way of the resources.
pub const RESOURCES: &str = "/api/v1";
/// The cookie of a session. Its prefix makes browsers hold it to this host, to TLS and to every path.
const COOKIE: &str = "__Host-simsim";
/// The cookie of a sign-in at an identity provider. It comes back with a step from there (`Lax`), and opens nothing.
const SIGN_IN: &str = "__Host-simsim-sign-in";
/// So long a browser keeps it.
const SIGN_IN_SECONDS: u32 = 600;
const HOST_BYTES_MAX: usize = 255;
/// In which pages of ours show that they sent what changes something.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// A connection: what its requests have in common.
#[derive(Clone)]
pub(crate) struct Line {
    pub api: Arc<dyn Api>,
    /// None: the local socket.
    pub from: Option<IpAddr>,
    /// The place among strangers, until somebody proves who it is.
    pub place: Arc<Mutex<Option<Admitted>>>,
}

impl Line {
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Response<reply::Body> {
        let path = request.uri().path().to_owned();
        let get = matches!(*request.method(), hyper::Method::GET | hyper::Method::HEAD);
        if let Some(verb) = path.strip_prefix("/v1/") {
            return self.verb(verb.to_owned(), request).await;
        }
        if path == "/api/v1/session" {
            return self.session(request).await;
        }
        match path.strip_prefix(RESOURCES) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let rest = rest.to_owned();
                return self.resource(rest, request).await;
            }
            _ => {}
        }
        if path == "/api" || path.starts_with("/api/") {
            let text = format!(
                "what programs ask for lies beneath {RESOURCES}: {RESOURCES}/openapi.json lists it"
            );
            return reply::problem(404, "not_found", &text);
        }
        if let Some(response) = self.watched(&path, &request).await {
            return response;
        }
        self.page(path, get, request).await
    }

    /// A page. What a form changes is done only for a session that the form names, from our origin.
    async fn page(
        self,
        path: String,
        get: bool,
        request: Request<Incoming>,
    ) -> Response<reply::Body> {
        let Some(from) = self.from else {
            return reply::problem(404, "not_found", "pages are on the console port");
        };
        let post = *request.method() == hyper::Method::POST;
        if !get && !post {
            let mut response = reply::problem(405, "invalid", "pages are read, or sent by POST");
            reply::set(&mut response, header::ALLOW, "GET, HEAD, POST");
            return response;
        }
        if post && let Err(text) = sent_from_here(request.headers()) {
            return reply::problem(403, "denied", text);
        }
        let secret = cookie(request.headers(), COOKIE);
        let known = match self.visitor(secret.clone(), None, from).await {
            Ok(asker) => asker,
            Err(why) => return turned_away(why),
        };
        let mut asked = PageRequest {
            path,
            query: request.uri().query().unwrap_or_default().to_owned(),
            form: None,
            from,
            from_elsewhere: site(request.headers()) == Some("cross-site"),
            host: host(request.headers()),
            sign_in: cookie(request.headers(), SIGN_IN),
        };
        let mut known = known;
        if post {
            match read_form(request).await {
                Ok(form) => asked.form = Some(form),
                Err(response) => return response,
            }
            if known.is_some() {
                let csrf = asked.form.iter().flatten().find(|(name, _)| name == "csrf");
                let csrf = csrf.map(|(_, text)| text.clone());
                known = match self.visitor(secret.clone(), Some(csrf), from).await {
                    Ok(asker) => asker,
                    Err(why) => return turned_away(why),
                };
            }
        }
        let visitor = match (known, secret) {
            (Some(asker), Some(secret)) => Visitor::Somebody { asker, secret },
            _ => Visitor::Stranger,
        };
        let (mut response, [session, sign_in]) = reply::page(self.api.page(asked, visitor).await);
        match session {
            Cookie::Leave => {}
            Cookie::Set(secret) => set_cookie(&mut response, secret.reveal(), ""),
            Cookie::Clear => set_cookie(&mut response, "", "; Max-Age=0"),
        }
        let (secret, seconds) = match &sign_in {
            Cookie::Leave => return response,
            Cookie::Set(secret) => (secret.reveal(), SIGN_IN_SECONDS),
            Cookie::Clear => ("", 0),
        };
        let text = format!(
            "{SIGN_IN}={secret}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}"
        );
        reply::add(&mut response, header::SET_COOKIE, &text);
        response
    }

    /// Who shows this cookie. `csrf`: something is changed.
    async fn visitor(
        &self,
        secret: Option<SecretText>,
        csrf: Option<Option<SecretText>>,
        from: IpAddr,
    ) -> Result<Option<Box<dyn Asker>>, NotKnown> {
        let Some(secret) = secret else { return Ok(None) };
        let changes = csrf.is_some();
        let credentials = Credentials::Session { secret, csrf: csrf.flatten(), changes };
        match self.api.know(credentials, Some(from)).await {
            Ok(asker) => {
                if let Some(place) = self.place.lock().take() {
                    place.authenticated();
                }
                Ok(Some(asker))
            }
            // A session that has ended is a stranger's, who is shown the page to log in.
            Err(NotKnown::NotProved) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Who asks. The first who is known frees the place among strangers.
    pub(crate) async fn know(
        &self,
        head: &HeaderMap,
        changes: bool,
    ) -> Result<Box<dyn Asker>, NotKnown> {
        let credentials = match self.from {
            None => Credentials::Local,
            Some(_) => credentials(head, changes).ok_or(NotKnown::NotProved)?,
        };
        let asker = self.api.know(credentials, self.from).await?;
        if let Some(place) = self.place.lock().take() {
            place.authenticated();
        }
        Ok(asker)
    }

    async fn verb(&self, verb: String, request: Request<Incoming>) -> Response<reply::Body> {
        let asker = match self.know(request.headers(), true).await {
            Ok(asker) => asker,
            Err(why) => return turned_away(why),
        };
        if request.method() != hyper::Method::POST {
            let text = "the API takes POST /v1/<verb> with a JSON body";
            return reply::failure(&reply::invalid(text));
        }
        let body = match body::read(request.into_body()).await {
            Ok(body) => body.unwrap_or(Value::Null),
            Err(text) => return reply::failure(&reply::invalid(text)),
        };
        match asker.verb(verb, body).await {
            Ok(ApiReply::Json(value)) => reply::full(200, "application/json", value.to_string()),
            Ok(ApiReply::Lines(lines)) => reply::lines(lines),
            Err(error) => reply::failure(&error),
        }
    }

    async fn resource(&self, path: String, request: Request<Incoming>) -> Response<reply::Body> {
        let method = method(request.method());
        let changes = method != Method::Get;
        let asker = match self.know(request.headers(), changes).await {
            Ok(asker) => asker,
            Err(why) => return turned_away(why),
        };
        let field = |name: HeaderName| {
            let value = request.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let mut asked = ResourceRequest {
            method,
            path,
            query: request.uri().query().unwrap_or_default().to_owned(),
            if_match: field(header::IF_MATCH),
            if_none_match: field(header::IF_NONE_MATCH),
            body: Value::Null,
        };
        if changes && method != Method::Other {
            match read_json(request).await {
                Ok(body) => asked.body = body,
                Err(response) => return response,
            }
        }
        reply::resource(asker.resource(asked).await)
    }

    /// Browsers log in and out here. Only over TLS: the local socket has no need of it.
    async fn session(&self, request: Request<Incoming>) -> Response<reply::Body> {
        let Some(from) = self.from else {
            return reply::problem(404, "not_found", "the local socket knows who asks");
        };
        match *request.method() {
            hyper::Method::POST => match read_json(request).await.map(log_in) {
                Ok(Ok(asked)) => match self.api.log_in(asked, from).await {
                    Ok(begun) => {
                        let text = begun.session.to_string();
                        let mut response = reply::full(200, "application/json", text);
                        set_cookie(&mut response, begun.secret.reveal(), "");
                        response
                    }
                    Err(why) => turned_away(why),
                },
                Ok(Err(text)) => reply::problem(400, "invalid", text),
                Err(response) => response,
            },
            hyper::Method::GET | hyper::Method::HEAD | hyper::Method::DELETE => {
                let get = request.method() != hyper::Method::DELETE;
                let asker = match self.know(request.headers(), !get).await {
                    Ok(asker) => asker,
                    Err(why) => return turned_away(why),
                };
                let secret = cookie(request.headers(), COOKIE);
                if get {
                    let asked = ResourceRequest {
                        method: Method::Get,
                        path: "/session".to_owned(),
                        query: String::new(),
                        if_match: None,
                        if_none_match: None,
                        body: Value::Null,
                    };
                    return reply::resource(asker.resource(asked).await);
                }
                if let Some(secret) = secret
                    && let Err(error) = self.api.log_out(secret).await
                {
                    return reply::problem(500, error.kind.as_str(), &error.message);
                }
                let mut response = reply::resource(crate::api::ResourceReply::with(
                    204,
                    crate::api::ResourceBody::Empty,
                ));
                set_cookie(&mut response, "", "; Max-Age=0");
                response
            }
            _ => {
                let text = "POST logs in, DELETE logs out";
                let mut response = reply::problem(405, "invalid", text);
                reply::set(&mut response, header::ALLOW, "GET, HEAD, POST, DELETE");
                response
            }
        }
    }
}

/// A body of JSON, and of nothing else: forms of other sites cannot send that.
async fn read_json(request: Request<Incoming>) -> Result<Value, Response<reply::Body>> {
    let named = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let json = named.is_none_or(|value| {
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    let named = named.is_some();
    if !json {
        return Err(reply::problem(415, "invalid", "a body is application/json"));
    }
    match body::read(request.into_body()).await {
        Ok(None) => Ok(Value::Null),
        Ok(Some(Value::Null)) => {
            Err(reply::problem(400, "invalid", "the body must be an object, or there is none"))
        }
        Ok(Some(_)) if !named => {
            let text = "say what the body is: 'Content-Type: application/json'";
            Err(reply::problem(415, "invalid", text))
        }
        Ok(Some(value)) => Ok(value),
        Err(text) => Err(reply::problem(400, "invalid", &text)),
    }
}

/// What the browser says of where a request comes from.
fn site(head: &HeaderMap) -> Option<&str> {
    head.get("sec-fetch-site").and_then(|value| value.to_str().ok())
}

/// A form comes from a page of this origin: browsers say so, and no page can make them lie.
fn sent_from_here(head: &HeaderMap) -> Result<(), &'static str> {
    const ELSEWHERE: &str = "this form was sent by a page of another site";
    match site(head) {
        Some("same-origin") => return Ok(()),
        Some(_) => return Err(ELSEWHERE),
        None => {}
    }
    let text = |name: HeaderName| head.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) if origin.strip_prefix("https://") == Some(host) => Ok(()),
        (Some(_), _) => Err(ELSEWHERE),
        (None, _) => Err("a form says where it comes from: 'Origin' or 'Sec-Fetch-Site'"),
    }
}

/// The fields of a form.
async fn read_form(
    request: Request<Incoming>,
) -> Result<Vec<(String, SecretText)>, Response<reply::Body>> {
    let named = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let kind = named.unwrap_or_default().split(|byte| *byte == b';').next().unwrap_or_default();
    if !kind.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        let text = "a form is application/x-www-form-urlencoded";
        return Err(reply::problem(415, "invalid", text));
    }
    let bytes = match body::form(request.into_body()).await {
        Ok(bytes) => bytes,
        Err(text) => return Err(reply::problem(400, "invalid", &text)),
    };
    let read = std::str::from_utf8(&bytes).ok().and_then(page::fields);
    let Some(read) = read else {
        return Err(reply::problem(400, "invalid", "the form is not UTF-8, or cut off"));
    };
    Ok(read.into_iter().map(|(name, value)| (name, SecretText::new(value))).collect())
}

fn method(method: &hyper::Method) -> Method {
    match *method {
        hyper::Method::GET | hyper::Method::HEAD => Method::Get,
        hyper::Method::PUT => Method::Put,
        hyper::Method::POST => Method::Post,
        hyper::Method::DELETE => Method::Delete,
        _ => Method::Other,
    }
}

/// What a request shows: an API token, or a browser's cookie. A token counts first.
fn credentials(head: &HeaderMap, changes: bool) -> Option<Credentials> {
    if let Some(shown) = head.get(header::AUTHORIZATION) {
        let (scheme, secret) = shown.to_str().ok()?.split_once(' ')?;
        let bearer = scheme.eq_ignore_ascii_case("bearer");
        return bearer.then(|| Credentials::Bearer(SecretText::new(secret.trim())));
    }
    let csrf = head.get(&CSRF).and_then(|value| value.to_str().ok()).map(SecretText::new);
    Some(Credentials::Session { secret: cookie(head, COOKIE)?, csrf, changes })
}

/// As the browser calls this host: a name or an address, and a port.
fn host(head: &HeaderMap) -> Option<String> {
    let text = head.get(header::HOST)?.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let good = !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.chars().all(plain);
    good.then(|| text.to_owned())
}

fn cookie(head: &HeaderMap, name: &str) -> Option<SecretText> {
    let pairs = head.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|line| line.split(';')).map(str::trim);
    let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(SecretText::new(value))
}

fn set_cookie(response: &mut Response<reply::Body>, secret: &str, more: &str) {
    let text = format!("{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict{more}");
    reply::set(response, header::SET_COOKIE, &text);
}

fn log_in(body: Value) -> Result<LogIn, &'static str> {
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let (Some(user), Some(password)) = (text("user"), text("password")) else {
        return Err("log in with {\"user\": …, \"password\": …} and, where there is one, \"code\"");
    };
    let code = text("code").map(SecretText::new);
    Ok(LogIn { user, password: SecretText::new(password), code })
}

pub(crate) fn turned_away(why: NotKnown) -> Response<reply::Body> {
    let mut response = match why {
        NotKnown::NotProved => reply::not_proved(),
        NotKnown::TooOften { seconds } => reply::too_often(seconds),
        NotKnown::Failed(ApiError { kind, message }) => {
            reply::problem(crate::api::status_of(kind), kind.as_str(), &message)
        }
    };
    // Its body was not read.
    reply::set(&mut response, header::CONNECTION, "close");
    response
}
