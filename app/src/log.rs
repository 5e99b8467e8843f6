//! What this process says of itself: lines for people, documents for log stores, or entries of the journal with their
//! fields. A daemon tells what it does, in the form of its settings; a verb only what is wrong, for people.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use simsim_model::Kind;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::prelude::*;

use crate::exit::Failure;

/// What is logged, as `tracing` filters: `info`, `simsim_device=debug`, …
const LOG_VARIABLE: &str = "SIMSIM_LOG";
/// Before the names of fields in the journal.
const PREFIX: &str = "SIMSIM";

/// The form of each line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people, on standard error.
    #[default]
    Text,
    /// A JSON document a line, on standard error.
    Json,
    /// The journal of systemd, by its own protocol: with priorities and fields.
    Journald,
}

/// The `[log]` part of a daemon's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    pub format: Format,
}

/// Begins the log of a verb.
pub fn begin_for_verb() -> Result<(), Failure> {
    begin("warn,russh=error", Format::Text)
}

/// Begins the log of a daemon, once its settings are read.
pub fn begin_for_daemon(settings: &LogSettings) -> Result<(), Failure> {
    begin("info,russh=warn", settings.format)
}

fn begin(usual: &str, format: Format) -> Result<(), Failure> {
    let invalid = |text: String| Failure::new(Kind::Invalid, text);
    let filter = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| usual.to_owned());
    let filter =
        EnvFilter::try_new(&filter).map_err(|error| invalid(format!("{LOG_VARIABLE}: {error}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Json => lines.json().flatten_event(true).init(),
        Format::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            // The journal has clocks and names of its own.
            match std::env::var_os("JOURNAL_STREAM") {
                Some(_) => lines.with_ansi(colours).without_time().init(),
                None => lines.with_ansi(colours).init(),
            }
        }
        Format::Journald => {
            let filter = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| usual.to_owned());
            let layer = tracing_journald::layer().map_err(|error| {
                invalid(format!(
                    "log.format = \"journald\": the journal of systemd cannot be reached: {error}; use \"text\" or \"json\""
                ))
            })?;
            let layer = layer
                .with_syslog_identifier("simsim".to_owned())
                .with_field_prefix(Some(PREFIX.to_owned()));
            tracing_subscriber::registry().with(EnvFilter::new(filter)).with(layer).init();
        }
    }
    Ok(())
}
