//! One provider: leading a browser there, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls::ClientConfig;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use crate::OpenIdError;
use crate::error::one_line;
use crate::fetch::{Ask, fetch};
use crate::keys::{self, Key};
use crate::metadata::{self, Metadata};
use crate::token::{self, Expected, Identity, Refusal};

/// So long what a provider says of itself is kept.
const KEPT: Duration = Duration::from_secs(3600);
/// After it did not answer it is left alone for so long: strangers can make us ask.
const LEFT_ALONE: Duration = Duration::from_secs(5);
const CODE_BYTES_MAX: usize = 8 * 1024;

/// A provider, as it was set up.
#[derive(Clone)]
pub struct Settings {
    /// Its name for itself, exactly.
    pub issuer: String,
    pub client_id: String,
    pub secret: Option<Zeroizing<String>>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// PEM; `None`: whom the host trusts.
    pub authority: Option<String>,
}

/// What a browser is led to the provider with; the same is needed again when it comes back.
#[derive(Clone)]
pub struct Asked<'a> {
    /// Where the provider sends the browser back to.
    pub redirect: &'a str,
    pub state: &'a str,
    pub nonce: &'a str,
    /// The secret of PKCE, whose hash goes along.
    pub verifier: &'a str,
}

/// What a browser brings back.
#[derive(Clone, Copy)]
pub struct Returned<'a> {
    pub code: &'a str,
    /// RFC 9207.
    pub issuer: Option<&'a str>,
}

/// One provider, with what is kept of its answers.
pub struct Provider {
    settings: Settings,
    tls: Arc<ClientConfig>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    metadata: Option<(Metadata, Instant)>,
    keys: Option<(Vec<Key>, Instant)>,
    failed: Option<(OpenIdError, Instant)>,
}

/// What goes along with a browser in place of the secret of PKCE (S256).
pub fn challenge_of(verifier: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    BASE64URL_NOPAD.encode(hash.as_ref())
}

impl Provider {
    /// Asks nothing yet. Errors: `Invalid` for settings that cannot be right.
    pub fn new(settings: Settings) -> Result<Self, OpenIdError> {
        metadata::place_of(&settings.issuer).map_err(OpenIdError::Invalid)?;
        let text = |what: &str, text: &str| match text.is_empty()
            || text.chars().any(|c| c.is_control())
        {
            true => Err(OpenIdError::Invalid(format!(
                "{what}: '{}' cannot be one",
                text.escape_debug()
            ))),
            false => Ok(()),
        };
        text("the client id", &settings.client_id)?;
        for scope in &settings.scopes {
            text("a scope", scope)?;
            if scope.contains(|c: char| !c.is_ascii_graphic() || c == '"' || c == '\\') {
                return Err(OpenIdError::Invalid(format!(
                    "'{scope}' is no scope: name one at a time"
                )));
            }
        }
        let tls = simsim_net::tls::towards_others(settings.authority.as_deref())
            .map_err(OpenIdError::Invalid)?;
        Ok(Self { settings, tls, known: Mutex::default() })
    }

    /// Whether it answers, with keys of which one can be used here.
    pub async fn is_there(&self) -> Result<(), OpenIdError> {
        let metadata = self.metadata().await?;
        match self.keys(&metadata, None).await?.0.is_empty() {
            true => Err(OpenIdError::strange(
                metadata.keys.as_str(),
                format!("it has no key for one of {}", keys::Algorithm::ALL.join(", ")),
            )),
            false => Ok(()),
        }
    }

