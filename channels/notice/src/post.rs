//! A POST of JSON to a web address, by HTTPS only. With a key the receiver can tell that it is of this server and whole: the
//! header says HMAC-SHA-256 of the body. Redirections are not followed.

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::with_causes;
use crate::{DELIVERY_MAX, Letter, NoticeError};

/// `sha256=HEX`, over the body as it was sent.
pub const SIGNATURE_HEADER: &str = "simsim-signature";
/// Of an answer so much is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Where it goes.
#[derive(Debug, Clone)]
pub struct Post<'a> {
    /// `https://HOST[:PORT]/PATH`.
    pub url: &'a str,
    /// PEM; `None`: whom the host trusts.
    pub authority: Option<&'a str>,
    pub key: Option<&'a str>,
}

struct Target {
    uri: Uri,
    host: String,
    port: u16,
}

/// Whether it can be sent like that, as far as that is known without trying. Errors: `Invalid`.
pub fn check_post(post: &Post<'_>) -> Result<(), NoticeError> {
    target(post.url)?;
    let certificates = |pem| simsim_net::tls::certificates(pem).map_err(NoticeError::Invalid);
    post.authority.map_or(Ok(()), |pem| certificates(pem).map(drop))
}

fn target(url: &str) -> Result<Target, NoticeError> {
    let invalid = |why: &str| NoticeError::Invalid(format!("'{}': {why}", url.escape_debug()));
    let uri: Uri = url.parse().map_err(|_| invalid("no web address"))?;
    if uri.scheme_str() != Some("https") {
        return Err(invalid(
            "write https://HOST/PATH: names of files and hosts do not go in clear",
        ));
    }
    let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(invalid(
            "a user or password does not belong into it; give a key with --secret-file",
        ));
    }
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    // The usual port of a scheme is the library's to know.
    let known = url::Url::parse(url).ok().and_then(|url| url.port_or_known_default());
    let port = known.ok_or_else(|| invalid("it names no port"))?;
    Ok(Target { uri, host, port })
}

impl Post<'_> {
    /// Posts a letter's document. Any answer of the 200s is a yes.
    pub async fn send(&self, letter: &Letter) -> Result<(), NoticeError> {
        let target = target(self.url)?;
        let at = format!("{}:{}", target.host, target.port);
        match tokio::time::timeout(DELIVERY_MAX, self.post(&target, &at, letter)).await {
            Ok(done) => done,
            Err(_) => Err(NoticeError::Late { at, seconds: DELIVERY_MAX.as_secs() }),
        }
    }

    async fn post(&self, target: &Target, at: &str, letter: &Letter) -> Result<(), NoticeError> {
        let body = letter.document.to_string();
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| NoticeError::Invalid(format!("{}: {error}", target.host)))?;
        let tls = simsim_net::tls::towards_others(self.authority).map_err(NoticeError::Invalid)?;
        let wire = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .map_err(|error| NoticeError::unreachable(at, error))?;
        let wire = TlsConnector::from(tls)
            .connect(name, wire)
            .await
            .map_err(|error| NoticeError::untrusted(at, with_causes(&error)))?;
        let (mut sender, line) = http1::handshake(TokioIo::new(wire))
            .await
            .map_err(|error| NoticeError::unreachable(at, with_causes(&error)))?;
        let line = tokio::spawn(line);
        let path = target.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = target.uri.authority().map_or(at, |authority| authority.as_str());
        let mut request = Request::post(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("simsim/", env!("CARGO_PKG_VERSION")))
            .header("simsim-message", &letter.id);
        if let Some(key) = self.key {
            request = request.header(SIGNATURE_HEADER, signature(key, body.as_bytes()));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| NoticeError::Invalid(error.to_string()))?;
        let answered = sender.send_request(request).await;
        let done = match answered {
            Err(error) => Err(NoticeError::unreachable(at, with_causes(&error))),
            Ok(answer) => {
                let status = answer.status();
                let said = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
                let said = said.map(|said| said.to_bytes()).unwrap_or_default();
                match status.is_success() {
                    true => Ok(()),
                    false => {
                        let said = format!("{status} {}", String::from_utf8_lossy(&said));
                        Err(NoticeError::refused(at, &said))
                    }
                }
            }
        };
        line.abort();
        done
    }
}

fn signature(key: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    format!("sha256={}", HEXLOWER.encode(hmac::sign(&key, body).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_is_that_of_the_rfc() {
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn only_https_without_secrets_is_taken() {
        assert_eq!(
            target("https://[::1]:7/a?b").ok().map(|one| (one.host, one.port)),
            Some(("::1".to_owned(), 7))
        );
        for wrong in ["http://a/", "https://", "https://u:p@a/", "a", "file:///etc"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
