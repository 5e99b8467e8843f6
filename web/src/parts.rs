//! What pages are made of: few parts, the same everywhere.

use maud::{Markup, html};
use simsim_server::api::ApprovalView;

use crate::text::t;
use crate::visit::Visit;

/// A page, without the document around it.
pub struct Page {
    pub title: String,
    /// The place in the navigation that it belongs to.
    pub place: Place,
    pub body: Markup,
    /// What follows what happens, beneath the body.
    pub live: Option<Markup>,
    /// What a page begins with, above the part that is live.
    pub head: Option<Markup>,
    pub status: u16,
}

impl Page {
    pub fn new(title: impl Into<String>, place: Place, body: Markup) -> Self {
        Self { title: title.into(), place, body, live: None, head: None, status: 200 }
    }

    /// The live part stands between this and the body.
    pub fn with_live_first(mut self, head: Markup, live: Markup) -> Self {
        (self.head, self.live) = (Some(head), Some(live));
        self
    }

    pub fn with_live(mut self, live: Markup) -> Self {
        self.live = Some(live);
        self
    }
}

/// Places of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Overview,
    Jobs,
    Restore,
    SetUp,
    Ports,
    Storage,
    People,
    Audit,
    Me,
}

/// How good or bad something is. Never told by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Warn,
    Bad,
    Busy,
    Quiet,
}

impl Tone {
    pub const fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
            Tone::Busy => "busy",
            Tone::Quiet => "quiet",
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Tone::Good => "✓",
            Tone::Warn => "!",
            Tone::Bad => "✕",
            Tone::Busy => "▸",
            Tone::Quiet => "·",
        }
    }
}

pub fn badge(tone: Tone, words: &str) -> Markup {
    html! { span class=(format!("badge {}", tone.class())) { span aria-hidden="true" { (tone.sign()) } " " (words) } }
}

/// How a job stands.
pub fn state(state: &str) -> Markup {
    let (tone, words) = match state {
        "finished" => (Tone::Good, t("finished")),
        "finished_with_errors" => (Tone::Warn, t("finished with errors")),
        "failed" => (Tone::Bad, t("failed")),
        "interrupted" => (Tone::Bad, t("interrupted")),
        "cancelled" => (Tone::Quiet, t("cancelled")),
        "running" => (Tone::Busy, t("running")),
        "queued" => (Tone::Quiet, t("waits")),
        other => return badge(Tone::Quiet, other),
    };
    badge(tone, words)
}

/// A number that leads to what it counts.
pub fn figure(label: &str, value: &str, to: &str, tone: Option<Tone>) -> Markup {
    let class = format!("figure {}", tone.map_or("", Tone::class));
    html! {
        a class=(class) href=(to) { span.value { (value) } span.label { (label) } }
    }
}

/// A box with a heading.
pub fn section(title: &str, body: Markup) -> Markup {
    html! { section.card { h2 { (title) } (body) } }
}

/// Nothing is here yet: says what would be, and what to do.
pub fn empty(words: &str, act: Option<(&str, &str)>) -> Markup {
    html! {
        div.empty {
            p { (words) }
            @if let Some((to, label)) = act { a.button.first href=(to) { (label) } }
        }
    }
}

/// A table. On narrow screens each row is a block, and each cell says what it is.
pub fn table(caption: &str, heads: &[&str], rows: Vec<Vec<Markup>>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption.hidden { (caption) }
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.into_iter().enumerate() {
                                td data-label=(heads.get(at).copied().unwrap_or_default()) { div { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Pairs of words and values.
pub fn facts(pairs: Vec<(&str, Markup)>) -> Markup {
    html! { dl.facts { @for (word, value) in pairs { div { dt { (word) } dd { (value) } } } } }
}

/// A form that does something. Holds what shows that it is of this session.
pub fn form(visit: &Visit, action: &str, body: Markup) -> Markup {
    html! {
        form method="post" action=(action) {
            input type="hidden" name="csrf" value=(visit.session.csrf_token);
            (body)
        }
    }
}

/// One button that does something.
pub fn act(visit: &Visit, action: &str, label: &str, class: &str) -> Markup {
    html! {
        form.inline method="post" action=(action) {
            input type="hidden" name="csrf" value=(visit.session.csrf_token);
            button class=(class) type="submit" { (label) }
        }
    }
}

/// The same on the command line, to be copied.
pub fn command(words: &str) -> Markup {
    html! {
        div.command {
            code { (words) }
            button.copy type="button" data-copy=(words) { (t("Copy")) }
        }
    }
}

/// Text to be copied, several lines of it.
pub fn block(words: &str) -> Markup {
    html! {
        div.command {
            pre tabindex="0" { code { (words) } }
            button.copy type="button" data-copy=(words) { (t("Copy")) }
        }
    }
}

/// Words for the shell: quoted where they must be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,*".contains(c);
    if !word.is_empty() && word.chars().all(|c| plain(c) && c != '*') {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A bar that is partly full.
pub fn meter(part: u64, whole: u64, label: &str, tone: Tone) -> Markup {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    let percent = percent.clamp(0.0, 100.0);
    html! {
        svg class=(format!("meter {}", tone.class())) viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.back width="100" height="6" rx="2" {}
            rect.front width=(format!("{percent:.1}")) height="6" rx="2" {}
        }
    }
}

pub fn alert(tone: Tone, body: Markup) -> Markup {
    html! { div class=(format!("alert {}", tone.class())) role="status" { (body) } }
}

/// Something that waits for a second person.
pub fn waits_for(approval: &ApprovalView) -> Markup {
    alert(
        Tone::Warn,
        html! {
            (t("This waits for a second person: "))
            a href=(format!("/approvals/{}", approval.approval)) { (approval.about) }
        },
    )
}

/// A path of a page from parts that may hold anything.
pub fn link(parts: &[&str]) -> String {
    let mut out = String::new();
    for part in parts {
        out.push('/');
        out.push_str(&simsim_console::page::encoded(part));
    }
    out
}

/// A place with what follows its `?`.
pub fn asked(place: &str, pairs: &[(&str, &str)]) -> String {
    let mut out = place.to_owned();
    let mut sign = if place.contains('?') { '&' } else { '?' };
    for (name, value) in pairs {
        if value.is_empty() {
            continue;
        }
        out.push(sign);
        sign = '&';
        out.push_str(name);
        out.push('=');
        out.push_str(&simsim_console::page::encoded(value));
    }
    out
}

/// A small field of choice, with one of them chosen.
pub fn choice(name: &str, label: &str, choices: &[(String, String)], chosen: &str) -> Markup {
    html! {
        label for=(name) { (label) }
        select id=(name) name=(name) {
            @for (value, words) in choices {
                option value=(value) selected[value == chosen] { (words) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_shell_are_quoted_where_they_must_be() {
        for (word, shown) in [
            ("/home", "/home"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("*.tmp", "'*.tmp'"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn links_hold_any_name() {
        assert_eq!(link(&["tasks", "a/b ?"]), "/tasks/a%2Fb%20%3F");
        assert_eq!(asked("/jobs", &[("task", "a&b"), ("x", "")]), "/jobs?task=a%26b");
    }
}
