//! `simsim queue`: what waits and why; pausing all, limits of jobs at once.

use simsim_server::api::{PauseRequest, QueueLimitRequest, QueueView};

use super::context::Context;
use super::screen::Screen;
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::words::{counted, when};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum QueueVerb {
    /// Show what waits, in the order in which it starts, and why
    Show,
    /// Let nothing start until the queue is resumed; what runs goes on
    Pause {
        /// Why, for whoever looks
        #[arg(default_value = "")]
        why: String,
    },
    /// Let jobs start again
    Resume,
    /// Limit how many jobs run at once
    Limit {
        /// So many; 'none': as many as the drives take
        jobs: String,
        /// On this client
        #[arg(long)]
        client: Option<String>,
        /// On all drives of this group together
        #[arg(long, value_name = "GROUP", conflicts_with = "client")]
        drive_group: Option<String>,
    },
}

pub async fn run(cx: &Context, verb: Option<QueueVerb>) -> Result<u8, Failure> {
    let view: QueueView = match verb.unwrap_or(QueueVerb::Show) {
        QueueVerb::Show => cx.ask_plain("queue.show").await?,
        QueueVerb::Pause { why } => cx.ask("queue.pause", &PauseRequest { why }).await?,
        QueueVerb::Resume => cx.ask_plain("queue.resume").await?,
        QueueVerb::Limit { jobs, client, drive_group } => {
            let jobs_max = match jobs.as_str() {
                "none" => None,
                number => Some(number.parse().map_err(|_| {
                    Failure::new(
                        simsim_model::Kind::Invalid,
                        format!("'{number}' is no number of jobs: 1 or more, or 'none'"),
                    )
                })?),
            };
            let request = QueueLimitRequest { client, drive_group, jobs_max };
            cx.ask("queue.limit", &request).await?
        }
    };
    cx.show(&view, show)?;
    Ok(exit::DONE)
}

fn show(screen: &Screen, view: &QueueView) -> Result<(), Failure> {
    if let Some(by) = &view.paused_by {
        let since = view.paused_since_unix_ms.map(when).unwrap_or_default();
        let why = view.paused_why.as_deref().filter(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let line = format!("paused by {by} since {since}{why}");
        screen.line(Text::styled(Style::Warn, line))?;
    }
    let mut limits = Vec::new();
    limits.extend(view.jobs_max.map(|most| format!("{} in all", counted(most.into(), "job"))));
    let of = |noun: &str, one: &simsim_server::api::LimitOf| {
        format!("{} on {noun} '{}'", counted(one.jobs_max.into(), "job"), one.name)
    };
    limits.extend(view.clients.iter().map(|one| of("client", one)));
    limits.extend(view.drive_groups.iter().map(|one| of("drive group", one)));
    if !limits.is_empty() {
        screen.line(format!("at once: {}", limits.join(", ")))?;
    }
    screen.line(format!("{} run", counted(view.running, "job")))?;
    if view.waiting.is_empty() {
        screen.aside("nothing waits");
        return Ok(());
    }
    let mut table = Table::new([
        Column::new("JOB").right(),
        Column::new("KIND").rank(2),
        Column::new("TASK").cut_to(10),
        Column::new("CLIENT").cut_to(8).rank(1),
        Column::new("EVENT").cut_to(8).rank(3),
        Column::new("RANK").right().rank(5),
        Column::new("START BY").rank(4),
        Column::new("WAITS FOR").cut_to(16),
    ]);
    for job in &view.waiting {
        table.row([
            job.job.to_string().into(),
            job.kind.as_str().into(),
            Text::new().bold(&job.task),
            job.client.as_str().into(),
            job.event.as_str().into(),
            job.rank.to_string().into(),
            job.start_by_unix_ms.map_or_else(Text::new, |by| when(by).into()),
            job.waits.as_deref().unwrap_or("its turn").into(),
        ]);
    }
    screen.table(&table)
}
