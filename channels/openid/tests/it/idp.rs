//! The server: answers by path, over TLS by an authority of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use simsim_openid::{Asked, Identity, OpenIdError, Provider, Returned, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub const ASKED: Asked<'static> = Asked {
    redirect: "https://simsim/sign-in/x/back",
    state: "the state",
    nonce: "the nonce",
    verifier: "the verifier",
};

/// What is answered at a place.
#[derive(Clone)]
pub enum Answer {
    Json(u16, Value),
    /// Every byte of it.
    Raw(Vec<u8>),
    /// Nothing, for ever.
    Silence,
}

type Shared<T> = Arc<Mutex<T>>;

pub struct Idp {
    pub issuer: String,
    pub authority: String,
    pub key: Ed25519KeyPair,
    answers: Shared<HashMap<String, Answer>>,
    asked: Shared<Vec<(String, String)>>,
}

impl Idp {
    /// One that answers well, until a test says something else.
    pub async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answers, asked) = (Shared::default(), Shared::default());
        let idp = Self {
            issuer: format!("https://localhost:{port}"),
            authority: issuer.pem(),
            key: Ed25519KeyPair::generate().unwrap(),
            answers: Arc::clone(&answers),
            asked: Arc::clone(&asked),
        };
        tokio::spawn(serve(listener, acceptor, answers, asked));
        idp.says("/.well-known/openid-configuration", Answer::Json(200, idp.metadata()));
        idp.says("/keys", Answer::Json(200, idp.keys("one")));
        idp.answers_token(&idp.token(json!({"alg": "EdDSA", "kid": "one"}), idp.claims()));
        idp
    }

    pub fn says(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub fn answers_token(&self, token: &str) {
        let body = json!({"access_token": "access", "token_type": "Bearer", "id_token": token});
        self.says("/token", Answer::Json(200, body));
    }

    /// How often a place was asked.
    pub fn times(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(at, _)| at == path).count()
    }

    /// The last request for a place, whole.
    pub fn last(&self, path: &str) -> String {
        let asked = self.asked.lock().unwrap();
        asked.iter().rev().find(|(at, _)| at == path).unwrap().1.clone()
    }

    pub fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"), "userinfo_endpoint": at("/userinfo"),
        })
    }

    pub fn keys(&self, id: &str) -> Value {
        let x = BASE64URL_NOPAD.encode(self.key.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x}]})
    }

    pub fn claims(&self) -> Value {
        let now = now();
        json!({
            "iss": self.issuer, "aud": "simsim", "sub": "1", "nonce": ASKED.nonce, "exp": now + 300, "iat": now,
            "groups": ["ops"],
        })
    }

    pub fn token(&self, head: Value, claims: Value) -> String {
        let signed = unsigned(&head, &claims);
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    pub fn settings(&self) -> Settings {
        Settings {
            issuer: self.issuer.clone(),
            client_id: "simsim".to_owned(),
            secret: Some("a secret".to_owned().into()),
            scopes: vec!["groups".to_owned()],
            authority: Some(self.authority.clone()),
        }
    }

    pub fn provider(&self) -> Provider {
        Provider::new(self.settings()).unwrap()
    }
}

pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

pub fn unsigned(head: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}", part(head), part(claims))
}

/// What comes of a code that a browser brings back.
pub async fn finish(provider: &Provider) -> Result<Identity, OpenIdError> {
    let returned = Returned { code: "the code", issuer: None };
    provider.finish(&ASKED, returned, |claims| !claims.contains_key("groups"), now()).await
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answers: Shared<HashMap<String, Answer>>,
    asked: Shared<Vec<(String, String)>>,
) {
    loop {
        let (wire, _) = listener.accept().await.unwrap();
        let (acceptor, answers, asked) =
            (acceptor.clone(), Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(mut wire) = acceptor.accept(wire).await else { return };
            let mut request = Vec::new();
            let mut part = [0; 4096];
            loop {
                let Ok(read @ 1..) = wire.read(&mut part).await else { return };
                request.extend_from_slice(&part[..read]);
                let text = String::from_utf8_lossy(&request);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.trim().parse().unwrap())
                });
                if body.len() >= length.unwrap_or(0) {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
            asked.lock().unwrap().push((path.clone(), text));
            let answer = answers.lock().unwrap().get(&path).cloned();
            match answer.unwrap_or(Answer::Json(404, json!({"error": "nothing here"}))) {
                Answer::Silence => std::future::pending().await,
                Answer::Raw(bytes) => {
                    let _ = wire.write_all(&bytes).await;
                }
                Answer::Json(status, body) => {
                    let body = body.to_string();
                    let head =
                        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                    let _ = wire.write_all(format!("{head}{body}").as_bytes()).await;
                }
            }
            let _ = wire.shutdown().await;
        });
    }
}
