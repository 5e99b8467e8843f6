//! `simsim search`: files by name over all savesets; `history`: the versions of one file.

use std::ffi::OsString;

use simsim_server::api::{
    FileHistory, FoundVersion, HistoryReply, HistoryRequest, NotIndexed, SearchReply,
    SearchRequest, SearchState,
};

use super::context::Context;
use super::paths;
use super::screen::Screen;
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::words::{count, counted, size, when};
use crate::exit::{self, Failure};

#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SearchArguments {
    /// A part of a name; with * ? [ or { the whole name; with a / the same of the whole path
    #[arg(required = true)]
    pattern: Option<String>,
    /// Only savesets of this client
    #[arg(long)]
    client: Option<String>,
    /// Only savesets of this task
    #[arg(long)]
    task: Option<String>,
    /// Only versions that a saveset from then on has: 2026-11-27, or with a time, 2026-11-27T22:00
    #[arg(long, value_name = "DAY", value_parser = instant)]
    since: Option<i64>,
    /// Only versions that a saveset up to then has; of a day its end counts
    #[arg(long, value_name = "DAY", value_parser = end_instant)]
    until: Option<i64>,
    /// Only entries of this kind: file, directory, symlink, special
    #[arg(long)]
    kind: Option<String>,
    /// The letters A to Z in any case
    #[arg(long, short)]
    ignore_case: bool,
    /// At most so many
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100)]
    limit: u32,
    /// The next page: what the answer before ended with
    #[arg(long, value_name = "MARK")]
    after: Option<String>,
    #[command(subcommand)]
    verb: Option<SearchVerb>,
}

#[derive(clap::Subcommand, Debug)]
pub enum SearchVerb {
    /// Make the search index anew, from the savesets, in the background
    Rebuild,
}

#[derive(clap::Args, Debug)]
pub struct HistoryArguments {
    /// The client or the task
    #[arg(value_name = "CLIENT|TASK")]
    of: String,
    /// The file or folder, written as listings print it
    path: OsString,
}

pub async fn search(cx: &Context, arguments: SearchArguments) -> Result<u8, Failure> {
    if let Some(SearchVerb::Rebuild) = arguments.verb {
        let state: SearchState = cx.ask_plain("search.rebuild").await?;
        cx.show(&state, |screen, _| {
            screen.line("the search index is made anew; 'simsim status' says how far it is")
        })?;
        return Ok(exit::DONE);
    }
    let mut request = SearchRequest {
        pattern: arguments.pattern.unwrap_or_default(),
        ignore_case: arguments.ignore_case,
        client: arguments.client,
        task: arguments.task,
        since_unix_ms: arguments.since,
        until_unix_ms: arguments.until,
        kind: arguments.kind,
        after: arguments.after,
        limit: 0,
    };
    let mut all: Option<SearchReply> = None;
    let limit = arguments.limit.max(1) as usize;
    loop {
        let got = all.as_ref().map_or(0, |all| all.found.len());
        request.limit = (limit - got).min(1000) as u32;
        let reply: SearchReply = cx.ask("search", &request).await?;
        request.after.clone_from(&reply.next);
        match &mut all {
            None => all = Some(reply),
            Some(all) => {
                all.found.extend(reply.found);
                all.next = reply.next;
            }
        }
        // A page may end before its limit.
        if request.after.is_none() || all.as_ref().is_some_and(|all| all.found.len() >= limit) {
            break;
        }
    }
    if let Some(reply) = &all {
        cx.show(reply, found_text)?;
    }
    Ok(exit::DONE)
}

pub async fn history(cx: &Context, arguments: HistoryArguments) -> Result<u8, Failure> {
    let request = HistoryRequest { of: arguments.of, path: paths::in_saveset(&arguments.path) };
    let reply: HistoryReply = cx.ask("search.history", &request).await?;
    cx.show(&reply, |screen, reply| {
        if reply.histories.is_empty() {
            screen.aside(format!("{} is in no saveset that was searched", reply.path));
        }
        for history in &reply.histories {
            history_text(screen, history)?;
        }
        not_searched(screen, &reply.not_indexed, &reply.not_searchable);
        Ok(())
    })?;
    Ok(exit::DONE)
}

