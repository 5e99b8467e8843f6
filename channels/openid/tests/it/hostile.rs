//! What providers answer that nobody should take.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use simsim_model::Kind;
use simsim_openid::{OpenIdError, Provider, Returned, Settings, challenge_of};
use tokio::io::AsyncReadExt;

use crate::idp::{ASKED, Answer, Idp, finish, now, unsigned};

const METADATA: &str = "/.well-known/openid-configuration";

fn head() -> Value {
    json!({"alg": "EdDSA", "kid": "one"})
}

#[tokio::test]
async fn what_is_asked_proves_who_asks_and_that_it_is_the_same_one() {
    let idp = Idp::start().await;
    let provider = idp.provider();
    let url = provider.begin(&ASKED).await.unwrap();
    let (place, query) = url.split_once('?').unwrap();
    assert_eq!(place, format!("{}/authorize", idp.issuer));
    for part in [
        "response_type=code",
        "client_id=simsim",
        "redirect_uri=https%3A%2F%2Fsimsim%2Fsign-in%2Fx%2Fback",
        "scope=openid+groups",
        "state=the+state",
        "nonce=the+nonce",
        "code_challenge_method=S256",
        &format!("code_challenge={}", challenge_of(ASKED.verifier)),
    ] {
        assert!(query.split('&').any(|one| one == part), "{part}: {query}");
    }
    assert!(!url.contains("verifier"), "{url}");
    assert_eq!(finish(&provider).await.unwrap().subject, "1");
    let asked = idp.last("/token");
    // simsim:a+secret
    assert!(asked.to_lowercase().contains("authorization: basic "), "{asked}");
    assert!(asked.contains("Basic c2ltc2ltOmErc2VjcmV0"), "{asked}");
    assert!(asked.contains("code_verifier=the+verifier"), "{asked}");
    assert!(!asked.contains("client_secret"), "{asked}");
    assert_eq!((idp.times(METADATA), idp.times("/keys"), idp.times("/userinfo")), (1, 1, 0));
    // Where it does not take it there, the secret goes in the form.
    let mut metadata = idp.metadata();
    metadata["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
    idp.says(METADATA, Answer::Json(200, metadata));
    finish(&idp.provider()).await.unwrap();
    let asked = idp.last("/token");
    assert!(asked.contains("client_secret=a+secret") && !asked.contains("Basic"), "{asked}");
}

#[tokio::test]
async fn what_is_not_signed_for_us_for_this_sign_in_and_now_is_refused() {
    let idp = Idp::start().await;
    let provider = idp.provider();
    finish(&provider).await.unwrap();
    let refused = async |token: String, words: &str| {
        idp.answers_token(&token);
        match finish(&provider).await {
            Err(error @ OpenIdError::NoProof(_)) => {
                assert!(error.to_string().contains(words), "{words}: {error}");
                assert_eq!(error.kind(), Kind::Denied);
            }
            other => panic!("{words}: {other:?}"),
        }
    };
    let with = |name: &str, value: Value| {
        let mut claims = idp.claims();
        claims[name] = value;
        idp.token(head(), claims)
    };
    refused(with("nonce", json!("another")), "nonce").await;
    refused(with("nonce", Value::Null), "nonce").await;
    refused(with("aud", json!("another")), "aud").await;
    refused(with("aud", json!(["simsim", "another"])), "azp").await;
    refused(with("azp", json!("another")), "azp").await;
    refused(with("iss", json!("https://another")), "issuer").await;
    refused(with("exp", json!(now() - 120)), "expired").await;
    refused(with("iat", json!(now() + 3600)), "future").await;
    refused(with("sub", json!("")), "sub").await;
    let none = unsigned(&json!({"alg": "none"}), &idp.claims());
    refused(format!("{none}."), "'none'").await;
    refused(none, "three parts").await;
    // The public key as a secret, in every form in which somebody could hold it.
    let public = idp.key.public_key().as_ref().to_vec();
    let keys = idp.keys("one").to_string().into_bytes();
    for secret in
        [public.clone(), BASE64URL_NOPAD.encode(&public).into_bytes(), keys, b"a secret".to_vec()]
    {
        let signed = unsigned(&json!({"alg": "HS256", "kid": "one"}), &idp.claims());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        refused(format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref())), "'HS256'").await;
    }
    for named in ["RS256", "ES256"] {
        let token = idp.token(json!({"alg": named, "kid": "one"}), idp.claims());
        refused(token, "none of the provider's keys").await;
    }
    // A key that comes along with the token is nobody's.
    let own = Ed25519KeyPair::generate().unwrap();
    let x = BASE64URL_NOPAD.encode(own.public_key().as_ref());
    let brought =
        json!({"alg": "EdDSA", "kid": "one", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}});
    let signed = unsigned(&brought, &idp.claims());
    let signature = BASE64URL_NOPAD.encode(own.sign(signed.as_bytes()).as_ref());
    refused(format!("{signed}.{signature}"), "signature is wrong").await;
    refused("x".repeat(70_000), "more than").await;
    idp.says("/token", Answer::Json(200, json!({"access_token": "x"})));
    assert!(matches!(finish(&provider).await, Err(OpenIdError::NoProof(_))), "no ID token");
    idp.answers_token(&idp.token(head(), idp.claims()));
    finish(&provider).await.unwrap();
}

