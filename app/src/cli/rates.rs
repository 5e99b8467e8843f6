//! `simsim rate add | list | remove`: how fast data may go, and when.

use simsim_server::api::{
    AddRateRequest, LimitedView, RateReply, RateRequest, RateView, RatesView,
};

use super::context::Context;
use super::screen::Screen;
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::words::{size, when};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum RateVerb {
    /// Limit how fast data may go: of a host, of a network, or of all; it counts at once
    Add(AddArguments),
    /// List rate limits, and what they allow now
    List,
    /// Remove a rate limit; jobs that run are free of it at once
    Remove {
        /// Its number
        number: u64,
    },
}

#[derive(clap::Args, Debug)]
pub struct AddArguments {
    #[command(flatten)]
    subject: SubjectArguments,
    /// Such as 20MB/s or 'mon-fri 08:00-18:00 5MB/s', by the server's local time; of several the last
    /// one that is now counts
    #[arg(value_name = "RATE", required = true)]
    rates: Vec<String>,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct SubjectArguments {
    /// All data of this host, whether it comes or goes
    #[arg(long)]
    host: Option<String>,
    /// All data of hosts with an address in this network, such as 10.2.0.0/16 or 2001:db8::/32
    #[arg(long)]
    network: Option<String>,
    /// All data
    #[arg(long)]
    all: bool,
}

pub async fn run(cx: &Context, verb: RateVerb) -> Result<u8, Failure> {
    match verb {
        RateVerb::Add(arguments) => {
            let AddArguments { subject, rates } = arguments;
            let SubjectArguments { host, network, all: _ } = subject;
            let request = AddRateRequest { host, network, rates };
            let reply: RateReply = cx.ask("rate.add", &request).await?;
            cx.show(&reply, |screen, reply| {
                told(screen, reply);
                screen.table(&table(std::slice::from_ref(&reply.rate)))
            })?;
        }
        RateVerb::List => {
            let view: RatesView = cx.ask_plain("rate.list").await?;
            cx.show(&view, |screen, view| {
                if view.rates.is_empty() {
                    screen.aside("no rate limits: data goes as fast as it can");
                    return Ok(());
                }
                if !view.time_zone.is_empty() {
                    screen.aside(Text::new().dim(format!("times are those of {}", view.time_zone)));
                }
                screen.table(&table(&view.rates))
            })?;
        }
        RateVerb::Remove { number } => {
            let reply: RateReply = cx.ask("rate.remove", &RateRequest { number }).await?;
            cx.show(&reply, |screen, reply| {
                told(screen, reply);
                let rate = &reply.rate;
                screen.line(format!("rate limit {} of {} is gone", rate.number, rate.counts_for))
            })?;
        }
    }
    Ok(exit::DONE)
}

fn told(screen: &Screen, reply: &RateReply) {
    for why in &reply.untold {
        screen.aside(Text::styled(Style::Warn, format!("not told: device {why}")));
    }
}

/// What holds a job back.
pub fn limited(limited: &LimitedView) -> String {
    format!(
        "limited to {}/s by {} (rate limit {})",
        size(limited.bytes_per_s),
        limited.by,
        limited.number
    )
}

fn table(rates: &[RateView]) -> Table {
    let mut table = Table::new([
        Column::new("LIMIT").right(),
        Column::new("COUNTS FOR").cut_to(12),
        Column::new("NOW").right(),
        Column::new("UNTIL").rank(1),
        Column::new("RATES").cut_to(20).rank(2),
    ]);
    for rate in rates {
        let now = match rate.now_bytes_per_s {
            Some(bytes) => Text::from(format!("{}/s", size(bytes))),
            None => Text::styled(Style::Dim, "unlimited"),
        };
        table.row([
            rate.number.to_string().into(),
            Text::new().bold(&rate.counts_for),
            now,
            rate.until_unix_ms.map_or_else(Text::new, |at| when(at).into()),
            rate.rates.join("; ").into(),
        ]);
    }
    table
}
