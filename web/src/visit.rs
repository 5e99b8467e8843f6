//! A visit: who looks, what was asked for, and asking the server's verbs on behalf of that person.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use simsim_console::api::{Method, ResourceBody, ResourceRequest};
use simsim_console::page::{PageBody, PageReply, PageRequest};
use simsim_console::{ApiError, ApiReply, Asker, SecretText};
use simsim_model::Kind;
use simsim_server::Right;
use simsim_server::api::SessionView;

use crate::parts::Page;

/// Why there is no page.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { kind: error.kind, message: error.message }
    }
}

impl Failure {
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { kind: Kind::NotFound, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: Kind::Invalid, message: message.into() }
    }
}

/// What a page's function gives.
pub type Shown = Result<Answer, Failure>;

/// A page, or what stands in its place.
pub enum Answer {
    Page(Box<Page>),
    /// After a form that did something: look there.
    See(String),
    Reply(Box<PageReply>),
}

impl From<Page> for Answer {
    fn from(page: Page) -> Self {
        Answer::Page(Box::new(page))
    }
}

/// Names and values that were sent: what follows the `?`, or a form.
#[derive(Default)]
pub struct Fields(Vec<(String, SecretText)>);

impl Fields {
    pub fn of_form(form: Option<Vec<(String, SecretText)>>) -> Self {
        Self(form.unwrap_or_default())
    }

    pub fn of_query(query: &str) -> Self {
        let read = simsim_console::page::fields(query).unwrap_or_default();
        Self(read.into_iter().map(|(name, value)| (name, SecretText::new(value))).collect())
    }

    /// The first value under a name, without the white space around it; none where it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(field, _)| field == name);
        found.next().map(|(_, value)| value.reveal().trim()).filter(|value| !value.is_empty())
    }

    /// As it was typed, for secrets.
    pub fn exactly(&self, name: &str) -> Option<SecretText> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(field, _)| field == name);
        found.map(|(_, value)| value.reveal()).filter(|value| !value.trim().is_empty())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// All pairs, and one more.
    pub fn pairs_with<'a>(&'a self, name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
        let others = self.0.iter().filter(|(field, _)| field != name);
        let mut pairs: Vec<_> =
            others.map(|(name, value)| (name.as_str(), value.reveal())).collect();
        pairs.push((name, value));
        pairs
    }

    /// All pairs but those of these names.
    pub fn others(&self, names: &[&str]) -> Vec<(String, String)> {
        let others = self.0.iter().filter(|(field, _)| !names.contains(&field.as_str()));
        others.map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// The lines of a field, without the empty ones.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = self.all(name).flat_map(str::lines).map(str::trim);
        text.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// One request of somebody who is known.
pub struct Visit {
    asker: Box<dyn Asker>,
    pub secret: SecretText,
    pub session: SessionView,
    pub path: String,
    pub query: Fields,
    /// A form that was sent.
    pub form: Option<Fields>,
}

impl Visit {
    /// `None`: the session has ended meanwhile.
    pub async fn begin(
        asker: Box<dyn Asker>,
        secret: SecretText,
        request: PageRequest,
    ) -> Option<Self> {
        let asked = ResourceRequest {
            method: Method::Get,
            path: "/session".to_owned(),
            query: String::new(),
            if_match: None,
            if_none_match: None,
            body: Value::Null,
        };
        let ResourceBody::Json(session) = asker.resource(asked).await.body else { return None };
        let session = serde_json::from_value(session).ok()?;
        let query = Fields::of_query(&request.query);
        let form = request.form.map(Fields);
        Some(Self { asker, secret, session, path: request.path, query, form })
    }

    /// Asks a verb as the person who looks.
    pub async fn ask<R: DeserializeOwned>(
        &self,
        verb: &str,
        body: impl Serialize,
    ) -> Result<R, Failure> {
        let internal = |error: serde_json::Error| Failure {
            kind: Kind::Internal,
            message: format!("{verb}: {error}"),
        };
        let body = serde_json::to_value(body).map_err(internal)?;
        match self.asker.verb(verb.to_owned(), body).await? {
            ApiReply::Json(value) => serde_json::from_value(value).map_err(internal),
            ApiReply::Lines(_) => Err(Failure::invalid(format!("{verb} tells no one answer"))),
        }
    }

    /// The same of a verb that takes nothing.
    pub async fn look<R: DeserializeOwned>(&self, verb: &str) -> Result<R, Failure> {
        self.ask(verb, Value::Null).await
    }

    /// A file or a folder of a saveset, for the browser.
    pub async fn download(&self, saveset: &str, path: &str) -> Result<PageReply, Failure> {
        let found = self.asker.download(saveset.to_owned(), path.to_owned()).await?;
        let body = PageBody::Download { name: found.name, kind: found.kind, bytes: found.bytes };
        Ok(PageReply::with(body))
    }

    /// Nothing where the person lacks the right: for parts of a page that others see.
    pub async fn glance<R: DeserializeOwned>(
        &self,
        verb: &str,
        body: impl Serialize,
    ) -> Result<Option<R>, Failure> {
        match self.ask(verb, body).await {
            Ok(found) => Ok(Some(found)),
            Err(Failure { kind: Kind::Denied, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Whether the person has a right, for everything or for something: what a page offers. What is
    /// done is decided by the verb.
    pub fn may(&self, right: Right) -> bool {
        let grants = &self.session.grants;
        grants.iter().any(|grant| grant.right == right && !grant.is_for_place())
    }

    /// Whether the person sees the whole suite, and not a part of it only: pages of all of it leave away then what would
    /// be refused, and every refusal is written down.
    pub fn sees_all(&self) -> bool {
        let grants = &self.session.grants;
        grants.iter().any(|grant| grant.right == Right::View && grant.is_for_all())
    }

    /// The form that was sent, where one was.
    pub fn sent(&self) -> Option<&Fields> {
        self.form.as_ref()
    }
}