#[tokio::test]
async fn keys_that_are_changed_are_asked_for_once_more_and_no_oftener() {
    let idp = Idp::start().await;
    let provider = idp.provider();
    finish(&provider).await.unwrap();
    assert_eq!(idp.times("/keys"), 1);
    idp.says("/keys", Answer::Json(200, idp.keys("two")));
    let two = json!({"alg": "EdDSA", "kid": "two"});
    idp.answers_token(&idp.token(two, idp.claims()));
    finish(&provider).await.unwrap();
    finish(&provider).await.unwrap();
    assert_eq!(idp.times("/keys"), 2);
    idp.answers_token(&idp.token(json!({"alg": "EdDSA", "kid": "three"}), idp.claims()));
    assert!(matches!(finish(&provider).await, Err(OpenIdError::NoProof(_))));
    assert_eq!(idp.times("/keys"), 3);
    let many: Vec<Value> = vec![json!({"kty": "oct", "k": "AA"}); 65];
    idp.says("/keys", Answer::Json(200, json!({ "keys": many })));
    assert!(matches!(finish(&provider).await, Err(OpenIdError::Strange { .. })));
}

#[tokio::test]
async fn more_is_asked_for_where_the_token_says_too_little_and_only_of_the_same_person() {
    let idp = Idp::start().await;
    let provider = idp.provider();
    let mut claims = idp.claims();
    claims.as_object_mut().unwrap().remove("groups");
    idp.answers_token(&idp.token(head(), claims));
    let says = |body: Value| idp.says("/userinfo", Answer::Json(200, body));
    says(json!({"sub": "1", "groups": ["admins"], "iss": "https://another"}));
    let found = finish(&provider).await.unwrap();
    assert_eq!(found.claims["groups"], json!(["admins"]));
    assert_eq!(found.claims["iss"], json!(idp.issuer), "what is signed counts");
    assert!(idp.last("/userinfo").contains("Bearer access"));
    for other in [json!({"sub": "2", "groups": ["admins"]}), json!({"groups": ["admins"]})] {
        says(other);
        assert!(matches!(finish(&provider).await, Err(OpenIdError::NoProof(_))));
    }
    idp.says("/userinfo", Answer::Json(500, json!({"error": "no"})));
    assert!(matches!(finish(&provider).await, Err(OpenIdError::Refused { .. })));
}

#[tokio::test]
async fn answers_of_another_provider_do_not_count() {
    let idp = Idp::start().await;
    let provider = idp.provider();
    let of = async |provider: &Provider, issuer: Option<&str>| {
        let returned = Returned { code: "the code", issuer };
        provider.finish(&ASKED, returned, |_| false, now()).await
    };
    of(&provider, None).await.unwrap();
    of(&provider, Some(&idp.issuer)).await.unwrap();
    let before = idp.times("/token");
    assert!(matches!(of(&provider, Some("https://another")).await, Err(OpenIdError::NoProof(_))));
    let mut metadata = idp.metadata();
    metadata["authorization_response_iss_parameter_supported"] = json!(true);
    idp.says(METADATA, Answer::Json(200, metadata));
    assert!(matches!(of(&idp.provider(), None).await, Err(OpenIdError::NoProof(_))));
    assert_eq!(idp.times("/token"), before, "no code goes anywhere");
}

