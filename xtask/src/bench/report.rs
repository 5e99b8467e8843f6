//! Medians, ratios, tables.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

use super::bounds;
use super::measure::Cost;
use super::peers::REFERENCE;

/// All rows of one run of one tool: `first wall s` → 5.9.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Figures {
    rows: BTreeMap<String, f64>,
}

/// Rows in the order of the tables; the first ones are those that must be ahead.
pub const STEPS: [&str; 5] = ["first", "unchanged", "day two", "restore", "verify"];
pub const OURS: &str = "simsim";
/// Rows of the table of all corpora, and what they are called there.
const SUMMARY: [(&str, &str); 13] = [
    ("first wall s", "first, s"),
    ("unchanged wall s", "unchanged, s"),
    ("day two wall s", "day two, s"),
    ("restore wall s", "restore, s"),
    ("verify wall s", "full verify, s"),
    ("store MB", "store, MB"),
    ("growth MB", "growth on day two, MB"),
    ("client MiB", "client memory, MiB"),
    ("device MiB", "device memory, MiB"),
    ("wire ÷ stored", "wire ÷ stored bytes"),
    ("replicate wall s", "first replication, s"),
    ("replicate ÷ slower limit", "its rate ÷ the slower of disk and TLS"),
    ("replicate again wall s", "replication with nothing new, s"),
];

impl Figures {
    pub fn cost(&mut self, step: &str, cost: Cost) {
        self.value(&format!("{step} wall s"), cost.wall_s);
        self.value(&format!("{step} CPU s"), cost.client_cpu_s);
        self.value(&format!("{step} MiB"), cost.client_mib);
        for (what, value) in [
            ("device CPU s", cost.device_cpu_s),
            ("device MiB", cost.device_mib),
            ("wire MB", cost.wire_mb),
        ] {
            if let Some(value) = value {
                self.value(&format!("{step} {what}"), value);
            }
        }
    }

    pub fn value(&mut self, row: &str, value: f64) {
        self.rows.insert(row.to_owned(), value);
    }

    /// The most of any step, as a row of its own.
    pub fn most(&mut self, row: &str, what: &str) {
        let steps = STEPS.iter().filter_map(|step| self.rows.get(&format!("{step} {what}")));
        if let Some(most) = steps.copied().reduce(f64::max) {
            self.value(row, most);
        }
    }

    #[cfg(test)]
    pub fn get(&self, row: &str) -> Option<f64> {
        self.rows.get(row).copied()
    }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    place: String,
    versions: BTreeMap<String, String>,
    /// corpus → tool → runs.
    runs: BTreeMap<String, BTreeMap<String, Vec<Figures>>>,
}

