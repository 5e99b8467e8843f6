//! `simsim audit`: who did what, and whether that record is whole.

use simsim_server::api::{AuditListReply, AuditListRequest, AuditVerifyReply};

use super::context::Context;
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::words::{counted, when_exactly};
use crate::exit::{self, Failure};
use simsim_model::Kind;

const PAGE: u32 = 1000;

#[derive(clap::Subcommand, Debug)]
pub enum AuditVerb {
    /// List the newest acts, in the order in which they were done
    List {
        /// Instead of the newest, those that come after this position
        #[arg(long, value_name = "POSITION")]
        after: Option<u64>,
        /// At most so many
        #[arg(
            long,
            short = 'n',
            value_name = "NUMBER",
            default_value_t = 1000,
            value_parser = clap::value_parser!(u32).range(1..)
        )]
        limit: u32,
    },
    /// Follow the chain: is any act missing, changed or moved?
    Verify,
}

pub async fn run(cx: &Context, verb: AuditVerb) -> Result<u8, Failure> {
    match verb {
        AuditVerb::List { after, limit } => {
            let mut whole = AuditListReply { rows: Vec::new() };
            let end = end(cx).await?;
            let begin = after.unwrap_or(end.saturating_sub(u64::from(limit)));
            let mut after_now = begin;
            while (whole.rows.len() as u32) < limit {
                let wanted = (limit - whole.rows.len() as u32).min(PAGE);
                let request = AuditListRequest { after: after_now, limit: wanted, newest: false };
                let page: AuditListReply = cx.ask("audit.list", &request).await?;
                let last = page.rows.last().map(|row| row.position);
                let is_end = page.rows.len() < wanted as usize;
                whole.rows.extend(page.rows);
                match last {
                    Some(last) if !is_end => after_now = last,
                    _ => break,
                }
            }
            cx.show(&whole, |screen, reply| {
                screen.table(&table(reply))?;
                let last = reply.rows.last().map_or(end, |row| row.position);
                let more = match after {
                    None if begin > 0 => format!("the newest {limit} of {end}; more: -n NUMBER"),
                    Some(_) if last < end => format!("{} more: --after {last}", end - last),
                    _ => return Ok(()),
                };
                screen.aside(Text::new().dim(more));
                Ok(())
            })?;
            Ok(exit::DONE)
        }
        AuditVerb::Verify => {
            let reply: AuditVerifyReply = cx.ask_plain("audit.verify").await?;
            cx.show(&reply, |screen, reply| match &reply.finding {
                None => screen.line(
                    Text::styled(Style::Good, "the audit log is whole")
                        .plain(format!(": {}", counted(reply.rows, "act"))),
                ),
                Some(finding) => {
                    screen.line(Text::styled(Style::Bad, "the audit log was tampered with"))?;
                    screen.line(Text::from("  ").plain(finding))
                }
            })?;
            Ok(if reply.holds { exit::DONE } else { exit::of_kind(Kind::Corrupt) })
        }
    }
}

/// The position of the newest act.
async fn end(cx: &Context) -> Result<u64, Failure> {
    let request = AuditListRequest { after: 0, limit: 1, newest: true };
    let reply: AuditListReply = cx.ask("audit.list", &request).await?;
    Ok(reply.rows.last().map_or(0, |row| row.position))
}

fn table(reply: &AuditListReply) -> Table {
    let mut table = Table::new([
        Column::new("#").right().rank(4),
        Column::new("AT").rank(2),
        Column::new("WHO").cut_to(8),
        Column::new("DID"),
        Column::new("TO").cut_to(12),
        Column::new("MORE").cut_to(16).rank(3),
        Column::new("ALLOWED").rank(1),
    ]);
    for row in &reply.rows {
        let act = &row.entry;
        table.row([
            Text::new().dim(row.position.to_string()),
            when_exactly(row.at_unix_ms).into(),
            act.principal.as_str().into(),
            Text::new().bold(&act.verb),
            act.object.as_str().into(),
            act.detail.as_str().into(),
            if act.allowed { "yes".into() } else { Text::styled(Style::Bad, "refused") },
        ]);
    }
    table
}
