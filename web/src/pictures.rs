//! Pictures: small drawings that the server makes. What they show stands in words beside them.

use maud::{Markup, html};
use simsim_server::api::DayView;

use crate::parts::{Tone, asked};
use crate::text::{t, tf};
use crate::words::size;

/// How a day went, the worst of it.
pub fn tone_of(day: &DayView) -> Option<Tone> {
    match () {
        () if day.failed + day.interrupted > 0 => Some(Tone::Bad),
        () if day.finished_with_errors > 0 => Some(Tone::Warn),
        () if day.finished > 0 => Some(Tone::Good),
        () => None,
    }
}

/// The days as a calendar; each leads to its jobs.
pub fn days(days: &[DayView]) -> Markup {
    html! {
        ol.days {
            @for day in days {
                li {
                    @let words = tf("{}: {} finished, {} with errors, {} failed", &[&day.date, &day.finished, &day.finished_with_errors, &(day.failed + day.interrupted)]);
                    a class=(tone_of(day).map_or("", Tone::class)) title=(words) aria-label=(words)
                        href=(asked("/jobs", &[("since", &day.begin_unix_ms.to_string()), ("until", &day.end_unix_ms.to_string())])) {
                        (day.date.get(8..).unwrap_or_default())
                        @if day.failed + day.interrupted > 0 { "✕" } @else if day.finished_with_errors > 0 { "!" }
                    }
                }
            }
        }
    }
}

/// Bars over days.
pub fn bars(title: &str, days: &[DayView], value: impl Fn(&DayView) -> u64) -> Markup {
    let most = days.iter().map(&value).max().unwrap_or(0).max(1);
    let (wide, high) = (600.0, 120.0);
    let step = wide / days.len().max(1) as f64;
    html! {
        svg.trend viewBox="0 -16 600 156" role="img" aria-label=(tf("{}: {} on the most", &[&title, &size(most)])) {
            @for (at, day) in days.iter().enumerate() {
                @let tall = value(day) as f64 * high / most as f64;
                rect.bar x=(format!("{:.1}", at as f64 * step + step * 0.15)) width=(format!("{:.1}", step * 0.7))
                    y=(format!("{:.1}", high - tall)) height=(format!("{tall:.1}")) {
                    title { (day.date) ": " (size(value(day))) }
                }
            }
            text x="0" y="136" { (days.first().map_or("", |day| day.date.as_str())) }
            text x="600" y="136" text-anchor="end" { (t("today")) }
            text x="600" y="-5" text-anchor="end" { (size(most)) }
        }
    }
}
