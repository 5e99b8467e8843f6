//! The document around a page: head, navigation, what went wrong.

use maud::{DOCTYPE, Markup, html};
use simsim_console::api::status_of;
use simsim_console::page::PageReply;
use simsim_model::Kind;
use simsim_server::Right;

use crate::assets;
use crate::parts::{Page, Place};
use crate::text::t;
use crate::visit::{Answer, Failure, Shown, Visit};
use crate::web::Web;

/// The reply for what a page's function gave.
pub fn reply(web: &Web, visit: &Visit, shown: Shown) -> PageReply {
    match shown {
        Ok(Answer::Page(page)) => PageReply::html(page.status, document(web, visit, &page)),
        Ok(Answer::See(place)) => PageReply::see(place),
        Ok(Answer::Reply(reply)) => *reply,
        Err(failure) => {
            let page = failed(&failure);
            PageReply::html(page.status, document(web, visit, &page))
        }
    }
}

/// What went wrong, as a page.
fn failed(failure: &Failure) -> Page {
    let (title, help) = match failure.kind {
        Kind::Denied => (
            t("You may not do that"),
            t(
                "Your roles do not give you this right. Whoever manages the users of this server can change that, on the page People.",
            ),
        ),
        Kind::NotFound => (
            t("There is nothing here"),
            t(
                "What you are looking for has been removed, or never was. Go back, or begin at the overview.",
            ),
        ),
        Kind::Invalid => (
            t("That cannot be done as it was asked for"),
            t("Go back, change it, and send it again: nothing has been changed."),
        ),
        Kind::Busy => (
            t("Not now"),
            t("Something else has to end or to change first. Nothing has been changed."),
        ),
        Kind::Unreachable => (
            t("A host could not be reached"),
            t("The page Ports shows which ways are open and which are not."),
        ),
        Kind::Full => (t("There is no room left"), t("The page Storage shows what fills it.")),
        Kind::Corrupt => (
            t("Something is damaged"),
            t("The page Storage shows what is known of damages, and how they are healed."),
        ),
        Kind::Cancelled => (t("It was cancelled"), ""),
        Kind::Internal => (
            t("Something went wrong in the server"),
            t("The server's log tells more. Nothing was left half done."),
        ),
    };
    let body = html! {
        h1 { (title) }
        p.alert.bad role="alert" { (failure.message) }
        @if !help.is_empty() { p { (help) } }
        p { a href="/" { (t("To the overview")) } }
    };
    let mut page = Page::new(title, Place::Overview, body);
    page.status = status_of(failure.kind);
    page
}

/// A document with nothing but a body: before somebody is known.
pub fn bare(name: &str, title: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(name, title))
            body.bare { main #main { (body) } }
        }
    }
    .into_string()
}

/// Leads to the same place again, from a page of ours.
pub fn again(name: &str) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content="0";
                title { (name) }
            }
            body {}
        }
    }
    .into_string()
}

fn head(name: &str, title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · " (name) " · simsim" }
            link rel="icon" type="image/svg+xml" href=(assets::sign());
            script src=(assets::theme()) {}
            link rel="stylesheet" href=(assets::style());
            script src=(assets::script()) defer {}
        }
    }
}

fn places(visit: &Visit) -> Vec<(Place, &'static str, &'static str)> {
    let mut places = vec![
        (Place::Overview, "/", t("Overview")),
        (Place::Jobs, "/jobs", t("Jobs")),
        (Place::Restore, "/restore", t("Restore")),
        (Place::SetUp, "/set-up", t("Set up")),
        (Place::Ports, "/ports", t("Ports")),
        (Place::Storage, "/storage", t("Storage")),
    ];
    if visit.may(Right::People) || visit.may(Right::Approve) {
        places.push((Place::People, "/people", t("People")));
    }
    if visit.may(Right::Audit) {
        places.push((Place::Audit, "/audit", t("Audit")));
    }
    places
}

/// The place at which a page follows what happens.
fn live_place(visit: &Visit) -> String {
    crate::parts::asked(&visit.path, &visit.query.pairs_with("live", "1"))
}

fn document(web: &Web, visit: &Visit, page: &Page) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(web.name(), &page.title))
            body {
                a.skip href="#main" { (t("To the content")) }
                header.top {
                    a.brand href="/" { img src=(assets::sign()) alt="" width="24" height="24"; span { "simsim" } span.quiet { (web.name()) } }
                    form.search role="search" action="/search" method="get" {
                        label.hidden for="search-all" { (t("Search files in all savesets")) }
                        input #search-all type="search" name="q" placeholder=(t("Search files in all savesets")) value=[visit.query.get("q").filter(|_| visit.path == "/search")];
                    }
                    div.me {
                        button #theme type="button" aria-label=(t("Dark or light")) title=(t("Dark or light")) { "◐" }
                        a href="/me" { (visit.session.user) }
                        form.inline method="post" action="/log-out" {
                            input type="hidden" name="csrf" value=(visit.session.csrf_token);
                            button type="submit" { (t("Log out")) }
                        }
                    }
                }
                nav.places aria-label=(t("Places")) {
                    ul {
                        @for (place, to, label) in places(visit) {
                            li { a href=(to) aria-current=[(place == page.place).then_some("page")] { (label) } }
                        }
                    }
                }
                div #connection role="status" aria-live="polite" data-lost=(t("The server does not answer: trying again …")) data-ended=(t("Your session has ended.")) data-log-in=(t("Log in again")) {}
                main #main tabindex="-1" {
                    @if let Some(head) = &page.head { (head) } @else { (page.body) }
                    @if let Some(live) = &page.live {
                        div #live data-follow=(live_place(visit)) { (live) }
                    }
                    @if page.head.is_some() { (page.body) }
                }
                footer { span { "simsim " (env!("CARGO_PKG_VERSION")) } " · " a href="/api/v1/openapi.json" { (t("Interface for programs")) } }
            }
        }
    }
    .into_string()
}
