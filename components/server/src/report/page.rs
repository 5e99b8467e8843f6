//! A report as HTML: one page without anything from elsewhere, for mail and browsers.

use std::fmt::Write;

use super::words::{kind_row, sections, when};
use crate::api::Report;

const STYLE: &str = "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:60em;padding:0 1em}\
    table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}\
    td:first-child,th:first-child{text-align:left}.bad{color:#a00}.good{color:#070}";

/// `beside`: lines that go out with it.
pub(crate) fn page(report: &Report, beside: &[String]) -> String {
    let mut page = String::new();
    let class = if report.good { "good" } else { "bad" };
    let server = escaped(&report.server);
    let _ = write!(
        page,
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>simsim on {server}</title><style>{STYLE}</style></head>\
         <body><h1>Report of the simsim server {server}</h1><p>{} to {}</p><h2 class={class}>{}</h2>",
        when(report.from_unix_ms),
        when(report.until_unix_ms),
        escaped(&report.headline)
    );
    list(&mut page, beside);
    if !report.kinds.is_empty() {
        page.push_str("<h2>What ran</h2><table><tr>");
        for head in ["", "finished", "errors", "failed", "other", "read", "new"] {
            let _ = write!(page, "<th>{head}</th>");
        }
        page.push_str("</tr>");
        for kind in &report.kinds {
            page.push_str("<tr>");
            for cell in kind_row(kind) {
                let _ = write!(page, "<td>{}</td>", escaped(&cell));
            }
            page.push_str("</tr>");
        }
        page.push_str("</table>");
    }
    for section in sections(report) {
        let _ = write!(page, "<h2>{}</h2>", escaped(&section.title));
        list(&mut page, &section.lines);
    }
    page.push_str("</body></html>\n");
    page
}

fn list(page: &mut String, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    page.push_str("<ul>\n");
    for line in lines {
        let _ = writeln!(page, "<li>{}</li>", escaped(line));
    }
    page.push_str("</ul>");
}

/// Names of tasks and words of hosts are no markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use simsim_model::Outcome;

    use super::super::words::{bytes, words};
    use super::*;
    use crate::api::{ReportJob, ReportKind, ReportTask};

    fn report() -> Report {
        Report {
            server: "vault".to_owned(),
            from_unix_ms: 0,
            until_unix_ms: 86_400_000,
            made_unix_ms: 86_400_001,
            headline: "1 job failed".to_owned(),
            good: false,
            kinds: vec![ReportKind {
                kind: "backup".to_owned(),
                finished: 3,
                failed: 1,
                bytes: 5 << 30,
                ..ReportKind::default()
            }],
            bad: vec![ReportJob {
                job: 9,
                kind: "backup".to_owned(),
                task: "<script>alert('x')</script>".to_owned(),
                client: "web".to_owned(),
                outcome: Outcome::Failed,
                ended_unix_ms: 60_000,
                problems: 0,
                why: Some("no \"room\" & more".to_owned()),
            }],
            bad_total: 60,
            late: Vec::new(),
            late_total: 0,
            tasks: 2,
            tasks_green: 1,
            not_green: vec![ReportTask {
                task: "mail".to_owned(),
                client: "web".to_owned(),
                overdue: true,
                words: "no good backup".to_owned(),
            }],
            untested: Vec::new(),
            untested_total: 0,
            datastores: Vec::new(),
            expires: Vec::new(),
            frozen: None,
            approvals: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn text_and_page_say_the_same_and_no_name_becomes_markup() {
        let (text, page) = (words(&report()), page(&report(), &["beside <it>".to_owned()]));
        for line in [
            "1970-01-01 00:00 UTC to 1970-01-02 00:00 UTC",
            "Not well (60)",
            "and 59 more",
            "Not green (1)",
            "'mail' on 'web' (overdue): no good backup",
            "5.0 GiB",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
            assert!(page.replace("&#39;", "'").contains(line), "{line}\n{page}");
        }
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{page}");
        assert!(
            page.contains("<li>beside &lt;it&gt;</li>") && page.contains("&amp; more"),
            "{page}"
        );
        assert!(!text.contains("Capacity"), "an empty list is left out: {text}");
    }

    #[test]
    fn sizes_are_in_the_unit_that_fits() {
        let sizes = [0, 1023, 1024, 1536, 5 << 30, u64::MAX];
        let words = sizes.map(bytes);
        assert_eq!(words, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB", "15.9 EiB"]);
    }
}
