//! The first visit: with a link that serves once, somebody becomes the first administrator.

use maud::html;
use simsim_console::SecretText;
use simsim_console::page::{Cookie, PageReply, PageRequest};
use simsim_server::Unknown;
use zeroize::Zeroizing;

use crate::frame;
use crate::parts::{Tone, alert, command};
use crate::text::{t, tf};
use crate::visit::Fields;
use crate::web::Web;

/// The page before there is anybody.
pub async fn show(web: &Web, request: &PageRequest, trouble: Option<&str>) -> PageReply {
    let query = Fields::of_query(&request.query);
    let code = query.get("code").unwrap_or_default();
    form(web, code, "", trouble).await
}

async fn form(web: &Web, code: &str, user: &str, trouble: Option<&str>) -> PageReply {
    if let Ok(true) = web.server().has_people().await {
        return PageReply::see("/log-in");
    }
    let welcome = web.server().is_welcome(code).await;
    let body = html! {
        @if welcome {
            form.door method="post" action="/welcome" {
                h1 { (tf("Welcome to {}", &[&web.name()])) }
                p { (t("You are the first: choose a name and a password. You may then do everything, and let others in.")) }
                @if let Some(trouble) = trouble { p.alert.bad role="alert" { (trouble) } }
                input type="hidden" name="code" value=(code);
                label for="user" { (t("Name")) }
                input #user name="user" value=(user) autocomplete="username" required autofocus;
                label for="password" { (t("Password")) " " span.quiet { (t("12 characters or more")) } }
                input #password type="password" name="password" autocomplete="new-password" minlength="12" required;
                label for="again" { (t("Once more")) }
                input #again type="password" name="again" autocomplete="new-password" required;
                button.first type="submit" { (t("Begin")) }
            }
        } @else {
            div.door {
                h1 { (tf("Welcome to {}", &[&web.name()])) }
                @if !code.is_empty() { (alert(Tone::Bad, html! { p { (t("This link serves no more.")) } })) }
                p { (t("Nobody can log in here yet. On the server's own host, make a link for the first user; it serves once, for an hour:")) }
                (command("simsim user welcome"))
            }
        }
    };
    PageReply::html(200, frame::bare(web.name(), t("Welcome"), &body))
}

/// Makes the first user, and lets that one in.
pub async fn begin(web: &Web, request: PageRequest) -> PageReply {
    let from = request.from;
    let fields = Fields::of_form(request.form);
    let (code, user) =
        (fields.get("code").unwrap_or_default(), fields.get("user").unwrap_or_default());
    let text = |name: &str| fields.exactly(name).unwrap_or_else(|| SecretText::new(""));
    let (password, again) = (text("password"), text("again"));
    if password.reveal() != again.reveal() {
        return form(web, code, user, Some(t("The two passwords differ."))).await;
    }
    match web.server().first_user(code, user, password.reveal(), from).await {
        Ok(()) => {}
        Err(Unknown::NotProved) => return form(web, "?", user, None).await,
        Err(Unknown::TooOften { seconds }) => {
            return form(
                web,
                code,
                user,
                Some(&tf("Too many wrong links: wait {} s.", &[&seconds])),
            )
            .await;
        }
        Err(Unknown::Failed(error)) => {
            return form(web, code, user, Some(&error.full_message())).await;
        }
    }
    let password = Zeroizing::new(password.reveal().to_owned());
    match web.server().log_in(user, password, None, from).await {
        Ok(begun) => {
            let mut reply = PageReply::see("/kit");
            reply.cookie = Cookie::Set(SecretText::new(begun.secret.as_str()));
            reply
        }
        Err(_) => PageReply::see("/log-in"),
    }
}
