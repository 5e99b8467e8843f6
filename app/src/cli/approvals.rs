//! `simsim approval list | show | approve | reject`: acts that need a second person.

use simsim_server::api::{ApprovalListRequest, ApprovalRequest, ApprovalView, ApprovalWordRequest};

use super::context::Context;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{when, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum ApprovalVerb {
    /// List what waits for a second person
    List {
        /// Also what was decided or has expired
        #[arg(long)]
        all: bool,
    },
    /// Show exactly what was asked for
    Show {
        /// Its number
        number: u64,
    },
    /// Approve what somebody else asked for: it is done at once
    Approve(WordArguments),
    /// Reject it; whoever asked for it may do so too
    Reject(WordArguments),
}

#[derive(clap::Args, Debug)]
pub struct WordArguments {
    /// Its number
    number: u64,
    /// The digest that 'simsim approval show' printed, or its beginning of at least 8 digits: nothing else
    /// is approved then
    #[arg(long, value_name = "DIGITS")]
    digest: Option<String>,
    /// What others are to read
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

pub async fn run(cx: &Context, verb: ApprovalVerb) -> Result<u8, Failure> {
    match verb {
        ApprovalVerb::List { all } => {
            let views: Vec<ApprovalView> =
                cx.ask("approval.list", &ApprovalListRequest { all }).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    screen.aside("nothing waits for a second person");
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        ApprovalVerb::Show { number } => {
            let view: ApprovalView =
                cx.ask("approval.show", &ApprovalRequest { approval: number }).await?;
            cx.show(&view, detail)?;
        }
        ApprovalVerb::Approve(word) => return given(cx, "approval.approve", word).await,
        ApprovalVerb::Reject(word) => return given(cx, "approval.reject", word).await,
    }
    Ok(exit::DONE)
}

async fn given(cx: &Context, verb: &str, word: WordArguments) -> Result<u8, Failure> {
    let WordArguments { number, digest, note } = word;
    let request = ApprovalWordRequest { approval: number, digest, note };
    let view: ApprovalView = cx.ask(verb, &request).await?;
    cx.show(&view, detail)?;
    Ok(exit::DONE)
}

/// An act was not done, but waits.
pub fn asked(screen: &Screen, approval: &ApprovalView) -> Result<(), Failure> {
    screen.line(
        Text::styled(Style::Warn, "waits for a second person")
            .plain(format!(", as approval {}:", approval.approval)),
    )?;
    screen.line(format!("  {}", approval.about))?;
    screen.aside(Text::new().dim("  → ").plain(format!(
        "until {}, somebody else with the right 'approve': simsim approval approve {}",
        when(approval.expires_unix_ms),
        approval.approval
    )));
    Ok(())
}

fn state(view: &ApprovalView) -> Text {
    match view.state.as_str() {
        "open" => Text::styled(Style::Busy, "open"),
        "approved" => Text::styled(Style::Good, "approved"),
        other => Text::styled(Style::Dim, other),
    }
}

fn table(views: &[ApprovalView]) -> Table {
    let mut table = Table::new([
        Column::new("NUMBER").right(),
        Column::new("WHAT").cut_to(24),
        Column::new("ASKED BY").cut_to(8),
        Column::new("UNTIL").rank(1),
        Column::new("STATE"),
    ]);
    for view in views {
        table.row([
            Text::new().bold(view.approval.to_string()),
            view.about.as_str().into(),
            view.asked_by.as_str().into(),
            when(view.expires_unix_ms).into(),
            state(view),
        ]);
    }
    table
}

fn detail(screen: &Screen, view: &ApprovalView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Approval ").bold(view.approval.to_string()))?;
    let decided = match (&view.decided_by, view.decided_unix_ms) {
        (Some(by), Some(at)) => format!("by {by}, {}", when_exactly(at)),
        _ => String::new(),
    };
    screen.lines(facts(&[
        ("what", view.about.as_str().into()),
        ("exactly", view.act.to_string().into()),
        ("digest", view.digest.as_str().into()),
        ("asked", format!("by {}, {}", view.asked_by, when_exactly(view.asked_unix_ms)).into()),
        ("until", when_exactly(view.expires_unix_ms).into()),
        ("state", state(view)),
        ("decided", decided.into()),
        ("note", view.note.as_str().into()),
    ]))
}
