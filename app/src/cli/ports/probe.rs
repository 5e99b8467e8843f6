//! `simsim ports probe`: every way of the plan, tried by the host that dials it.

use std::time::Duration;

use simsim_server::api::{ProbeReport, ProbeRequest, ProbedRow};

use crate::cli::context::Context;
use crate::cli::screen::Screen;
use crate::cli::table::{Column, Table};
use crate::cli::text::{Style, Text};
use crate::cli::words::{counted, rate};
use crate::exit::{self, Failure};

#[derive(clap::Args, Debug)]
pub struct ProbeArguments {
    /// Only ways from and to this host
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

pub async fn run(cx: &Context, arguments: ProbeArguments) -> Result<u8, Failure> {
    let request = ProbeRequest { host: arguments.host };
    let report: ProbeReport = cx.ask("ports.probe", &request).await?;
    cx.show(&report, text)?;
    let is_bad = |row: &&ProbedRow| !matches!(row.state.as_str(), "open" | "not_tried");
    let bad = report.rows.iter().filter(is_bad).count();
    Ok(if bad > 0 { exit::WITH_ERRORS } else { exit::DONE })
}

fn text(screen: &Screen, report: &ProbeReport) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::new("ROW"),
        Column::new("FROM").cut_to(12),
        Column::new("TO").cut_to(12),
        Column::new("PORT").right(),
        Column::new("FOUND"),
        Column::new("ROUND TRIP").right().rank(1),
        Column::new("RATE").right().rank(2),
        Column::new("WHY").cut_to(24),
    ]);
    let mut closed = 0;
    for row in &report.rows {
        let words = row.state.replace('_', " ");
        let state = match row.state.as_str() {
            "open" => Text::styled(Style::Good, words),
            "not_tried" => Text::styled(Style::Dim, words),
            _ => {
                closed += 1;
                Text::styled(Style::Bad, words)
            }
        };
        let round_trip = |time: u64| format!("{}.{:02} ms", time / 1000, time % 1000 / 10);
        let ports = match row.first_port == row.last_port {
            true => row.first_port.to_string(),
            false => format!("{}-{}", row.first_port, row.last_port),
        };
        table.row([
            Text::new().bold(&row.row),
            row.from.as_str().into(),
            row.to.as_str().into(),
            ports.into(),
            state,
            row.round_trip_us.map_or_else(Text::new, |time| round_trip(time).into()),
            row.bytes_per_s
                .map_or_else(Text::new, |bytes| rate(bytes, Duration::from_secs(1)).into()),
            row.message.as_str().into(),
        ]);
    }
    screen.table(&table)?;
    if closed > 0 {
        let text = format!("{} closed, or leads to somebody else", counted(closed, "way"));
        screen.aside(Text::styled(Style::Bad, text));
    }
    Ok(())
}
