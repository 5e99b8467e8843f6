//! What people see: sizes, rates, progress.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use simsim_model::ProgressSnapshot;

/// A size with a decimal unit, three digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else if value < 10.0 {
        format!("{value:.2} {}", UNITS[unit])
    } else if value < 100.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// Bytes in a time, as a rate.
pub fn rate(bytes: u64, time: Duration) -> String {
    format!("{}/s", size((bytes as f64 / time.as_secs_f64().max(0.001)) as u64))
}

/// Live progress: a bar with rate, remaining time and current file on a terminal; elsewhere a
/// plain line every ten seconds.
pub struct Live {
    bar: Option<ProgressBar>,
    verb: &'static str,
    next_line: Instant,
    started: Instant,
}

impl Live {
    pub fn new(verb: &'static str, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template =
                "{prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(verb);
            bar
        });
        let now = Instant::now();
        let wait =
            if quiet { Duration::from_secs(u32::MAX.into()) } else { Duration::from_secs(10) };
        Self { bar, verb, next_line: now + wait, started: now }
    }

    pub fn update(&mut self, now: &ProgressSnapshot) {
        if let Some(bar) = &self.bar {
            if now.bytes_expected > 0 {
                bar.set_length(now.bytes_expected.max(now.bytes_done));
            }
            bar.set_position(now.bytes_done);
            bar.set_message(now.current.clone());
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + Duration::from_secs(10);
            eprintln!(
                "{}: {} files, {} ({})",
                self.verb,
                now.files_done,
                size(now.bytes_done),
                rate(now.bytes_done, self.started.elapsed()),
            );
        }
    }

    pub fn done(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_234), "1.23 kB");
        assert_eq!(size(45_600_000), "45.6 MB");
        assert_eq!(size(789_000_000_000), "789 GB");
        assert_eq!(size(999_999), "1.00 MB");
    }
}