#[tokio::test]
async fn answers_that_are_too_large_lead_elsewhere_or_are_nothing_are_refused() {
    let idp = Idp::start().await;
    let large = json!({"issuer": idp.issuer, "more": "x".repeat(300_000)}).to_string();
    let raw = |text: String| Answer::Raw(text.into_bytes());
    let endless = format!(
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "10000\r\n".to_owned() + &"x".repeat(0x10000) + "\r\n"
    );
    let mut other = idp.metadata();
    other["issuer"] = json!("https://another");
    let mut plain = idp.metadata();
    plain["token_endpoint"] = json!("http://localhost/token");
    for (what, answer) in [
        (
            "too large",
            raw(format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{large}", large.len())),
        ),
        (
            "a lie about its length",
            raw("HTTP/1.1 200 X\r\nContent-Length: 99\r\n\r\n{}".to_owned()),
        ),
        ("cut off", raw(endless)),
        (
            "a head too large",
            raw(format!("HTTP/1.1 200 X\r\nX: {}\r\n\r\n{{}}", "x".repeat(60_000))),
        ),
        ("many fields", raw(format!("HTTP/1.1 200 X\r\n{}\r\n{{}}", "X: y\r\n".repeat(100)))),
        (
            "elsewhere",
            raw("HTTP/1.1 302 X\r\nLocation: https://evil.test/\r\nContent-Length: 0\r\n\r\n"
                .to_owned()),
        ),
        ("no JSON", raw("HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nno".to_owned())),
        (
            "nested",
            raw(format!("HTTP/1.1 200 X\r\nContent-Length: 10000\r\n\r\n{}", "[".repeat(10_000))),
        ),
        ("nothing", raw(String::new())),
        ("no HTTP", raw("SSH-2.0-x\r\n\r\n".to_owned())),
        ("a failure", Answer::Json(500, json!({"error": "x\u{1b}[31m"}))),
        ("a list", Answer::Json(200, json!([]))),
        ("another", Answer::Json(200, other)),
        ("in clear", Answer::Json(200, plain)),
    ] {
        idp.says(METADATA, answer);
        let error = idp.provider().begin(&ASKED).await.expect_err(what);
        assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
        assert!(error.to_string().len() < 600, "{error}");
    }
}

#[tokio::test]
async fn one_that_fails_is_left_alone_for_a_while_and_one_that_is_silent_holds_nobody_up() {
    let idp = Idp::start().await;
    idp.says(METADATA, Answer::Json(500, json!({})));
    let provider = idp.provider();
    for _ in 0..20 {
        provider.begin(&ASKED).await.unwrap_err();
    }
    assert_eq!(idp.times(METADATA), 1, "strangers do not make us ask");
    idp.says(METADATA, Answer::Json(200, idp.metadata()));
    tokio::time::sleep(Duration::from_secs(6)).await;
    provider.begin(&ASKED).await.unwrap();

    let begun = Instant::now();
    idp.says(METADATA, Answer::Silence);
    idp.says("/token", Answer::Silence);
    let silent = idp.provider();
    let (one, other) = tokio::join!(silent.begin(&ASKED), finish(&provider));
    assert!(matches!(one, Err(OpenIdError::Late { .. })), "{one:?}");
    assert!(matches!(other, Err(OpenIdError::Late { .. })), "{other:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn only_whom_the_authority_signed_for_that_name_is_asked() {
    let (idp, other) = (Idp::start().await, Idp::start().await);
    let by = |settings: Settings| async move {
        Provider::new(settings).unwrap().begin(&ASKED).await.unwrap_err()
    };
    let error = by(Settings { authority: None, ..idp.settings() }).await;
    assert!(matches!(error, OpenIdError::Untrusted { .. }), "{error}");
    let error = by(Settings { authority: Some(other.authority.clone()), ..idp.settings() }).await;
    assert!(matches!(error, OpenIdError::Untrusted { .. }), "{error}");
    let issuer = idp.issuer.replace("localhost", "127.0.0.1");
    let error = by(Settings { issuer, ..idp.settings() }).await;
    assert!(matches!(error, OpenIdError::Untrusted { .. }), "{error}");
    // A port that speaks no TLS, and one that says nothing at all.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let clear = tokio::spawn(async move {
        let (mut wire, _) = listener.accept().await.unwrap();
        let mut first = [0; 1];
        wire.read_exact(&mut first).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut wire, b"HTTP/1.1 400 X\r\n\r\n").await.unwrap();
        first[0]
    });
    let error = by(Settings { issuer, ..idp.settings() }).await;
    assert!(matches!(error, OpenIdError::Untrusted { .. }), "{error}");
    assert_eq!(clear.await.unwrap(), 22, "a TLS handshake, and no word in clear");
    assert_eq!(idp.times(METADATA) + other.times(METADATA), 0);
}
