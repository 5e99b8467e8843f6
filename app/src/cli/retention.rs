//! `simsim retention simulate | run | confirm-clock`: what expires, and deleting it.

use simsim_server::api::{
    ClockView, RetentionRunReply, RetentionRunRequest, SimulateRequest, SimulationView,
};

use super::context::Context;
use super::screen::Screen;
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::words::{counted, size, when, when_exactly};
use crate::exit::{self, Failure};

/// Behind what savesets added.
const NOT_WHAT_IS_FREED: &str = "what a collection frees then is another number: what other savesets need stays, and what \
                                 deleted ones left to these alone goes too";

#[derive(clap::Subcommand, Debug)]
pub enum RetentionVerb {
    /// Show what another policy of a pool would let expire; nothing is changed
    Simulate {
        /// The pool
        pool: String,
        /// The policy to try, such as 'last 7, daily 14'
        #[arg(long, value_name = "POLICY")]
        policy: String,
    },
    /// Delete what is expired, in all datastores; 'simsim datastore collect' frees the room then
    Run {
        /// Only show what is expired
        #[arg(long)]
        dry_run: bool,
        /// Also where that is more than half of all savesets
        #[arg(long)]
        over_budget: bool,
    },
    /// Confirm that the server's clock is right, after it was in doubt
    ConfirmClock,
}

pub async fn run(cx: &Context, verb: RetentionVerb) -> Result<u8, Failure> {
    match verb {
        RetentionVerb::Simulate { pool, policy } => {
            let request = SimulateRequest { pool, policy };
            let view: SimulationView = cx.ask("retention.simulate", &request).await?;
            cx.show(&view, simulated)?;
        }
        RetentionVerb::Run { dry_run, over_budget } => {
            let request = RetentionRunRequest { dry_run, over_budget };
            let reply: RetentionRunReply = cx.ask("retention.run", &request).await?;
            cx.show(&reply, ran)?;
        }
        RetentionVerb::ConfirmClock => {
            let view: ClockView = cx.ask_plain("retention.confirm-clock").await?;
            cx.show(&view, |screen, view| match &view.doubt {
                None => screen.line(format!(
                    "the server's clock says {}, and is believed",
                    when_exactly(view.now_unix_ms)
                )),
                Some(doubt) => screen.line(Text::styled(Style::Bad, doubt.as_str())),
            })?;
        }
    }
    Ok(exit::DONE)
}

fn frozen(screen: &Screen, frozen: Option<&String>) -> Result<(), Failure> {
    match frozen {
        Some(doubt) => screen.line(Text::styled(Style::Warn, "nothing expires: ").plain(doubt)),
        None => Ok(()),
    }
}

fn simulated(screen: &Screen, view: &SimulationView) -> Result<(), Failure> {
    frozen(screen, view.frozen.as_ref())?;
    let count = view.expires.len() as u64;
    screen.line(format!(
        "with '{}' pool '{}' would let {} expire, which added {} when they were made",
        view.policy,
        view.pool,
        counted(count, "saveset"),
        size(view.bytes)
    ))?;
    let mut table = Table::new([
        Column::new("SAVESET"),
        Column::new("TASK").cut_to(12),
        Column::new("SAVED"),
        Column::new("DATASTORE").cut_to(6).rank(1),
        Column::new("ADDED").right(),
    ]);
    for loss in &view.expires {
        table.row([
            Text::new().bold(loss.saveset.short()),
            loss.task.as_str().into(),
            when(loss.stamped_unix_ms).into(),
            loss.datastore.as_str().into(),
            size(loss.bytes).into(),
        ]);
    }
    if count > 0 {
        screen.table(&table)?;
    }
    if count > 0 {
        screen.aside(NOT_WHAT_IS_FREED);
    }
    if !view.kept_again.is_empty() {
        let again = view.kept_again.len() as u64;
        screen.line(format!("{}, expired now, would be kept", counted(again, "saveset")))?;
    }
    if !view.emptied.is_empty() {
        screen.line(
            Text::styled(Style::Bad, "without any restorable saveset: ")
                .plain(view.emptied.join(", ")),
        )?;
        screen.aside("such a policy takes a second person");
    }
    Ok(())
}

fn ran(screen: &Screen, reply: &RetentionRunReply) -> Result<(), Failure> {
    frozen(screen, reply.frozen.as_ref())?;
    let mut table = Table::new([
        Column::new("SAVESET"),
        Column::new("TASK").cut_to(12),
        Column::new("POOL").cut_to(6).rank(2),
        Column::new("SAVED"),
        Column::new("EXPIRED").rank(1),
        Column::new("DATASTORE").cut_to(6).rank(3),
        Column::new("ADDED").right(),
    ]);
    for one in &reply.expired {
        table.row([
            Text::new().bold(one.saveset.short()),
            one.task.as_str().into(),
            one.pool.as_str().into(),
            when(one.stamped_unix_ms).into(),
            when(one.since_unix_ms).into(),
            one.datastore.as_str().into(),
            size(one.bytes).into(),
        ]);
    }
    if !reply.expired.is_empty() {
        screen.table(&table)?;
    }
    let expired = counted(reply.expired.len() as u64, "saveset");
    if reply.dry_run {
        screen.line(format!(
            "{expired} of {} expired, which added {} when they were made; nothing was deleted",
            reply.judged,
            size(reply.bytes)
        ))?;
        if !reply.expired.is_empty() {
            screen.aside(NOT_WHAT_IS_FREED);
        }
        return Ok(());
    }
    screen.line(format!(
        "{expired} of {} expired; {} deleted, {} waiting for jobs that use them, {} taken back",
        reply.judged, reply.deleted, reply.waiting, reply.taken_back
    ))?;
    for trouble in &reply.trouble {
        screen.aside(Text::styled(Style::Warn, "not yet: ").plain(trouble));
    }
    if reply.deleted > 0 {
        screen.aside("to free what only they needed: simsim datastore collect");
    }
    Ok(())
}
