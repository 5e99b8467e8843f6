//! `simsim report`: what ran, failed and did not come, and what is not well.

use simsim_server::api::{ReportReply, ReportRequest};

use super::context::Context;
use crate::exit::{self, Failure};

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Of this day, where the server is, such as 2026-11-26 [default: the last 24 hours]
    #[arg(long, value_name = "DATE")]
    day: Option<String>,
    /// As a page for a browser
    #[arg(long)]
    html: bool,
}

pub async fn run(cx: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let Arguments { day, html } = arguments;
    let reply: ReportReply = cx.ask("report.show", &ReportRequest { day, html }).await?;
    cx.show(&reply, |screen, reply| {
        let text = reply.html.as_ref().unwrap_or(&reply.text);
        text.lines().try_for_each(|line| screen.line(line.to_owned()))
    })?;
    Ok(exit::DONE)
}
