//! `simsim rescue`: from a copy of a datastore and the recovery kit back to files, with nothing else:
//! no server, no catalog, no state.
//!
//! The copy may lie on a read-only medium and is never written to: what the datastore's code must
//! write (its lock, missing parts of its index) goes to a scratch folder that is removed at the end.

mod copy;
mod restore;

pub use self::copy::{Copy, Locked};

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;
use simsim_model::{Kind, Level, SavesetId};
use simsim_server::api::{EntryView, FindRequest, LsReply, LsRequest};
use simsim_server::look;

use super::browse::{entries_text, name_of};
use super::context::CommonArguments;
use super::kit;
use super::paging::{PageArguments, Pages};
use super::paths;
use super::restore::HowArguments;
use super::savesets;
use super::screen::Screen;
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::words::{count, size, when};
use crate::exit::{self, Failure};

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The folder of the datastore or of a copy of it; nothing is written there
    datastore: PathBuf,
    /// The recovery kit; '-' reads standard input [default: its groups are asked for]
    #[arg(long, value_name = "FILE")]
    kit: Option<PathBuf>,
    /// Where missing parts of the index may be kept meanwhile [default: the system's folder for
    /// temporary files]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    #[command(subcommand)]
    verb: RescueVerb,
}

#[derive(clap::Subcommand, Debug)]
pub enum RescueVerb {
    /// List the savesets that the kit opens
    List,
    /// List a folder of a saveset
    Ls {
        /// An id or a unique beginning of it, 'latest', 'latest:TASK', or a task's name
        #[arg(default_value = "latest")]
        saveset: String,
        /// A folder or file in it, written as listings print it
        #[arg(default_value = "/", hide_default_value = true)]
        path: OsString,
        /// With mode, owner, size and time
        #[arg(long, short)]
        long: bool,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Find entries of a saveset by name
    Find {
        /// What to look for, with *, ? and […]; against the name, or the whole path where it holds a /
        pattern: String,
        /// The saveset, as for 'ls'
        #[arg(default_value = "latest")]
        saveset: String,
        /// With mode, owner, size and time
        #[arg(long, short)]
        long: bool,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Restore a saveset or a part of it
    Restore {
        /// The saveset, as for 'ls'
        saveset: String,
        /// The paths in it that are wanted [default: all of it]
        paths: Vec<OsString>,
        /// Restore beneath this folder, with whole paths
        #[arg(long, value_name = "FOLDER", required = true)]
        to: PathBuf,
        #[command(flatten)]
        how: HowArguments,
    },
    /// Read every byte that the savesets need, and check every name
    Verify {
        /// Only this saveset, as for 'ls' [default: all]
        saveset: Option<String>,
    },
}

/// A saveset as its manifest tells.
#[derive(Debug, Clone, Serialize)]
pub struct Rescued {
    pub saveset: SavesetId,
    pub client: String,
    pub task: String,
    pub level: Level,
    pub sequence: u64,
    pub committed_unix_ms: i64,
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
    pub problems: u64,
}

/// Answer of `list`.
#[derive(Debug, Clone, Serialize)]
pub struct RescueList {
    pub datastore: String,
    pub store: simsim_model::StoreId,
    pub savesets: Vec<Rescued>,
    /// Savesets of domains whose keys this kit does not open.
    pub sealed: u64,
}

pub fn run(arguments: Arguments, common: &CommonArguments) -> Result<u8, Failure> {
    let screen = common.screen();
    // The folder first: nobody should type a kit for a folder that holds no datastore.
    let copy = Copy::open(&arguments.datastore, arguments.scratch.as_deref())?;
    let kit = match &arguments.kit {
        Some(file) => kit::parse(&kit::read_text(file)?)?,
        None if screen.can_ask() => kit::ask()?,
        None => {
            return Err(Failure::new(Kind::Invalid, "the recovery kit is needed")
                .next("name the file with it: --kit FILE, or --kit - for standard input"));
        }
    };
    let copy = copy.unlock(&kit)?;
    let status = match arguments.verb {
        RescueVerb::List => {
            let list = copy.list();
            show(&screen, &list, list_text)?;
            exit::DONE
        }
        RescueVerb::Ls { saveset, path, long, page } => {
            let saveset = copy.meant(&saveset)?;
            let (tree, path) = (copy.tree(saveset)?, paths::in_saveset(&path));
            let mut pages = Pages::new(&page);
            while let Some((after, limit)) = pages.next() {
                let (saveset, path) = (saveset.to_string(), path.clone());
                let request = LsRequest { saveset, task: None, path, after, limit };
                let reply = look::ls(&tree, &request)?;
                let name = |entry: &EntryView| name_of(&entry.path).to_owned();
                pages.take(&screen, reply.entries, reply.more, name, |screen, entries| {
                    entries_text(screen, entries, long, name_of)
                })?;
            }
            listed(&screen, saveset, pages)?
        }
        RescueVerb::Find { pattern, saveset, long, page } => {
            let saveset = copy.meant(&saveset)?;
            let tree = copy.tree(saveset)?;
            let mut pages = Pages::new(&page);
            while let Some((after, limit)) = pages.next() {
                let request = FindRequest {
                    saveset: saveset.to_string(),
                    task: None,
                    pattern: pattern.clone(),
                    path: String::new(),
                    after,
                    limit,
                };
                let reply = look::find(&tree, &request)?;
                let path = |entry: &EntryView| entry.path.clone();
                pages.take(&screen, reply.entries, reply.more, path, |screen, entries| {
                    entries_text(screen, entries, long, |path| path)
                })?;
            }
            listed(&screen, saveset, pages)?
        }
        RescueVerb::Restore { saveset, paths, to, how } => {
            let saveset = copy.meant(&saveset)?;
            let paths = paths.iter().map(|path| paths::bytes_in_saveset(path)).collect();
            restore::run(&copy, saveset, paths, &to, how, &screen)?
        }
        RescueVerb::Verify { saveset } => {
            let only = saveset.map(|saveset| copy.meant(&saveset)).transpose()?;
            restore::verify(&copy, only, &screen)?
        }
    };
    screen.flush()?;
    Ok(status)
}

fn show<T: Serialize>(
    screen: &Screen,
    answer: &T,
    text: impl FnOnce(&Screen, &T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if screen.is_json() { screen.document(answer) } else { text(screen, answer) }
}

/// The end of a listing: its document, where one was asked for.
fn listed(screen: &Screen, saveset: SavesetId, pages: Pages<EntryView>) -> Result<u8, Failure> {
    let (entries, more) = pages.end(screen);
    show(screen, &LsReply { saveset, entries, more }, |_, _| Ok(()))?;
    Ok(exit::DONE)
}

fn list_text(screen: &Screen, list: &RescueList) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::new("SAVESET"),
        Column::new("TASK").cut_to(8),
        Column::new("CLIENT").cut_to(6).rank(2),
        Column::new("LEVEL").rank(3),
        Column::new("SAVED"),
        Column::new("FILES").right().rank(4),
        Column::new("SIZE").right(),
        Column::new("PROBLEMS").right().rank(1),
    ]);
    for saveset in &list.savesets {
        table.row([
            Text::new().bold(saveset.saveset.short()),
            saveset.task.as_str().into(),
            saveset.client.as_str().into(),
            savesets::level(saveset.level),
            when(saveset.committed_unix_ms).into(),
            count(saveset.files).into(),
            size(saveset.bytes).into(),
            if saveset.problems == 0 { Text::new() } else { count(saveset.problems).into() },
        ]);
    }
    screen.table(&table)?;
    if list.sealed > 0 {
        let text =
            format!("{} more belong to owners whose keys this kit does not open", list.sealed);
        screen.aside(Text::styled(Style::Warn, text));
    }
    Ok(())
}
