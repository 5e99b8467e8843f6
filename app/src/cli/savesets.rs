//! `simsim savesets`: which savesets there are; `saveset`: all about one. How long it lives: `lives`.

use simsim_model::Level;
use simsim_server::api::{SavesetDetail, SavesetListRequest, SavesetRequest, SavesetView};

use super::context::Context;
use super::lives::{self, LifeVerb};
use super::reference;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{count, counted, outcome, size, when, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Args, Debug)]
pub struct ListArguments {
    /// Only savesets of this task; of a backup without a task, the paths stand for its name
    #[arg(long)]
    task: Option<String>,
    /// Only savesets of this client
    #[arg(long)]
    client: Option<String>,
    /// Only savesets in this datastore
    #[arg(long)]
    datastore: Option<String>,
    /// Also those whose manifest is gone
    #[arg(long)]
    missing: bool,
    /// Also those that were deleted, or are to be
    #[arg(long)]
    deleted: bool,
    /// At most so many, the newest
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100)]
    limit: u32,
}

#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SavesetArguments {
    #[arg(help = reference::HELP, required = true)]
    saveset: Option<String>,
    #[command(subcommand)]
    verb: Option<LifeVerb>,
}

pub async fn list(cx: &Context, arguments: ListArguments) -> Result<u8, Failure> {
    let limit = arguments.limit.max(1);
    let request = SavesetListRequest {
        client: arguments.client,
        task: arguments.task,
        datastore: arguments.datastore,
        missing_too: arguments.missing,
        deleted_too: arguments.deleted,
        limit,
    };
    let savesets: Vec<SavesetView> = cx.ask("saveset.list", &request).await?;
    cx.show(&savesets, |screen, savesets| {
        if savesets.is_empty() {
            screen.aside("no savesets; make one: simsim backup PATH");
            return Ok(());
        }
        screen.table(&full(savesets))?;
        if savesets.len() == limit as usize {
            screen.aside(Text::new().dim(format!("the newest {limit}; more: -n NUMBER")));
        }
        Ok(())
    })?;
    Ok(exit::DONE)
}

/// `simsim saveset`: all about one, or one of the verbs on its life.
pub async fn saveset(cx: &Context, arguments: SavesetArguments) -> Result<u8, Failure> {
    match (arguments.verb, arguments.saveset) {
        (Some(verb), _) => lives::run(cx, verb).await,
        (None, saveset) => show(cx, &saveset.unwrap_or_default()).await,
    }
}

async fn show(cx: &Context, named: &str) -> Result<u8, Failure> {
    let saveset = reference::resolve(cx, named).await?.saveset.to_string();
    let detail: SavesetDetail = cx.ask("saveset.show", &SavesetRequest { saveset }).await?;
    cx.show(&detail, detail_text)?;
    Ok(exit::DONE)
}

