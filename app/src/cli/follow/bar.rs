//! What is seen of a job while it runs.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use simsim_catalog::JobState;
use simsim_model::ProgressSnapshot;

use super::pace::Pace;
use super::{amount, moved};
use crate::cli::screen::{Screen, width_of};
use crate::cli::text::{Style, Text, plain, tail};
use crate::cli::words;

const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
const BAR_WIDTH: usize = 24;

/// A way to show progress.
pub enum View {
    Bar(Box<Bar>),
    Plain(Box<PlainLines>),
    /// Documents only at the end.
    Silent,
    /// A document for each event, made elsewhere.
    Events,
}

impl View {
    pub fn new(screen: &Screen, name: String) -> Self {
        match screen.width_aside() {
            _ if screen.is_json() => View::Silent,
            Some(width) => View::Bar(Box::new(Bar::new(name, width, screen.color_aside()))),
            None => View::Plain(Box::new(PlainLines::new(name))),
        }
    }

    pub fn state(&mut self, state: JobState) {
        if let View::Bar(bar) = self {
            bar.state = state;
            bar.draw();
        }
    }

    pub fn progress(&mut self, at_unix_ms: i64, now: ProgressSnapshot) {
        match self {
            View::Bar(bar) => {
                bar.pace.take(at_unix_ms, &now);
                bar.now = now;
                bar.draw();
            }
            View::Plain(lines) => {
                lines.pace.take(at_unix_ms, &now);
                lines.now = now;
                lines.tick();
            }
            View::Silent | View::Events => {}
        }
    }

    pub fn tick(&mut self) {
        match self {
            View::Bar(bar) => bar.tick(),
            View::Plain(lines) => lines.tick(),
            View::Silent | View::Events => {}
        }
    }

    /// A line that stays.
    pub fn say(&mut self, screen: &Screen, text: &str) {
        let text = Text::styled(Style::Warn, text);
        match self {
            View::Bar(bar) => bar.bar.println(text.render(bar.color)),
            View::Plain(_) => screen.aside(text),
            View::Silent | View::Events => {}
        }
    }

    pub fn end(&mut self) {
        if let View::Bar(bar) = self {
            bar.bar.finish_and_clear();
        }
    }
}

/// Two lines on a terminal: how far, how fast, how long; and what of.
pub struct Bar {
    bar: ProgressBar,
    name: String,
    width: usize,
    color: bool,
    state: JobState,
    now: ProgressSnapshot,
    pace: Pace,
    _quiet: Option<QuietKeys>,
}

/// Keeps the terminal from writing `^C` into the lines that are drawn. As before when dropped.
struct QuietKeys {
    before: Termios,
}

impl QuietKeys {
    fn new() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHOCTL);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &quiet).ok()?;
        Some(Self { before })
    }
}

impl Drop for QuietKeys {
    fn drop(&mut self) {
        // A terminal that went away needs nothing more.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

impl Bar {
    fn new(name: String, width: usize, color: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}\n{msg}") {
            bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        }
        let now = ProgressSnapshot::default();
        let state = JobState::Queued;
        let pace = Pace::default();
        let _quiet = QuietKeys::new();
        let mut bar = Self { bar, name, width, color, state, now, pace, _quiet };
        bar.draw();
        bar
    }

    /// Moves the spinner, and draws anew when the terminal has another size.
    fn tick(&mut self) {
        if let Some(width) = width_of(&std::io::stderr()).filter(|width| *width != self.width) {
            self.width = width;
            self.draw();
        }
        self.bar.tick();
    }

    fn draw(&mut self) {
        let (first, second) = lines(&self.name, self.state, &self.now, &self.pace, self.width);
        self.bar.set_prefix(first.render(self.color));
        self.bar.set_message(second.render(self.color));
    }
}

