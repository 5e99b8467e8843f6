//! The text that collectors read: the format of Prometheus, version 0.0.4, or OpenMetrics 1.0, whichever is asked for.

use std::collections::HashMap;
use std::fmt::Write;

use super::families::{ALL, Family, Type};

/// Figures on their way to the text.
#[derive(Default)]
pub(super) struct Book {
    figures: HashMap<&'static str, Vec<(Vec<String>, f64)>>,
}

impl Book {
    /// One figure. Values are those of the family's labels, in their order.
    pub(super) fn add(&mut self, family: &'static Family, values: &[&str], figure: f64) {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.figures.entry(family.name).or_default().push((values, figure));
    }

    pub(super) fn flag(&mut self, family: &'static Family, values: &[&str], holds: bool) {
        self.add(family, values, f64::from(u8::from(holds)));
    }

    #[allow(clippy::cast_precision_loss, reason = "the format knows only such figures")]
    pub(super) fn count(&mut self, family: &'static Family, values: &[&str], count: u64) {
        self.add(family, values, count as f64);
    }

    /// How long ago; what never was is older than everything.
    pub(super) fn age(
        &mut self,
        family: &'static Family,
        values: &[&str],
        at_unix_ms: Option<i64>,
        now_unix_ms: i64,
    ) {
        let age = at_unix_ms.map_or(f64::INFINITY, |at| seconds(now_unix_ms.saturating_sub(at)));
        self.add(family, values, age);
    }

    /// All of it, in the order of the list of metrics.
    pub(super) fn text(&self, open_metrics: bool) -> String {
        let mut text = String::new();
        for family in ALL {
            let Some(figures) = self.figures.get(family.name) else { continue };
            let sample = family.sample_name();
            // OpenMetrics names the family, Prometheus the sample.
            let (name, kind) = match (open_metrics, family.kind) {
                (_, Type::Gauge) => (family.name, "gauge"),
                (true, Type::Counter) => (family.name, "counter"),
                (true, Type::Info) => (family.name, "info"),
                (false, Type::Counter) => (sample.as_str(), "counter"),
                (false, Type::Info) => (sample.as_str(), "gauge"),
            };
            let _ = writeln!(text, "# HELP {name} {}", escaped(family.help, open_metrics));
            let _ = writeln!(text, "# TYPE {name} {kind}");
            if let Some(unit) = family.unit().filter(|_| open_metrics) {
                let _ = writeln!(text, "# UNIT {name} {unit}");
            }
            for (values, figure) in figures {
                text.push_str(&sample);
                let pairs = family.labels.iter().zip(values);
                let pairs: Vec<String> = pairs
                    .map(|(label, value)| format!("{label}=\"{}\"", escaped(value, true)))
                    .collect();
                if !pairs.is_empty() {
                    let _ = write!(text, "{{{}}}", pairs.join(","));
                }
                let _ = writeln!(text, " {}", written(*figure));
            }
        }
        if open_metrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

/// Milliseconds as seconds.
#[allow(clippy::cast_precision_loss, reason = "the format knows only such figures")]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

fn written(figure: f64) -> String {
    if figure.is_infinite() {
        return if figure > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{figure}")
}

#[cfg(test)]
mod tests {
    use super::super::families;
    use super::*;

    #[test]
    fn both_forms_say_the_same_and_no_label_breaks_a_line() {
        let mut book = Book::default();
        book.add(&families::BUILD, &["1.2"], 1.0);
        book.count(&families::JOBS_ENDED, &["backup", "failed"], 7);
        book.count(&families::JOBS_READ, &["backup"], 1 << 40);
        book.flag(&families::TASK_GREEN, &["a \"b\"\n\\c", "web"], true);
        book.age(&families::SELF_BACKUP_AGE, &[], None, 5);
        book.age(&families::QUEUE_OLDEST, &[], Some(1_000), 2_500);
        let text = book.text(false);
        for line in [
            "# TYPE simsim_build_info gauge",
            "simsim_build_info{version=\"1.2\"} 1",
            "# TYPE simsim_jobs_ended_total counter",
            "simsim_jobs_ended_total{kind=\"backup\",outcome=\"failed\"} 7",
            "simsim_jobs_read_bytes_total{kind=\"backup\"} 1099511627776",
            "simsim_task_green{task=\"a \\\"b\\\"\\n\\\\c\",client=\"web\"} 1",
            "simsim_self_backup_age_seconds +Inf",
            "simsim_queue_oldest_seconds 1.5",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        let open = book.text(true);
        for line in [
            "# TYPE simsim_build info",
            "simsim_build_info{version=\"1.2\"} 1",
            "# TYPE simsim_jobs_ended counter",
            "simsim_jobs_ended_total{kind=\"backup\",outcome=\"failed\"} 7",
            "# UNIT simsim_queue_oldest_seconds seconds",
        ] {
            assert!(open.lines().any(|one| one == line), "{line}\n{open}");
        }
        assert!(open.ends_with("# EOF\n"), "{open}");
    }

    /// Every figure has a row in `docs/reference/metrics.md`, and no row is of anything else.
    #[test]
    fn the_page_lists_each_metric_as_it_is() {
        let page = include_str!("../../../../docs/reference/metrics.md");
        let mut rows: Vec<String> = Vec::new();
        for family in ALL {
            let labels: Vec<String> =
                family.labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = if family.kind == Type::Counter { "counter" } else { "gauge" };
            let (sample, labels) = (family.sample_name(), labels.join(" "));
            rows.push(format!("| `{sample}` | {kind} | {labels} | {} |", family.help));
        }
        let there: Vec<&str> = page.lines().filter(|line| line.starts_with("| `simsim_")).collect();
        assert_eq!(there, rows, "the rows that the page should have:\n{}", rows.join("\n"));
        let names: std::collections::HashSet<_> = ALL.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name stands twice");
    }
}
