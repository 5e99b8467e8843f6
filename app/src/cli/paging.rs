//! Answers that come in pages: shown as they come, or kept for one document.

use std::ffi::OsString;

use super::paths;
use super::screen::Screen;
use super::text::Text;
use crate::exit::Failure;

/// Items of one question to the server.
const PAGE: u32 = 5000;

/// How far to go, and where to begin.
#[derive(clap::Args, Debug, Default)]
pub struct PageArguments {
    /// At most so many
    #[arg(long, short = 'n', value_name = "NUMBER")]
    limit: Option<u32>,
    /// Only what comes after this one: the next page
    #[arg(long, value_name = "NAME|PATH")]
    after: Option<OsString>,
}

/// Where a walk through the pages stands.
pub struct Pages<T> {
    left: Option<u32>,
    after: Option<String>,
    more: bool,
    kept: Vec<T>,
}

impl<T> Pages<T> {
    pub fn new(arguments: &PageArguments) -> Self {
        Self {
            left: arguments.limit,
            after: arguments.after.as_deref().map(paths::in_saveset),
            more: true,
            kept: Vec::new(),
        }
    }

    /// The next question: after what, and how many; `None` when there is nothing more to ask.
    pub fn next(&self) -> Option<(Option<String>, u32)> {
        let limit = self.left.map_or(PAGE, |left| left.min(PAGE));
        (self.more && limit > 0).then(|| (self.after.clone(), limit))
    }

    /// Takes a page in: keeps it for the document, or shows it.
    pub fn take(
        &mut self,
        screen: &Screen,
        mut items: Vec<T>,
        more: bool,
        name: impl FnOnce(&T) -> String,
        show: impl FnOnce(&Screen, &[T]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let last = items.last().map(name);
        // A page that ends nowhere would be asked for again and again.
        self.more = more && last.is_some() && last != self.after;
        self.after = last;
        self.left = self.left.map(|left| left.saturating_sub(items.len() as u32));
        if screen.is_json() {
            self.kept.append(&mut items);
            return Ok(());
        }
        show(screen, &items)?;
        screen.flush()
    }

    /// What was kept, and whether there is more. Says for people how to go on.
    pub fn end(self, screen: &Screen) -> (Vec<T>, bool) {
        if let Some(last) = self.after.filter(|_| self.more && !screen.is_json()) {
            screen.aside(Text::new().dim(format!("there are more: --after '{last}'")));
        }
        (self.kept, self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::CommonArguments;

    #[test]
    fn pages_are_asked_for_until_there_is_no_more_or_enough() {
        let screen = CommonArguments { json: true, ..Default::default() }.screen();
        let all: Vec<u32> = (0..12_000).collect();
        let walk = |limit: Option<u32>| {
            let mut pages = Pages::new(&PageArguments { limit, after: None });
            let mut asked = Vec::new();
            while let Some((after, limit)) = pages.next() {
                let from = after.map_or(0, |after| after.parse::<usize>().unwrap() + 1);
                let page: Vec<u32> = all[from..].iter().take(limit as usize).copied().collect();
                asked.push(page.len());
                let more = from + page.len() < all.len();
                pages.take(&screen, page, more, |last| last.to_string(), |_, _| Ok(())).unwrap();
            }
            let (kept, more) = pages.end(&screen);
            assert!(kept.iter().copied().eq(0..kept.len() as u32), "in order, none twice");
            (asked, kept.len(), more)
        };
        assert_eq!(walk(None), (vec![5000, 5000, 2000], 12_000, false));
        assert_eq!(walk(Some(6000)), (vec![5000, 1000], 6000, true));
        assert_eq!(walk(Some(12_000)), (vec![5000, 5000, 2000], 12_000, false));
        assert_eq!(walk(Some(0)), (vec![], 0, true));

        // A server that repeats itself keeps nobody here.
        let mut pages = Pages::new(&PageArguments::default());
        for _ in 0..2 {
            assert!(pages.next().is_some());
            pages.take(&screen, vec![7], true, |last| last.to_string(), |_, _| Ok(())).unwrap();
        }
        assert!(pages.next().is_none());
    }
}
