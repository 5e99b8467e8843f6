//! `simsim saveset why | keep | hold | lock | delete`: how long one saveset lives.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use simsim_model::Kind;
use simsim_server::api::{
    DeleteSavesetsRequest, HoldSavesetRequest, KeepSavesetRequest, LifeView, LockSavesetRequest,
    SavesetLives, SavesetRequest, SavesetsDeleted,
};

use super::approvals;
use super::context::Context;
use super::reference;
use super::screen::Screen;
use super::text::{Style, Text};
use super::words::{counted, when};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum LifeVerb {
    /// Say everything that keeps a saveset and its copies, and when they go
    Why {
        #[arg(help = reference::HELP)]
        saveset: String,
    },
    /// Keep a saveset for longer than its pool and its task say
    Keep {
        #[arg(help = reference::HELP)]
        saveset: String,
        /// Until this day or instant, such as 2027-01-31 or '2027-01-31 18:00'
        #[arg(long, value_name = "WHEN", value_parser = parse_when, required_unless_present = "eol")]
        until: Option<i64>,
        /// For so many days from its backup
        #[arg(long, value_name = "DAYS", conflicts_with = "until")]
        eol: Option<u32>,
    },
    /// Put a saveset under legal hold until a person lifts it; releasing it takes a second person
    Hold {
        #[arg(help = reference::HELP)]
        saveset: String,
        /// Why, for all who ask
        #[arg(long, value_name = "TEXT", required_unless_present = "release")]
        why: Option<String>,
        /// Release it
        #[arg(long, conflicts_with = "why")]
        release: bool,
    },
    /// Lock a saveset: nobody deletes it before; can be made later and never earlier
    Lock {
        #[arg(help = reference::HELP)]
        saveset: String,
        /// Until this day or instant, such as 2027-01-31 or '2027-01-31 18:00'
        #[arg(long, value_name = "WHEN", value_parser = parse_when)]
        until: i64,
    },
    /// Delete savesets; what is not expired takes a second person
    Delete {
        /// The savesets: their ids or unique beginnings of them
        #[arg(required = true, value_name = "SAVESET")]
        savesets: Vec<String>,
        /// Only what lies in this datastore [default: originals and copies]
        #[arg(long)]
        datastore: Option<String>,
        /// Why, for all who ask later
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
}

/// Seconds since 1970 of a day, which ends when it is over, or of an instant by this host's clock.
fn parse_when(text: &str) -> Result<i64, String> {
    let bad = |_| format!("'{text}' is no instant: write it as 2027-01-31 or '2027-01-31 18:00'");
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_second());
    }
    let local = match text.parse::<jiff::civil::Date>() {
        Ok(day) if text.len() <= 10 => {
            day.tomorrow().map_err(bad)?.to_datetime(jiff::civil::Time::midnight())
        }
        _ => text.parse::<DateTime>().map_err(bad)?,
    };
    let at: Zoned = local.to_zoned(TimeZone::system()).map_err(bad)?;
    Ok(at.timestamp().as_second())
}

pub async fn run(cx: &Context, verb: LifeVerb) -> Result<u8, Failure> {
    let named = async |text: &str| -> Result<String, Failure> {
        Ok(reference::resolve(cx, text).await?.saveset.to_string())
    };
    let lives: SavesetLives = match verb {
        LifeVerb::Why { saveset } => {
            let saveset = named(&saveset).await?;
            cx.ask("saveset.why", &SavesetRequest { saveset }).await?
        }
        LifeVerb::Keep { saveset, until, eol } => {
            let saveset = named(&saveset).await?;
            let request = KeepSavesetRequest { saveset, until_unix_s: until, days: eol };
            cx.ask("saveset.keep", &request).await?
        }
        LifeVerb::Hold { saveset, why, release } => {
            let saveset = named(&saveset).await?;
            cx.ask("saveset.hold", &HoldSavesetRequest { saveset, why, release }).await?
        }
        LifeVerb::Lock { saveset, until } => {
            let saveset = named(&saveset).await?;
            let until_unix_s = u64::try_from(until).map_err(|_| {
                Failure::new(Kind::Invalid, "a lock ends in the future, not before 1970")
            })?;
            cx.ask("saveset.lock", &LockSavesetRequest { saveset, until_unix_s }).await?
        }
        LifeVerb::Delete { savesets, datastore, why } => {
            let request = DeleteSavesetsRequest { savesets, datastore, why };
            let done: SavesetsDeleted = cx.ask("saveset.delete", &request).await?;
            cx.show(&done, deleted)?;
            return Ok(exit::DONE);
        }
    };
    cx.show(&lives, shown)?;
    Ok(exit::DONE)
}

fn shown(screen: &Screen, lives: &SavesetLives) -> Result<(), Failure> {
    screen.line(Text::new().bold("Saveset ").bold(lives.saveset.to_string()))?;
    for life in &lives.lives {
        let what = if life.is_copy { "copy in " } else { "in " };
        screen.line(Text::from(format!("  {what}{}: ", life.datastore)).then(state(life)))?;
        screen.line(format!("    {}", life.explained))?;
        if let Some(trouble) = life.deletion.as_ref().and_then(|one| one.trouble.as_ref()) {
            screen.line(format!("    not yet: {trouble}"))?;
        }
    }
    match &lives.approval {
        Some(approval) => approvals::asked(screen, approval),
        None => Ok(()),
    }
}

fn state(life: &LifeView) -> Text {
    match (life.state.as_str(), life.until_unix_ms) {
        ("kept", Some(until)) => {
            Text::styled(Style::Good, "kept").plain(format!(" until {}", when(until)))
        }
        ("kept", None) => Text::styled(Style::Good, "kept"),
        ("expired" | "deleting", _) => Text::styled(Style::Warn, &life.state),
        (other, _) => Text::styled(Style::Dim, other),
    }
}

fn deleted(screen: &Screen, done: &SavesetsDeleted) -> Result<(), Failure> {
    if let Some(approval) = &done.approval {
        return approvals::asked(screen, approval);
    }
    let mut line = format!("{} deleted", counted(done.deleted, "saveset"));
    if done.waiting > 0 {
        line.push_str(&format!(
            ", {} as soon as jobs and devices let it",
            counted(done.waiting, "saveset")
        ));
    }
    screen.line(line)?;
    for trouble in &done.trouble {
        screen.aside(Text::styled(Style::Warn, "not yet: ").plain(trouble));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_when_it_is_over_and_an_instant_is_itself() {
        assert_eq!(parse_when("2027-01-31T00:00:00Z"), Ok(1_801_353_600));
        let day = parse_when("2027-01-31").unwrap();
        assert_eq!(day, parse_when("2027-02-01 00:00").unwrap());
        for text in ["", "tomorrow", "2027-02-30", "2027-13-01 10:00", "31.1.2027"] {
            assert!(parse_when(text).is_err(), "{text}");
        }
    }
}
