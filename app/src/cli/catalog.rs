//! `simsim catalog`: where a server's catalog lies. Works on the state folder of a server that does
//! not run.

use std::path::PathBuf;

use simsim_model::Kind;
use simsim_server::{CatalogMoved, move_catalog};

use super::context::CommonArguments;
use super::screen::Screen;
use super::text::Text;
use crate::daemon::Settings;
use crate::exit::{self, Failure};
use crate::state::State;

#[derive(clap::Subcommand, Debug)]
pub enum CatalogVerb {
    /// Move the catalog of a stopped server to another database
    ///
    /// Copies everything, compares both sides, and then says what to write into the settings. Where
    /// the catalog was, it stays as it is but is not opened any more.
    Move {
        /// A connection string of PostgreSQL, postgresql://USER@HOST/DATABASE; 'file' for the file
        /// in the state folder. What is there must be empty
        #[arg(long, value_name = "PLACE")]
        to: String,
        /// Settings of the server, which say where its catalog is now [default: those that the
        /// server reads]
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
}

pub fn run(verb: CatalogVerb, state: &State, common: &CommonArguments) -> Result<u8, Failure> {
    let CatalogVerb::Move { to, settings } = verb;
    if !state.is_of_server() {
        let text = format!("no server keeps a catalog in {}", state.folder().display());
        return Err(Failure::new(Kind::NotFound, text).next("name its state folder: --state DIR"));
    }
    let from = Settings::load(settings.as_deref(), state)?.server.catalog;
    let _lock = state.lock("catalog move")?;
    let to = if to == "file" { String::new() } else { to };
    let me = match rustix::process::geteuid() {
        user if user.is_root() => "local:root".to_owned(),
        user => format!("local:{}", user.as_raw()),
    };
    let moved = move_catalog(state.folder(), &from, &to, &me)?;
    let screen = common.screen();
    if screen.is_json() {
        screen.document(&moved)?;
    } else {
        shown(&screen, &moved, &to)?;
    }
    screen.flush()?;
    Ok(exit::DONE)
}

fn shown(screen: &Screen, moved: &CatalogMoved, setting: &str) -> Result<(), Failure> {
    let rows: u64 = moved.tables.iter().map(|table| table.rows).sum();
    screen.line(Text::from(format!(
        "{rows} rows of {} tables were copied and are the same in {}",
        moved.tables.len(),
        moved.to
    )))?;
    let line = match setting {
        "" => {
            "before the server starts again, take this line out of its settings: [server] catalog"
                .to_owned()
        }
        string => format!(
            "before the server starts again, write into its settings: [server] catalog = {string:?}"
        ),
    };
    screen.line(Text::from(line))
}