fn found_text(screen: &Screen, reply: &SearchReply) -> Result<(), Failure> {
    if reply.found.is_empty() {
        screen.aside("nothing found");
    } else {
        let mut table = Table::new([
            Column::new("PATH"),
            Column::new("SIZE").right().rank(1),
            Column::new("CHANGED").rank(3),
            Column::new("CLIENT").rank(2),
            Column::new("TASK").cut_to(12),
            Column::new("SAVESETS").right().rank(4),
            Column::new("NEWEST"),
            Column::new("OF").rank(1),
        ]);
        for found in &reply.found {
            table.row(found_row(found));
        }
        screen.table(&table)?;
    }
    if let Some(next) = &reply.next {
        screen.aside(Text::new().dim(format!("there are more: --after {next}")));
    }
    not_searched(screen, &reply.not_indexed, &reply.not_searchable);
    Ok(())
}

fn found_row(found: &FoundVersion) -> [Text; 8] {
    let name = match found.kind.as_str() {
        "directory" => Text::new().bold(format!("{}/", found.path)),
        "file" => Text::from(found.path.as_str()),
        _ => Text::styled(Style::Busy, &found.path),
    };
    let bytes = if found.kind == "file" { size(found.bytes) } else { String::new() };
    [
        name,
        bytes.into(),
        when(found.mtime_unix_s.saturating_mul(1000)).into(),
        found.client.as_str().into(),
        found.task.as_str().into(),
        count(found.savesets.into()).into(),
        found.last_saveset.short().into(),
        when(found.last_unix_ms).into(),
    ]
}

fn history_text(screen: &Screen, history: &FileHistory) -> Result<(), Failure> {
    screen.line(Text::new().bold(&history.task).plain(format!(" of {}", history.client)))?;
    let mut table = Table::new([
        Column::new("FROM"),
        Column::new("TO").rank(2),
        Column::new("SAVESETS").right().rank(3),
        Column::new("SIZE").right(),
        Column::new("CHANGED").rank(1),
        Column::new("SAVESET"),
    ]);
    for version in &history.versions {
        let what = match (version.present, version.kind.as_deref(), version.bytes) {
            (false, ..) => Text::styled(Style::Warn, "not there"),
            (true, Some("file"), Some(bytes)) => size(bytes).into(),
            (true, kind, _) => kind.unwrap_or_default().into(),
        };
        let changed = version.mtime_unix_s.map(|time| when(time.saturating_mul(1000)));
        table.row([
            when(version.first_unix_ms).into(),
            when(version.last_unix_ms).into(),
            count(version.savesets.into()).into(),
            what,
            changed.unwrap_or_default().into(),
            Text::new().dim(version.last_saveset.short()),
        ]);
    }
    screen.table(&table)
}

fn not_searched(screen: &Screen, not_indexed: &[NotIndexed], sentences: &[String]) {
    for sentence in sentences {
        screen.aside(Text::styled(Style::Warn, sentence));
    }
    if let Some(first) = not_indexed.first() {
        let number = counted(not_indexed.len() as u64, "saveset");
        let first = format!("{} of task '{}': {}", first.saveset.short(), first.task, first.why);
        screen.aside(Text::styled(Style::Warn, format!("not searched: {number}, such as {first}")));
    }
}

/// The line of `simsim status`.
pub fn state_text(state: &SearchState) -> Text {
    let there = format!("{} searchable", counted(state.savesets, "saveset"));
    match (&state.trouble, state.waiting) {
        (Some(trouble), _) => Text::styled(Style::Warn, format!("{there}; {trouble}")),
        (None, 0) => there.into(),
        (None, waiting) => Text::styled(Style::Busy, format!("{there}, {waiting} to come")),
    }
}

/// A day or a time of this host.
fn instant(text: &str) -> Result<i64, String> {
    parse(text).map(|(ms, _)| ms)
}

fn end_instant(text: &str) -> Result<i64, String> {
    parse(text).map(|(begin, end)| end.unwrap_or(begin))
}

/// The instant, and of a day its last millisecond.
fn parse(text: &str) -> Result<(i64, Option<i64>), String> {
    let wrong = || format!("'{text}' is no day (2026-11-27) and no time (2026-11-27T22:00)");
    let zone = jiff::tz::TimeZone::system();
    let ms = |at: jiff::civil::DateTime| {
        at.to_zoned(zone.clone()).map(|at| at.timestamp().as_millisecond()).map_err(|_| wrong())
    };
    if let Ok(day) = text.parse::<jiff::civil::Date>()
        && !text.contains('T')
    {
        let next = day.tomorrow().map_err(|_| wrong())?;
        return Ok((ms(day.at(0, 0, 0, 0))?, Some(ms(next.at(0, 0, 0, 0))? - 1)));
    }
    let at = text.parse::<jiff::civil::DateTime>().map_err(|_| wrong())?;
    Ok((ms(at)?, None))
}
