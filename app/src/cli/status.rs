//! `simsim status`: how the suite is, on one page.

use simsim_server::api::{KitState, Status};

use super::context::Context;
use super::screen::Screen;
use super::search;
use super::table::facts;
use super::text::{Style, Text};
use super::words::{count, counted, lasting_ms, now_unix_ms, when};
use crate::exit::{self, Failure};

pub async fn run(cx: &Context) -> Result<u8, Failure> {
    let status: Status = cx.ask_plain("status").await?;
    cx.show(&status, text)?;
    Ok(exit::DONE)
}

fn own_backup(status: &Status) -> Text {
    match status.self_backup_unix_ms {
        Some(at) => when(at).into(),
        None => Text::styled(Style::Warn, "none"),
    }
}

/// How many there are, and how many of them are green.
fn tasks(status: &Status) -> Text {
    let (all, green) = (status.tasks, status.tasks_green);
    match (all, all == green) {
        (0, _) => count(0).into(),
        (_, true) => Text::from(count(all)).then(Text::styled(Style::Good, ", all green")),
        (_, false) => Text::from(count(all))
            .then(Text::styled(Style::Warn, format!(", {} green", count(green)))),
    }
}

fn text(screen: &Screen, status: &Status) -> Result<(), Failure> {
    let up = lasting_ms(now_unix_ms() - status.started_unix_ms);
    screen.line(
        Text::new().bold(&status.name).plain(format!("  simsim {}, up {up}", status.suite_version)),
    )?;
    screen.line("")?;
    let reached = if status.clients_connected == status.clients_enrolled {
        Text::from(format!("{}, all reached", count(status.clients_enrolled)))
    } else {
        Text::styled(
            Style::Warn,
            format!("{}, {} reached", count(status.clients_enrolled), status.clients_connected),
        )
    };
    let jobs = match (status.jobs_running, status.jobs_queued) {
        (0, 0) => Text::new().dim("none at work"),
        (running, 0) => Text::styled(Style::Busy, format!("{running} running")),
        (running, queued) => {
            Text::styled(Style::Busy, format!("{running} running, {queued} waiting"))
        }
    };
    let kit = match &status.kit {
        KitState::None => Text::styled(Style::Bad, "none"),
        KitState::Unproven => Text::styled(Style::Warn, "made, not yet shown to be kept"),
        KitState::Proven { proven_unix_ms } => {
            Text::styled(Style::Good, format!("kept, as shown {}", when(*proven_unix_ms)))
        }
    };
    screen.lines(facts(&[
        ("clients", reached),
        ("datastores", count(status.datastores).into()),
        ("tasks", tasks(status)),
        ("savesets", count(status.savesets).into()),
        ("search", search::state_text(&status.search)),
        ("jobs", jobs),
        ("recovery kit", kit),
        ("self-backup", own_backup(status)),
        ("server key", Text::new().dim(&status.fingerprint)),
    ]))?;
    if status.warnings.is_empty() {
        return Ok(());
    }
    screen.line("")?;
    let noun = counted(status.warnings.len() as u64, "thing");
    screen.line(Text::styled(Style::Warn, format!("{noun} to look at")))?;
    for warning in &status.warnings {
        screen.line(Text::from("  • ").plain(warning))?;
    }
    if status.datastores == 0 {
        screen.line("")?;
        screen.line("  first of all, a place to keep savesets:")?;
        screen.line(Text::new().bold("    simsim datastore create NAME FOLDER"))?;
    }
    Ok(())
}
