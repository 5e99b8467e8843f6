//! `simsim quickstart`: the main job, end to end, on this host.
//!
//! It is a server like any other, started by the same page as the daemon (`daemon::compose`), that
//! listens on loopback and ends when the job is done. What it made stays: `simsim server` on the
//! same state folder goes on from there.

mod names;
mod proof;
mod report;
mod scratch;
mod tour;

use std::path::{Path, PathBuf};
use std::time::Duration;

use simsim_model::Kind;

use self::scratch::Scratch;
use self::tour::Tour;
use crate::cli::{CommonArguments, Screen};
use crate::daemon::{Signals, start_quickstart};
use crate::exit::Failure;
use crate::state::State;

/// Folders that make a good example, in order of preference.
const EXAMPLES: [&str; 3] = ["/usr/share/doc", "/usr/include", "/etc"];

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder to back up; without one, an example that every host has
    folder: Option<PathBuf>,
    /// Ask nothing; what was skipped is said
    #[arg(long)]
    yes: bool,
    /// Print one JSON document instead of text (schema: docs/reference/json.md)
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, state: &State, common: &CommonArguments) -> Result<u8, Failure> {
    let screen = CommonArguments { json: arguments.json, ..common.clone() }.screen();
    let say = Say { screen: &screen, json: arguments.json };
    let folder = folder(arguments.folder.as_deref(), say)?;
    if folder.starts_with(state.folder()) || state.folder().starts_with(&folder) {
        let text = format!(
            "the state folder {} and the folder {} lie in one another: name another --state",
            state.folder().display(),
            folder.display()
        );
        return Err(Failure::new(Kind::Invalid, text));
    }
    state.make()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let running = start_quickstart(state).await?;
        let Some(server) = running.server.clone() else {
            return Err(Failure::new(Kind::Internal, "the server did not start"));
        };
        let scratch = Scratch(state.file(&format!("restore-{}", std::process::id())));
        let tour = Tour { arguments, say, state, server, folder, scratch: scratch.0.clone() };
        let done = tokio::select! {
            done = tour.run(&running) => done,
            name = signals.next() => {
                Err(Failure::new(Kind::Cancelled, format!("ended by {name}")))
            }
        };
        running.stop().await;
        drop(scratch);
        done
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

/// Text for people as the walk goes on; nothing of it with `--json`. A reader that went away, or a
/// full disk, ends the walk.
#[derive(Clone, Copy)]
pub struct Say<'a> {
    screen: &'a Screen,
    json: bool,
}

impl Say<'_> {
    pub fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        for line in text.as_ref().split('\n') {
            self.screen.line(line)?;
        }
        self.screen.flush()
    }
}

/// The folder, absolute and existing.
fn folder(named: Option<&Path>, say: Say<'_>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        let text = |error| format!("the folder '{}': {error}", named.display());
        return named
            .canonicalize()
            .map_err(|error| Failure::new(Kind::of_io(&error), text(error)));
    }
    let example =
        EXAMPLES.iter().map(Path::new).find(|path| path.is_dir()).ok_or_else(|| {
            Failure::new(Kind::NotFound, "name a folder: simsim quickstart FOLDER")
        })?;
    say.line(format!(
        "No folder was named: {} serves as an example, since every host has one. Your own: simsim quickstart FOLDER",
        example.display()
    ))?;
    Ok(example.canonicalize()?)
}