    /// Where a browser goes to sign in.
    pub async fn begin(&self, asked: &Asked<'_>) -> Result<String, OpenIdError> {
        let metadata = self.metadata().await?;
        let mut url = metadata.authorization;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", asked.redirect)
            .append_pair("scope", &self.scope())
            .append_pair("state", asked.state)
            .append_pair("nonce", asked.nonce)
            .append_pair("code_challenge", &challenge_of(asked.verifier))
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Takes what came back for an identity. `lacks`: whether more is to be asked for, with the person's access token, than
    /// the ID token says.
    pub async fn finish(
        &self,
        asked: &Asked<'_>,
        returned: Returned<'_>,
        lacks: impl Fn(&Map<String, Value>) -> bool + Send,
        now_unix_s: i64,
    ) -> Result<Identity, OpenIdError> {
        let metadata = self.metadata().await?;
        let issuer = self.settings.issuer.as_str();
        let is_other = match returned.issuer {
            Some(said) => said != issuer,
            None => metadata.says_issuer,
        };
        if is_other {
            return Err(OpenIdError::NoProof("the answer is of another provider (iss)".to_owned()));
        }
        if returned.code.is_empty() || returned.code.len() > CODE_BYTES_MAX {
            return Err(OpenIdError::NoProof("there is no code in the answer".to_owned()));
        }
        let answer = self.exchange(&metadata, asked, returned.code).await?;
        let Some(text) = answer.get("id_token").and_then(Value::as_str) else {
            return Err(OpenIdError::NoProof("there is no ID token in the answer".to_owned()));
        };
        let expected = Expected {
            issuer,
            client_id: &self.settings.client_id,
            nonce: asked.nonce,
            now_unix_s,
        };
        let mut identity = self.identity(&metadata, text, expected).await?;
        if let (true, Some(place), Some(token)) = (
            lacks(&identity.claims),
            &metadata.userinfo,
            answer.get("access_token").and_then(Value::as_str),
        ) {
            self.ask_more(place, token, &mut identity).await?;
        }
        Ok(identity)
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        asked: &Asked<'_>,
        code: &str,
    ) -> Result<Value, OpenIdError> {
        let (form, authorization) = self.form(metadata, asked, code);
        let (status, answer) =
            fetch(&self.tls, &metadata.token, Ask::Form(form, authorization)).await?;
        match status {
            200 => Ok(answer),
            status => Err(refused(&metadata.token, status, &answer)),
        }
    }

    /// The form that takes a code for tokens, and `Authorization` where the secret goes there.
    fn form(
        &self,
        metadata: &Metadata,
        asked: &Asked<'_>,
        code: &str,
    ) -> (Zeroizing<String>, Option<Zeroizing<String>>) {
        let settings = &self.settings;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", asked.redirect)
            .append_pair("code_verifier", asked.verifier);
        let mut authorization = None;
        match &settings.secret {
            Some(secret) if metadata.basic => {
                // RFC 6749, section 2.3.1: both are encoded as a form first.
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let pair =
                    Zeroizing::new(format!("{}:{}", encoded(&settings.client_id), encoded(secret)));
                let text = Zeroizing::new(BASE64.encode(pair.as_bytes()));
                authorization = Some(Zeroizing::new(format!("Basic {}", text.as_str())));
            }
            Some(secret) => {
                form.append_pair("client_id", &settings.client_id)
                    .append_pair("client_secret", secret);
            }
            None => {
                form.append_pair("client_id", &settings.client_id);
            }
        }
        (Zeroizing::new(form.finish()), authorization)
    }

    /// Reads an ID token. Keys are asked for once more where its key is not known: providers change them.
    async fn identity(
        &self,
        metadata: &Metadata,
        text: &str,
        expected: Expected<'_>,
    ) -> Result<Identity, OpenIdError> {
        let (known, at) = self.keys(metadata, None).await?;
        let mut found = token::read(text, &known, expected);
        if found == Err(Refusal::UnknownKey) {
            let (known, _) = self.keys(metadata, Some(at)).await?;
            found = token::read(text, &known, expected);
        }
        found.map_err(|refusal| {
            OpenIdError::NoProof(match refusal {
                Refusal::UnknownKey => "it is signed by none of the provider's keys".to_owned(),
                Refusal::Wrong(why) => why,
            })
        })
    }

    /// What the provider says to whoever holds the person's access token. Of what is in both, the ID token counts.
    async fn ask_more(
        &self,
        place: &Url,
        token: &str,
        identity: &mut Identity,
    ) -> Result<(), OpenIdError> {
        let (status, answer) = fetch(&self.tls, place, Ask::As(token)).await?;
        let Value::Object(claims) = answer else {
            return Err(refused(place, status, &answer));
        };
        if status != 200 {
            return Err(refused(place, status, &Value::Object(claims)));
        }
        if claims.get("sub").and_then(Value::as_str) != Some(&identity.subject) {
            return Err(OpenIdError::NoProof(
                "the provider tells of somebody else (sub)".to_owned(),
            ));
        }
        for (name, value) in claims {
            identity.claims.entry(name).or_insert(value);
        }
        Ok(())
    }

    async fn metadata(&self) -> Result<Metadata, OpenIdError> {
        let mut known = self.known.lock().await;
        if let Some((metadata, at)) = &known.metadata
            && at.elapsed() < KEPT
        {
            return Ok(metadata.clone());
        }
        if let Some((error, at)) = &known.failed
            && at.elapsed() < LEFT_ALONE
        {
            return Err(error.clone());
        }
        let place = metadata::place_of(&self.settings.issuer).map_err(OpenIdError::Invalid)?;
        let asked =
            fetch(&self.tls, &place, Ask::Get).await.and_then(|(status, document)| match status {
                200 => metadata::read(place.as_str(), &self.settings.issuer, &document),
                status => Err(refused(&place, status, &document)),
            });
        match asked {
            Ok(metadata) => {
                *known = Known {
                    metadata: Some((metadata.clone(), Instant::now())),
                    ..Known::default()
                };
                Ok(metadata)
            }
            Err(error) => {
                known.failed = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    /// The provider's keys, and when they were asked for. `older`: those are too old.
    async fn keys(
        &self,
        metadata: &Metadata,
        older: Option<Instant>,
    ) -> Result<(Vec<Key>, Instant), OpenIdError> {
        let mut known = self.known.lock().await;
        if let Some((keys, at)) = &known.keys
            && at.elapsed() < KEPT
            && older.is_none_or(|older| older < *at)
        {
            return Ok((keys.clone(), *at));
        }
        let (status, document) = fetch(&self.tls, &metadata.keys, Ask::Get).await?;
        if status != 200 {
            return Err(refused(&metadata.keys, status, &document));
        }
        let keys = keys::read(&document)
            .map_err(|why| OpenIdError::strange(metadata.keys.as_str(), why))?;
        let at = Instant::now();
        known.keys = Some((keys.clone(), at));
        Ok((keys, at))
    }

    fn scope(&self) -> String {
        let more =
            self.settings.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid");
        std::iter::once("openid").chain(more).collect::<Vec<_>>().join(" ")
    }
}

/// What a provider says in place of an answer (RFC 6749, section 5.2).
fn refused(place: &Url, status: u16, answer: &Value) -> OpenIdError {
    let said = ["error", "error_description"].map(|name| answer[name].as_str().unwrap_or_default());
    OpenIdError::Refused {
        at: place.host_str().unwrap_or_default().to_owned(),
        said: one_line(&format!("{status} {}", said.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        assert_eq!(
            challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn settings_that_cannot_be_right_are_refused() {
        let good = Settings {
            issuer: "https://idp".to_owned(),
            client_id: "simsim".to_owned(),
            secret: None,
            scopes: vec!["profile".to_owned()],
            authority: None,
        };
        assert!(Provider::new(good.clone()).is_ok());
        for wrong in [
            Settings { issuer: "http://idp".to_owned(), ..good.clone() },
            Settings { client_id: String::new(), ..good.clone() },
            Settings { scopes: vec!["a b".to_owned()], ..good.clone() },
            Settings { authority: Some("no certificate".to_owned()), ..good },
        ] {
            assert!(Provider::new(wrong).is_err());
        }
    }
}