impl Report {
    pub fn new(place: &Path) -> Self {
        Self {
            machine: machine(),
            place: file_system(place),
            versions: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }

    pub fn version(&mut self, tool: &str, version: &str) {
        self.versions.insert(tool.to_owned(), version.to_owned());
    }

    pub fn add(&mut self, corpus: &str, tool: &str, figures: Figures) {
        let tools = self.runs.entry(corpus.to_owned()).or_default();
        tools.entry(tool.to_owned()).or_default().push(figures);
    }

    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// One Markdown table a corpus.
    pub fn tables(&self) -> String {
        let mut text = format!("\n{}; everything on {}.\n\n", self.machine, self.place);
        for version in self.versions.values() {
            let _ = writeln!(text, "- {version}");
        }
        for (corpus, tools) in &self.runs {
            let mut names: Vec<&String> = tools.keys().collect();
            // Ours first, the one that does less last, peers between them.
            names.sort_by_key(|name| (!is_ours(name), *name == REFERENCE, name.as_str()));
            let _ = write!(text, "\n### {corpus}\n\n| |");
            for name in &names {
                let _ = write!(text, " {name} |");
            }
            let _ = writeln!(text, " to the best peer |\n|---|{}---|", "---:|".repeat(names.len()));
            for row in rows(tools) {
                let _ = write!(text, "| {row} |");
                for name in &names {
                    match median(&tools[*name], &row) {
                        Some(value) => {
                            let _ = write!(text, " {} |", shown(&row, value));
                        }
                        None => text.push_str(" - |"),
                    }
                }
                let ratio = ratio(tools, &row).map(|(ratio, peer)| format!("{ratio:.2}× ({peer})"));
                let _ = writeln!(text, " {} |", ratio.unwrap_or_else(|| "-".to_owned()));
            }
        }
        text
    }

    /// All corpora in one table: ours, the best peer of each row, and how they stand.
    pub fn summary(&self) -> String {
        let mut text = String::from("\n| |");
        for corpus in self.runs.keys() {
            let _ = write!(text, " {corpus} | best peer | ratio |");
        }
        let _ = writeln!(text, "\n|---|{}", "---:|---|---:|".repeat(self.runs.len()));
        for (row, title) in SUMMARY {
            let _ = write!(text, "| {title} |");
            for tools in self.runs.values() {
                let ours = tools.get(OURS).and_then(|runs| median(runs, row));
                let ours = ours.map_or_else(|| "-".to_owned(), |value| shown(row, value));
                let (peer, ratio) = match best_peer(tools, row) {
                    None => ("-".to_owned(), "-".to_owned()),
                    Some((value, name)) => (
                        format!("{} {}", name, number(value)),
                        ratio(tools, row).map_or("-".to_owned(), |(r, _)| format!("{r:.2}×")),
                    ),
                };
                let _ = write!(text, " {ours} | {peer} | {ratio} |");
            }
            text.push('\n');
        }
        text
    }

    /// The other interfaces beside HTTP, where more than one was measured.
    pub fn interfaces(&self) -> String {
        let mut text = String::new();
        for (corpus, tools) in &self.runs {
            for (name, runs) in tools.iter().filter(|(name, _)| is_ours(name) && *name != OURS) {
                let _ = write!(text, "\n- {corpus}, {name}, to HTTP:");
                for step in STEPS {
                    let row = format!("{step} wall s");
                    let http = tools.get(OURS).and_then(|http| median(http, &row));
                    if let (Some(own), Some(http)) = (median(runs, &row), http) {
                        let _ = write!(text, " {step} {:.2}×", own / http.max(0.001));
                    }
                }
            }
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    /// An error that names the rows in which a peer is ahead, and the bounds that are not held.
    pub fn verdict(&self) -> Result<()> {
        let mut behind = Vec::new();
        for (corpus, tools) in &self.runs {
            for row in rows(tools).iter().filter(|row| must_lead(row)) {
                if let Some((ratio, peer)) = ratio(tools, row).filter(|(ratio, _)| *ratio > 1.0) {
                    let level = is_level(tools, row, ratio);
                    let level = if level { " (level)" } else { "" };
                    behind.push(format!("{corpus}, {row}: {ratio:.2}× of {peer}{level}"));
                }
            }
            let http = tools.get(OURS).map(Vec::as_slice);
            for (tool, runs) in tools.iter().filter(|(tool, _)| is_ours(tool)) {
                behind.extend(bounds::broken(corpus, tool, runs, http));
            }
        }
        let rows = behind.join("\n  ");
        if behind.iter().any(|row| !row.ends_with(" (level)")) {
            bail!("behind the best peer, or beyond a bound:\n  {rows}");
        }
        if !behind.is_empty() {
            println!("\nlevel with the best peer:\n  {rows}");
        }
        Ok(())
    }
}

/// Wall times that differ as little as two runs of one program do, or that nobody waits for.
fn is_level(tools: &BTreeMap<String, Vec<Figures>>, row: &str, ratio: f64) -> bool {
    let ours = || tools.get(OURS).and_then(|runs| median(runs, row));
    row.ends_with("wall s")
        && (ratio <= bounds::TIE || ours().is_some_and(|ours| ours <= bounds::AT_ONCE_S))
}

/// Wall times and sizes are compared; CPU and memory are shown.
fn must_lead(row: &str) -> bool {
    row.ends_with("wall s") || row == "store MB" || row == "growth MB"
}

/// All rows that any tool has: wall times first, then sizes, then the rest by step.
fn rows(tools: &BTreeMap<String, Vec<Figures>>) -> Vec<String> {
    let mut rows: Vec<&String> =
        tools.values().flatten().flat_map(|figures| figures.rows.keys()).collect();
    let step = |row: &str| STEPS.iter().position(|step| row.starts_with(step)).unwrap_or(9);
    rows.sort_by_key(|row| (!row.ends_with("wall s"), !must_lead(row), step(row), row.as_str()));
    rows.dedup();
    rows.into_iter().cloned().collect()
}

pub fn median(runs: &[Figures], row: &str) -> Option<f64> {
    let mut values: Vec<f64> = runs.iter().filter_map(|run| run.rows.get(row).copied()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    Some(if values.len().is_multiple_of(2) {
        (values[middle] + values[middle + 1]) / 2.0
    } else {
        values[middle]
    })
}

/// simsim by any interface.
fn is_ours(name: &str) -> bool {
    name.starts_with(OURS)
}

/// Ours to the best peer's, and who that is.
fn ratio(tools: &BTreeMap<String, Vec<Figures>>, row: &str) -> Option<(f64, String)> {
    let ours = median(tools.get(OURS)?, row)?;
    let (best, name) = best_peer(tools, row)?;
    (best > 0.0).then(|| (ours / best, name.to_owned()))
}

fn best_peer<'a>(tools: &'a BTreeMap<String, Vec<Figures>>, row: &str) -> Option<(f64, &'a str)> {
    tools
        .iter()
        .filter(|(name, _)| !is_ours(name) && *name != REFERENCE)
        .filter_map(|(name, runs)| Some((median(runs, row)?, name.as_str())))
        .min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Ratios near 1 are told apart by their third digit.
fn shown(row: &str, value: f64) -> String {
    if row.contains('÷') { format!("{value:.3}") } else { number(value) }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The machine in words: no name of it.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    format!("{cores} cores, {}, {model}", std::env::consts::ARCH)
}

fn file_system(place: &Path) -> String {
    let name = match rustix::fs::statfs(place).map(|fs| fs.f_type) {
        Ok(0x0102_1994) => "tmpfs",
        Ok(0xEF53) => "ext4",
        Ok(0x5846_5342) => "xfs",
        Ok(0x9123_683E) => "btrfs",
        _ => "another file system",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ours: &[f64], theirs: &[f64]) -> Report {
        let mut report = Report::new(Path::new("/"));
        for (tool, walls) in [(OURS, ours), ("restic", theirs), (REFERENCE, &[0.001])] {
            for wall in walls {
                let mut figures = Figures::default();
                figures.cost("first", Cost { wall_s: *wall, client_mib: 50.0, ..Cost::default() });
                report.add("src", tool, figures);
            }
        }
        report
    }

    #[test]
    fn medians_and_ratios_are_right() {
        let report = report(&[1.0, 9.0, 2.0], &[4.0, 2.0]);
        let tools = &report.runs["src"];
        assert_eq!(median(&tools[OURS], "first wall s"), Some(2.0));
        assert_eq!(median(&tools["restic"], "first wall s"), Some(3.0));
        assert_eq!(ratio(tools, "first wall s"), Some((2.0 / 3.0, "restic".to_owned())));
        assert_eq!(median(&tools[OURS], "verify wall s"), None);
    }

    #[test]
    fn the_verdict_names_rows_behind_and_the_reference_is_no_peer() {
        assert!(report(&[1.0], &[2.0]).verdict().is_ok());
        let error = report(&[3.0], &[2.0]).verdict().unwrap_err().to_string();
        assert!(error.contains("src, first wall s: 1.50× of restic"), "{error}");
        assert!(report(&[2.39], &[2.0]).verdict().is_ok(), "level");
        assert!(report(&[2.41], &[2.0]).verdict().is_err());
        assert!(report(&[0.2], &[0.1]).verdict().is_ok(), "nobody waits for it");
        assert!(report(&[0.21], &[0.1]).verdict().is_err());
    }

    #[test]
    fn another_interface_is_no_peer_and_stands_beside_http() {
        let mut report = report(&[2.0], &[4.0]);
        let mut figures = Figures::default();
        figures.cost("first", Cost { wall_s: 1.0, ..Cost::default() });
        report.add("src", "simsim by https", figures);
        assert!(report.verdict().is_ok());
        assert!(report.summary().contains("restic 4.00"), "{}", report.summary());
        assert_eq!(report.interfaces(), "\n- src, simsim by https, to HTTP: first 0.50×\n");
    }

    #[test]
    fn the_table_of_all_corpora_names_the_best_peer() {
        let mut report = report(&[1.0], &[2.0]);
        let mut figures = Figures::default();
        for (step, mib) in [("first", 70.0), ("restore", 90.0), ("verify", 80.0)] {
            figures.cost(step, Cost { client_mib: mib, ..Cost::default() });
        }
        figures.most("client MiB", "MiB");
        figures.most("device MiB", "device MiB");
        report.add("vm", OURS, figures);
        let text = report.summary();
        assert!(text.contains("| | src | best peer | ratio | vm | best peer | ratio |"), "{text}");
        assert!(
            text.contains("| first, s | 1.00 | restic 2.00 | 0.50× | 0.00 | - | - |"),
            "{text}"
        );
        assert!(text.contains("| client memory, MiB | - | - | - | 90.0 | - | - |"), "{text}");
        assert!(text.contains("| device memory, MiB | - | - | - | - | - | - |"), "{text}");
    }

    #[test]
    fn tables_have_every_tool_and_row() {
        let text = report(&[1.0], &[2.0]).tables();
        assert!(text.contains("| | simsim | restic | tar+zstd | to the best peer |"), "{text}");
        assert!(text.contains("| first wall s | 1.00 | 2.00 | 0.00 | 0.50× (restic) |"), "{text}");
        assert!(text.find("first wall s").unwrap() < text.find("first MiB").unwrap());
        let json = report(&[1.0], &[2.0]).json().unwrap();
        assert!(json.contains("\"first wall s\": 1.0"), "{json}");
    }
}
