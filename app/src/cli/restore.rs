//! `simsim restore`: a saveset or a part of it, back to where it was or elsewhere.

use std::ffi::OsString;
use std::path::PathBuf;

use simsim_model::{Kind, Overwrite};
use simsim_server::api::{JobReply, RestoreRequest};

use super::context::Context;
use super::follow;
use super::paths;
use super::reference;
use super::text::{Text, plain};
use crate::exit::Failure;

/// What to do where something already is, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OverwriteChoice {
    /// Leave what is there, and report it
    #[default]
    Never,
    /// Replace what differs in size or time
    IfChanged,
    /// Replace what is older than the saved file
    IfNewer,
    /// Replace always
    Always,
}

impl OverwriteChoice {
    pub fn overwrite(self) -> Overwrite {
        match self {
            OverwriteChoice::Never => Overwrite::Never,
            OverwriteChoice::IfChanged => Overwrite::IfChanged,
            OverwriteChoice::IfNewer => Overwrite::IfNewer,
            OverwriteChoice::Always => Overwrite::Always,
        }
    }
}

#[derive(clap::Args, Debug)]
#[command(
    override_usage = "simsim restore [OPTIONS] <SAVESET> [PATH]...\n       simsim restore [OPTIONS] --task <TASK> [PATH]..."
)]
pub struct Arguments {
    /// The saveset, named as for 'simsim ls', then the paths in it that are wanted (all of it
    /// where there are none), written as listings print them; with --task paths only
    #[arg(value_name = "SAVESET|PATH")]
    what: Vec<OsString>,
    /// The newest saveset of this task
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Restore beneath this folder, with whole paths
    #[arg(long, value_name = "FOLDER", conflicts_with = "in_place")]
    to: Option<PathBuf>,
    /// Restore to where the files were
    #[arg(long)]
    in_place: bool,
    /// To this client instead of the one that was backed up
    #[arg(long)]
    client: Option<String>,
    #[command(flatten)]
    how: HowArguments,
    /// Fetch the data by this interface of the device, or by this protocol (http, https); may be
    /// repeated, in order of preference [default: as the client says]
    #[arg(long = "interface", value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// Read the copy in this datastore [default: where the saveset was made, or where a device with
    /// a copy is reached]
    #[arg(long, value_name = "DATASTORE")]
    copy: Option<String>,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

/// How to restore; `rescue` has the same.
#[derive(clap::Args, Debug)]
pub struct HowArguments {
    /// Of the paths named (or of all), only what matches: * stops at /, ** does not; a pattern
    /// without / is for the name alone; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub pattern: Vec<String>,
    /// What to do where something already is
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub overwrite: OverwriteChoice,
    /// Do not set owners and groups
    #[arg(long)]
    pub no_owners: bool,
    /// Also make devices, and set setuid bits and capabilities
    #[arg(long)]
    pub specials: bool,
    /// Say what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub async fn run(cx: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let mut what = arguments.what.iter();
    let named = match &arguments.task {
        Some(task) => format!("latest:{task}"),
        None => match what.next() {
            Some(first) => first.to_string_lossy().into_owned(),
            None => {
                return Err(Failure::new(Kind::Invalid, "say which saveset to restore")
                    .next("the newest of all: simsim restore latest --to FOLDER")
                    .next("of a task: simsim restore --task TASK --to FOLDER")
                    .next("all savesets: simsim savesets"));
            }
        },
    };
    if arguments.to.is_none() && !arguments.in_place {
        return Err(Failure::new(Kind::Invalid, "say where to restore to")
            .next("beneath a folder: --to FOLDER")
            .next("to where the files were: --in-place"));
    }
    let saveset = reference::resolve(cx, &named).await?;
    let to = arguments.client.as_deref().unwrap_or(&saveset.client);
    let target = match &arguments.to {
        // A relative path is taken from here only where the files come here.
        Some(folder) if is_own_client(cx, to).await? => {
            if folder.metadata().is_ok_and(|there| !there.is_dir()) {
                let text = format!("'{}' is not a folder", plain(&folder.to_string_lossy()));
                return Err(Failure::new(Kind::Invalid, text)
                    .next("name a folder to restore beneath; one that is not there yet is made"));
            }
            Some(paths::of_this_host(folder)?)
        }
        Some(folder) => Some(paths::of_other_host(folder, to)?),
        None => None,
    };
    let how = arguments.how;
    let request = RestoreRequest {
        saveset: saveset.saveset.to_string(),
        task: None,
        paths: what.map(|path| paths::in_saveset(path)).collect(),
        patterns: how.pattern,
        client: arguments.client,
        target,
        overwrite: how.overwrite.overwrite(),
        specials: how.specials,
        owners: Some(!how.no_owners),
        dry_run: how.dry_run,
        interfaces: arguments.interfaces,
        copy: arguments.copy,
    };
    if how.dry_run && !cx.screen.is_json() {
        cx.screen.aside(Text::new().dim("dry run: nothing is written"));
    }
    let reply: JobReply = cx.ask("restore", &request).await?;
    follow::run_to_end(cx, reply, arguments.detach).await
}

async fn is_own_client(cx: &Context, client: &str) -> Result<bool, Failure> {
    let status: simsim_server::api::Status = cx.ask_plain("status").await?;
    Ok(status.own_client == client)
}