fn detail_text(screen: &Screen, detail: &SavesetDetail) -> Result<(), Failure> {
    let saveset = &detail.saveset;
    screen.line(Text::new().bold("Saveset ").bold(saveset.saveset.to_string()))?;
    let lock = match saveset.lock_until_unix_s {
        0 => Text::new(),
        until => Text::from(when(i64::try_from(until).unwrap_or(i64::MAX).saturating_mul(1000))),
    };
    let owed = saveset.lock_owed_to.join(", ");
    let copies: Vec<&str> = saveset.copies.iter().map(|copy| copy.datastore.as_str()).collect();
    let base = saveset.base.map_or_else(Text::new, |base| base.to_string().into());
    screen.lines(facts(&[
        ("task", task_name(saveset)),
        ("client", saveset.client.as_str().into()),
        ("datastore", saveset.datastore.as_str().into()),
        ("copies in", copies.join(", ").into()),
        ("level", saveset.level.as_str().into()),
        ("compared with", base),
        ("outcome", state_of(saveset)),
        ("begun", when_exactly(saveset.scan_started_unix_ms).into()),
        ("committed", when_exactly(saveset.committed_unix_ms).into()),
        ("locked until", lock),
        ("not told yet to", owed.into()),
        (
            "content",
            format!(
                "{} in {}, {}",
                counted(saveset.files, "file"),
                counted(saveset.dirs, "folder"),
                size(saveset.bytes)
            )
            .into(),
        ),
        (
            "new",
            format!("{}, stored in {}", size(saveset.bytes_new), size(saveset.bytes_stored)).into(),
        ),
        (
            "problems",
            if saveset.problems == 0 { Text::new() } else { count(saveset.problems).into() },
        ),
    ]))?;
    if detail.results.is_empty() {
        return Ok(());
    }
    screen.line("")?;
    let mut table = Table::new([
        Column::new("  JOB").right(),
        Column::new("WHAT"),
        Column::new("ENDED"),
        Column::new("OUTCOME"),
        Column::new("PROBLEMS").right(),
    ]);
    for result in &detail.results {
        table.row([
            Text::from(result.job.to_string()),
            result.kind.as_str().into(),
            when(result.ended_unix_ms).into(),
            outcome(result.outcome),
            if result.problems == 0 { Text::new() } else { count(result.problems).into() },
        ]);
    }
    screen.table(&table)
}

/// The table of `simsim savesets`.
fn full(savesets: &[SavesetView]) -> Table {
    let mut table = Table::new([
        Column::new("SAVESET"),
        Column::new("TASK").cut_to(8),
        Column::new("CLIENT").cut_to(6).rank(3),
        Column::new("LEVEL").rank(4),
        Column::new("SAVED"),
        Column::new("FILES").right().rank(5),
        Column::new("SIZE").right(),
        Column::new("STORED").right().rank(6),
        Column::new("DATASTORE").cut_to(6).rank(7),
        Column::new("OUTCOME").rank(1),
    ]);
    for saveset in savesets {
        table.row([
            Text::new().bold(saveset.saveset.short()),
            task_name(saveset),
            saveset.client.as_str().into(),
            level(saveset.level),
            when(saveset.committed_unix_ms).into(),
            count(saveset.files).into(),
            size(saveset.bytes).into(),
            size(saveset.bytes_stored).into(),
            datastores(saveset).into(),
            state_of(saveset),
        ]);
    }
    table
}

/// Where it lies; of one that was deleted everywhere, where it was made.
fn datastores(saveset: &SavesetView) -> String {
    let lies_in = saveset.lies_in();
    if lies_in.is_empty() { saveset.datastore.clone() } else { lies_in.join(", ") }
}

/// A few savesets, to choose from.
pub fn brief(savesets: &[SavesetView]) -> Table {
    let mut table = Table::new([
        Column::new("SAVESET"),
        Column::new("TASK").cut_to(8),
        Column::new("CLIENT").cut_to(6).rank(1),
        Column::new("SAVED"),
        Column::new("SIZE").right().rank(2),
    ]);
    for saveset in savesets {
        table.row([
            Text::from(saveset.saveset.to_string().chars().take(12).collect::<String>()),
            task_name(saveset),
            saveset.client.as_str().into(),
            when(saveset.committed_unix_ms).into(),
            size(saveset.bytes).into(),
        ]);
    }
    table
}

fn task_name(saveset: &SavesetView) -> Text {
    if saveset.task.is_empty() { Text::new().dim("(sealed)") } else { saveset.task.as_str().into() }
}

pub fn level(level: Level) -> Text {
    level.as_str().into()
}

fn state_of(saveset: &SavesetView) -> Text {
    match saveset.state.as_str() {
        // It was moved: what is there restores.
        "deleting" | "deleted" if !saveset.copies.is_empty() => outcome(saveset.outcome),
        "missing" => Text::styled(Style::Bad, "its manifest is missing"),
        "deleting" => Text::styled(Style::Warn, "being deleted"),
        "deleted" => Text::styled(Style::Dim, "deleted"),
        _ => outcome(saveset.outcome),
    }
}
