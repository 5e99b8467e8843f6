//! The pages, and the doors before them: logging in and out, and the first administrator.

use std::sync::Arc;

use maud::html;
use simsim_console::SecretText;
use simsim_console::api::Answering;
use simsim_console::page::{Cookie, PageBody, PageReply, PageRequest, Visitor, encoded};
use simsim_server::{Server, Unknown};
use zeroize::Zeroizing;

use crate::text::{t, tf};
use crate::visit::{Fields, Visit};
use crate::{assets, frame, live, pages, route, sign_in};

/// The pages of one server.
#[derive(Clone)]
pub struct Web(Arc<Inside>);

struct Inside {
    server: Server,
    name: String,
}

impl Web {
    pub fn new(server: Server, name: String) -> Self {
        Self(Arc::new(Inside { server, name }))
    }

    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// The server's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Answers a browser.
    pub fn page(&self, request: PageRequest, visitor: Visitor) -> Answering<'_, PageReply> {
        Box::pin(async move {
            if request.form.is_none()
                && let Some((kind, bytes)) = assets::get(&request.path)
            {
                return PageReply::with(PageBody::Asset { kind, bytes });
            }
            match (request.path.as_str(), &request.form) {
                ("/log-in", None) => {
                    let query = Fields::of_query(&request.query);
                    return self.door(200, &query, None).await;
                }
                ("/log-in", Some(_)) => return self.log_in(request).await,
                ("/welcome", None) => return pages::welcome::show(self, &request, None).await,
                ("/welcome", Some(_)) => return pages::welcome::begin(self, request).await,
                (path, None) if path.starts_with(sign_in::WAY) => {
                    return sign_in::page(self, &request).await;
                }
                _ => {}
            }
            let (path, query) = (request.path.clone(), request.query.clone());
            let from_elsewhere = request.from_elsewhere;
            let visit = match visitor {
                Visitor::Stranger => None,
                Visitor::Somebody { asker, secret } => Visit::begin(asker, secret, request).await,
            };
            match visit {
                None => self.stranger(&path, &query, from_elsewhere).await,
                Some(visit) if path == "/log-out" => self.log_out(visit).await,
                Some(visit) if visit.query.has("live") && visit.form.is_none() => {
                    live::follow(self.clone(), visit)
                }
                Some(visit) => {
                    let shown = route::page(self, &visit).await;
                    frame::reply(self, &visit, shown)
                }
            }
        })
    }

    /// Somebody who is not known is led to the door, and from there back to where they wanted to go.
    /// A link on a page of another site, such as in mail, comes without the cookie of a session that
    /// there may be (`SameSite=Strict`): the step from a page of ours to the same place carries it.
    async fn stranger(&self, path: &str, query: &str, from_elsewhere: bool) -> PageReply {
        if from_elsewhere {
            return PageReply::html(200, frame::again(self.name()));
        }
        if Fields::of_query(query).has("live") {
            return PageReply::html(401, t("Your session has ended.").to_owned());
        }
        let mut place = path.to_owned();
        if !query.is_empty() {
            place = format!("{place}?{query}");
        }
        match self.server().has_people().await {
            Ok(false) if self.ways().await.is_empty() => PageReply::see("/welcome"),
            _ if place == "/" => PageReply::see("/log-in"),
            _ => PageReply::see(format!("/log-in?to={}", encoded(&place))),
        }
    }

    /// Identity providers by which somebody can sign in. Whoever has a password gets in without them.
    async fn ways(&self) -> Vec<String> {
        match self.server().sign_in_ways().await {
            Ok(ways) => ways,
            Err(error) => {
                tracing::warn!("identity providers are not shown: {error}");
                Vec::new()
            }
        }
    }

    async fn door(&self, status: u16, fields: &Fields, trouble: Option<&str>) -> PageReply {
        let ways = self.ways().await;
        let to = fields.get("to").filter(|to| is_ours(to)).unwrap_or("/");
        let user = fields.get("user").unwrap_or_default();
        let body = html! {
            form.door method="post" action="/log-in" {
                h1 { (tf("Log in to {}", &[&self.name()])) }
                @if let Some(trouble) = trouble { p.alert.bad role="alert" { (trouble) } }
                input type="hidden" name="to" value=(to);
                label for="user" { (t("Name")) }
                input #user name="user" value=(user) autocomplete="username" required autofocus[user.is_empty()];
                label for="password" { (t("Password")) }
                input #password type="password" name="password" autocomplete="current-password" required autofocus[!user.is_empty()];
                label for="code" { (t("One-time password")) " " span.quiet { (t("where you have them")) } }
                input #code name="code" inputmode="numeric" autocomplete="one-time-code";
                button.first type="submit" { (t("Log in")) }
                @for way in &ways {
                    a.button href=(sign_in::place(way, to)) { (tf("Sign in with {}", &[way])) }
                }
            }
        };
        PageReply::html(status, frame::bare(self.name(), t("Log in"), &body))
    }

    async fn log_in(&self, request: PageRequest) -> PageReply {
        let from = request.from;
        let fields = Fields::of_form(request.form);
        let (Some(user), Some(password)) = (fields.get("user"), fields.exactly("password")) else {
            return self.door(400, &fields, Some(t("A name and a password are needed."))).await;
        };
        let password = Zeroizing::new(password.reveal().to_owned());
        match self.server().log_in(user, password, fields.get("code"), from).await {
            Ok(begun) => {
                let to = fields.get("to").filter(|to| is_ours(to)).unwrap_or("/");
                let mut reply = PageReply::see(to);
                reply.cookie = Cookie::Set(SecretText::new(begun.secret.as_str()));
                reply
            }
            Err(Unknown::NotProved) => {
                let text = t("This name, password and one-time password do not fit together.");
                self.door(401, &fields, Some(text)).await
            }
            Err(Unknown::TooOften { seconds }) => {
                let text = tf("Too many wrong log-ins: wait {} s.", &[&seconds]);
                self.door(429, &fields, Some(&text)).await
            }
            Err(Unknown::Failed(error)) => {
                self.door(500, &fields, Some(&error.full_message())).await
            }
        }
    }

    async fn log_out(&self, visit: Visit) -> PageReply {
        if visit.form.is_none() {
            return PageReply::see("/");
        }
        if let Err(error) = self.server().log_out(visit.secret.reveal()).await {
            tracing::warn!("a session could not be ended: {error}");
        }
        let mut reply = PageReply::see("/log-in");
        reply.cookie = Cookie::Clear;
        reply
    }
}

/// A path of ours, and no other host's.
pub fn is_ours(to: &str) -> bool {
    to.starts_with('/')
        && !to.starts_with("//")
        && !to.contains('\\')
        && !to.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    #[test]
    fn nobody_is_led_elsewhere() {
        for good in ["/", "/jobs?state=failed", "/a//b"] {
            assert!(super::is_ours(good), "{good}");
        }
        for bad in ["", "//evil.test", "https://evil.test", "/\\evil.test", "evil", "/a\nb"] {
            assert!(!super::is_ours(bad), "{bad}");
        }
    }
}
