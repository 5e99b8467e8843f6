//! One question to a provider by HTTPS, and the JSON document that it answers. Redirections are not followed: what
//! a provider says of itself names the places where it answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;
use zeroize::Zeroizing;

use crate::OpenIdError;
use crate::error::{one_line, with_causes};

/// A person waits for it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Of one document.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 * 1024;
const HEAD_BYTES_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 64;
const URL_BYTES_MAX: usize = 2048;

/// What is asked.
pub(crate) enum Ask<'a> {
    Get,
    /// With an access token.
    As(&'a str),
    /// Fields of a form, and `Authorization` where there is one.
    Form(Zeroizing<String>, Option<Zeroizing<String>>),
}

/// A place that may be asked: HTTPS, a host, and no secret in it.
pub(crate) fn place(text: &str) -> Result<Url, String> {
    let shown = one_line(text);
    if text.len() > URL_BYTES_MAX {
        return Err(format!("a web address has at most {URL_BYTES_MAX} bytes"));
    }
    let url = Url::parse(text).map_err(|error| format!("'{shown}' is no web address: {error}"))?;
    if url.scheme() != "https" {
        return Err(format!("'{shown}': only https:// is spoken with an identity provider"));
    }
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    match url.host_str() {
        Some(host) if !host.is_empty() && bare => Ok(url),
        _ => {
            Err(format!("'{shown}': write https://HOST[:PORT]/PATH, without user, password or '#'"))
        }
    }
}

/// Asks, and reads a document: the status, and what was said.
pub(crate) async fn fetch(
    tls: &Arc<ClientConfig>,
    url: &Url,
    ask: Ask<'_>,
) -> Result<(u16, Value), OpenIdError> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    // The usual port of a scheme is the library's to know.
    let Some(port) = url.port_or_known_default() else {
        return Err(OpenIdError::Invalid(format!("{host}: it names no port")));
    };
    let at = format!("{host}:{port}");
    match tokio::time::timeout(ANSWERED_WITHIN, talk(tls, url, &host, port, &at, ask)).await {
        Ok(done) => done,
        Err(_) => Err(OpenIdError::Late { at, seconds: ANSWERED_WITHIN.as_secs() }),
    }
}

async fn talk(
    tls: &Arc<ClientConfig>,
    url: &Url,
    host: &str,
    port: u16,
    at: &str,
    ask: Ask<'_>,
) -> Result<(u16, Value), OpenIdError> {
    let unreachable =
        |why: String| OpenIdError::Unreachable { at: at.to_owned(), why: one_line(&why) };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| OpenIdError::Invalid(format!("{host}: {error}")))?;
    let wire =
        TcpStream::connect((host, port)).await.map_err(|error| unreachable(error.to_string()))?;
    let wire = TlsConnector::from(Arc::clone(tls))
        .connect(name, wire)
        .await
        .map_err(|error| OpenIdError::Untrusted { at: at.to_owned(), why: with_causes(&error) })?;
    let (mut sender, line) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .handshake(TokioIo::new(wire))
        .await
        .map_err(|error| unreachable(with_causes(&error)))?;
    let line = tokio::spawn(line);
    let request = request(url, at, ask)?;
    let answered = async {
        let answer =
            sender.send_request(request).await.map_err(|error| unreachable(with_causes(&error)))?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(OpenIdError::strange(at, "it leads elsewhere, which is not followed"));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body
            .map_err(|error| {
                OpenIdError::strange(at, format!("more than {ANSWER_BYTES_MAX} bytes, or: {error}"))
            })?
            .to_bytes();
        let read = serde_json::from_slice(&body);
        match read {
            Ok(document) => Ok((status.as_u16(), document)),
            // What is no document matters only where it was a yes.
            Err(_) if !status.is_success() => Ok((status.as_u16(), Value::Null)),
            Err(error) => Err(OpenIdError::strange(at, format!("no JSON: {error}"))),
        }
    }
    .await;
    line.abort();
    answered
}

fn request(url: &Url, at: &str, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, OpenIdError> {
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::builder()
        .uri(target)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("simsim/", env!("CARGO_PKG_VERSION")));
    let body = match ask {
        Ask::Get => Bytes::new(),
        Ask::As(token) => {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            Bytes::new()
        }
        Ask::Form(form, authorization) => {
            request = request
                .method("POST")
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            if let Some(shown) = authorization {
                request = request.header(header::AUTHORIZATION, shown.as_str());
            }
            Bytes::copy_from_slice(form.as_bytes())
        }
    };
    request.body(Full::new(body)).map_err(|error| OpenIdError::strange(at, error))
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_https_without_secrets_is_asked() {
        for good in ["https://a/", "https://[::1]:7/b?c=d", "https://idp.example"] {
            assert!(super::place(good).is_ok(), "{good}");
        }
        for wrong in [
            "http://a/",
            "https://",
            "https://u:p@a/",
            "https://u@a/",
            "https://a/#b",
            "a",
            "file:///etc",
        ] {
            assert!(super::place(wrong).is_err(), "{wrong}");
        }
        assert!(super::place(&format!("https://a/{}", "x".repeat(3000))).is_err());
    }
}
