//! The way by an identity provider: the browser is led there, and comes back.

use maud::html;
use simsim_console::SecretText;
use simsim_console::page::{Cookie, PageReply, PageRequest, encoded};
use simsim_server::{SignInAnswer, SignInRefusal};

use crate::frame;
use crate::text::{t, tf};
use crate::visit::Fields;
use crate::web::{Web, is_ours};

/// Where that is.
pub const WAY: &str = "/sign-in/";

/// Where a browser begins it.
pub fn place(provider: &str, to: &str) -> String {
    match to {
        "/" => format!("{WAY}{}", encoded(provider)),
        to => format!("{WAY}{}?to={}", encoded(provider), encoded(to)),
    }
}

/// Leads away, or takes what comes back.
pub async fn page(web: &Web, request: &PageRequest) -> PageReply {
    let query = Fields::of_query(&request.query);
    let rest = request.path.strip_prefix(WAY).unwrap_or_default();
    match rest.split_once('/') {
        None => away(web, rest, &query, request).await,
        Some((provider, "back")) => back(web, provider, &query, request).await,
        Some(_) => refused(web, rest, &SignInRefusal::NoProvider),
    }
}

async fn away(web: &Web, provider: &str, query: &Fields, request: &PageRequest) -> PageReply {
    let to = query.get("to").filter(|to| is_ours(to)).unwrap_or("/");
    // Nobody is signed in by a link of somebody else's page: a person decides on it at our door.
    if request.from_elsewhere {
        return PageReply::see(format!("/log-in?to={}", encoded(to)));
    }
    let host = request.host.as_deref().unwrap_or_default();
    match web.server().begin_sign_in(provider, host, to).await {
        Ok(led) => {
            let mut reply = PageReply::see(led.url);
            reply.sign_in = Cookie::Set(SecretText::new(led.secret.as_str()));
            reply
        }
        Err(refusal) => refused(web, provider, &refusal),
    }
}

async fn back(web: &Web, provider: &str, query: &Fields, request: &PageRequest) -> PageReply {
    let answer = SignInAnswer {
        state: query.get("state"),
        code: query.get("code"),
        issuer: query.get("iss"),
        error: query.get("error"),
        error_description: query.get("error_description"),
    };
    let cookie = request.sign_in.as_ref().map(SecretText::reveal);
    let mut reply = match web.server().finish_sign_in(provider, answer, cookie, request.from).await
    {
        Ok((begun, to)) => {
            let mut reply = PageReply::see(if is_ours(&to) { to.as_str() } else { "/" });
            reply.cookie = Cookie::Set(SecretText::new(begun.secret.as_str()));
            reply
        }
        // Whoever comes with the answer of another browser does not end the sign-in of this one.
        Err(refusal @ SignInRefusal::Expired) => return refused(web, provider, &refusal),
        Err(refusal) => refused(web, provider, &refusal),
    };
    reply.sign_in = Cookie::Clear;
    reply
}

fn refused(web: &Web, provider: &str, refusal: &SignInRefusal) -> PageReply {
    let (status, what, help) = match refusal {
        SignInRefusal::NoProvider => (
            404,
            tf("Nobody signs in here by '{}'.", &[&provider]),
            t("The page for logging in shows the ways that there are."),
        ),
        SignInRefusal::Expired => (
            400,
            t("This sign-in has expired, or was begun in another browser or tab.").to_owned(),
            t("Begin again: at most ten minutes may lie between."),
        ),
        SignInRefusal::SaidNo(said) => (
            403,
            tf("{} did not let you through: {}", &[&provider, said]),
            t("Try again there with the right account, or ask whoever manages it."),
        ),
        SignInRefusal::Provider(error) => (
            502,
            tf("Signing in by {} does not work now: {}", &[&provider, error]),
            t(
                "Try again. If it stays so, whoever manages this server tries 'simsim identity-provider test'.",
            ),
        ),
        SignInRefusal::Unfit(why) => (
            403,
            tf("What {} says of you is of no use here: {}", &[&provider, why]),
            t("Whoever manages this server can choose other claims for the identity provider."),
        ),
        SignInRefusal::NoUser(name) => (
            403,
            tf("There is no user '{}' here.", &[name]),
            t("Whoever manages the users of this server can add you, for this identity provider."),
        ),
        SignInRefusal::NameTaken(name) => (
            403,
            tf("The name '{}' is somebody else's here, who signs in in another way.", &[name]),
            t(
                "If that is you: log in as you did before, or ask whoever manages the users of this server.",
            ),
        ),
        SignInRefusal::NoRole(name) => (
            403,
            tf("'{}' may not do anything here: no group of yours has a role.", &[name]),
            t("Whoever manages the groups, or the users of this server, can change that."),
        ),
        SignInRefusal::Disabled(name) => (
            403,
            tf("User '{}' is not let in.", &[name]),
            t("Whoever manages the users of this server can change that, on the page People."),
        ),
        SignInRefusal::TooOften { seconds } => {
            (429, tf("Too many wrong log-ins: wait {} s.", &[seconds]), "")
        }
        SignInRefusal::Failed(error) => (
            500,
            error.full_message(),
            t("The server's log tells more. Nothing was left half done."),
        ),
    };
    let title = t("You are not signed in");
    let body = html! {
        div.door {
            h1 { (title) }
            p.alert.bad role="alert" { (what) }
            @if !help.is_empty() { p { (help) } }
            p { a href="/log-in" { (t("To the page for logging in")) } }
        }
    };
    PageReply::html(status, frame::bare(web.name(), title, &body))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_place_to_begin_keeps_where_somebody_wanted_to_go() {
        assert_eq!(super::place("corp", "/"), "/sign-in/corp");
        assert_eq!(super::place("corp", "/jobs?a=b"), "/sign-in/corp?to=%2Fjobs%3Fa%3Db");
    }
}
