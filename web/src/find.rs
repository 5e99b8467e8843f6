//! Long lists: a name to look for, and pages.

use maud::{Markup, html};

use crate::parts::asked;
use crate::text::{t, tf};
use crate::visit::Visit;

/// What the visitor looks for, and where in the list they are.
pub struct Find {
    wanted: String,
    page: usize,
    /// What else the page was asked for.
    others: Vec<(String, String)>,
}

impl Find {
    pub fn of(visit: &Visit) -> Self {
        let query = &visit.query;
        Self {
            wanted: query.get("find").unwrap_or_default().to_lowercase(),
            page: usize::try_from(query.number("page").unwrap_or(0)).unwrap_or(0),
            others: query.others(&["find", "page", "live"]),
        }
    }

    pub fn fits(&self, name: &str) -> bool {
        self.wanted.is_empty() || name.to_lowercase().contains(&self.wanted)
    }

    /// The rows of this page.
    pub fn page_of<'a, T>(&self, all: &'a [T], rows: usize) -> &'a [T] {
        let begin = self.page.saturating_mul(rows).min(all.len());
        all.get(begin..all.len().min(begin + rows)).unwrap_or_default()
    }

    /// The field to look for a name; `many`: there is so much that somebody may want it.
    pub fn form(&self, path: &str, many: bool) -> Markup {
        html! {
            @if many || !self.wanted.is_empty() {
                form.filters method="get" action=(path) {
                    @for (name, value) in &self.others { input type="hidden" name=(name) value=(value); }
                    div { label for="find" { (t("Name")) } input #find type="search" name="find" value=(self.wanted); }
                    button type="submit" { (t("Filter")) }
                }
            }
        }
    }

    /// How many there are, and the ways to the pages beside this one.
    pub fn pages(&self, path: &str, all: usize, rows: usize) -> Markup {
        let to = |page: usize| {
            let mut pairs: Vec<(&str, &str)> =
                self.others.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let page = page.to_string();
            pairs.extend([("find", self.wanted.as_str()), ("page", page.as_str())]);
            asked(path, &pairs)
        };
        html! {
            @if all > rows {
                p {
                    (tf("{} in all.", &[&all])) " "
                    @if self.page > 0 { a href=(to(self.page - 1)) { (t("Before")) } " " }
                    @if (self.page + 1).saturating_mul(rows) < all { a href=(to(self.page + 1)) { (t("More")) } }
                }
            }
        }
    }
}