/// The two lines, for a terminal of so many columns. Two columns are the spinner's.
fn lines(
    name: &str,
    state: JobState,
    now: &ProgressSnapshot,
    pace: &Pace,
    width: usize,
) -> (Text, Text) {
    let room = width.saturating_sub(3);
    if state == JobState::Queued {
        return (
            Text::new().bold(name).plain("  waiting for a place on a drive").cut(room),
            Text::new(),
        );
    }
    let mut first = Text::new().bold(name);
    let expected = now.bytes_expected;
    if expected > 0 {
        let share = (moved(now) as f64 / expected as f64).clamp(0.0, 1.0);
        if width >= 60 {
            first = first.plain("  ").then(gauge(share));
        }
        // Never 100 % before the job says that it has ended.
        first = first.plain(format!("  {:>2} %", ((share * 100.0) as u32).min(99)));
    }
    if let Some(rate) = pace.rate() {
        first = first.plain(format!("  {}/s", words::size(rate)));
    }
    if let Some(left) = pace.left(expected.saturating_sub(moved(now))).filter(|_| expected > 0) {
        first = first.plain(format!("  {} left", words::lasting_roughly(left)));
    }
    let mut second = Text::new().plain("  ").plain(amount(now));
    if now.problems > 0 {
        let problems = words::counted(now.problems, "problem");
        second = second.plain("  ").add(Style::Warn, problems);
    }
    let left = room.saturating_sub(second.width() + 2);
    if left >= 8 && !now.waits.is_empty() {
        second = second.plain("  ").add(Style::Warn, tail(&now.waits, left));
    } else if left >= 8 && !now.current.is_empty() {
        second = second.plain("  ").dim(tail(&now.current, left));
    }
    (first.cut(room), second.cut(room + 2))
}

fn gauge(share: f64) -> Text {
    let full = (share * BAR_WIDTH as f64).round() as usize;
    Text::styled(Style::Busy, "━".repeat(full.min(BAR_WIDTH)))
        .dim("─".repeat(BAR_WIDTH.saturating_sub(full)))
}

/// A line now and then, for logs.
pub struct PlainLines {
    name: String,
    next: Instant,
    now: ProgressSnapshot,
    pace: Pace,
}

impl PlainLines {
    fn new(name: String) -> Self {
        Self {
            name,
            next: Instant::now() + PLAIN_INTERVAL,
            now: ProgressSnapshot::default(),
            pace: Pace::default(),
        }
    }

    fn tick(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + PLAIN_INTERVAL;
        let rate = self.pace.rate().map(|rate| format!(", {}/s", words::size(rate)));
        eprintln!("{}: {}{}", self.name, plain(&amount(&self.now)), rate.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use simsim_model::Outcome;

    use super::*;

    fn shown(width: usize, state: JobState, expected: u64) -> String {
        let now = ProgressSnapshot {
            files_done: 1204,
            bytes_done: 1_200_000_000,
            bytes_expected: expected,
            problems: 2,
            current: "/usr/share/doc/a\\x1bvery/long/path/to/some/README.txt".to_owned(),
            ..ProgressSnapshot::default()
        };
        let mut pace = Pace::default();
        let before = ProgressSnapshot { bytes_done: 900_000_000, ..now.clone() };
        pace.take(0, &before);
        pace.take(1000, &now);
        let (first, second) = lines("job 12", state, &now, &pace, width);
        assert!(first.width() + 2 < width && second.width() < width, "{width}");
        format!("{}\n{}\n", first.render(false), second.render(false))
    }

    #[test]
    fn progress_fits_the_terminal() {
        let running = JobState::Running;
        let mut all = String::new();
        for (width, state, expected) in [
            (80, running, 2_850_000_000),
            (120, running, 0),
            (40, running, 2_850_000_000),
            (80, JobState::Queued, 0),
            (80, JobState::Ended(Outcome::Finished), 1_200_000_000),
        ] {
            all.push_str(&shown(width, state, expected));
        }
        insta::assert_snapshot!(all);
    }
}
