//! `simsim backup`: a task, or paths without one; followed to the end.

use std::path::{Path, PathBuf};

use simsim_model::{Kind, Level};
use simsim_server::api::{
    BackupRequest, JobReply, RunTaskRequest, StartStreamReply, StartStreamRequest, TaskView,
};

use super::context::Context;
use super::follow;
use super::paths;
use super::tasks::{OptionArguments, Place};
use super::text::{Text, plain};
use super::words::when_exactly;
use crate::exit::{self, Failure};

/// Levels as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LevelChoice {
    /// Read every file again
    Full,
    /// Read what changed since the last FULL
    Diff,
    /// Read what changed since the last saveset
    #[default]
    Incr,
    /// As full, outside the chain: never compared with
    Copy,
}

impl LevelChoice {
    pub fn level(self) -> Level {
        match self {
            LevelChoice::Full => Level::Full,
            LevelChoice::Diff => Level::Diff,
            LevelChoice::Incr => Level::Incr,
            LevelChoice::Copy => Level::Copy,
        }
    }
}

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// A task's name, or paths: one word without '/' that is a task's name is the task
    #[arg(required = true, value_name = "TASK|PATH")]
    what: Vec<PathBuf>,
    /// The client whose paths these are [default: the server's own host]
    #[arg(long)]
    client: Option<String>,
    /// What is read again; every level makes a complete saveset
    #[arg(long, value_name = "LEVEL", default_value = "incr")]
    level: LevelChoice,
    /// For an external task: start a job that waits for a raw stream, and print the command that sends
    /// it, with a ticket for this one job
    #[arg(long, conflicts_with_all = ["client", "level"])]
    external: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
    #[command(flatten, next_help_heading = "Options for paths")]
    options: OptionArguments,
}

pub async fn run(cx: &Context, arguments: Arguments) -> Result<u8, Failure> {
    if arguments.external {
        return external(cx, arguments).await;
    }
    let level = arguments.level.level();
    let reply: JobReply = match task_meant(cx, &arguments).await? {
        Some(task) => {
            own_options(&task, &arguments.options)?;
            cx.ask("task.run", &RunTaskRequest { task, level }).await?
        }
        None => {
            let sources = arguments
                .what
                .iter()
                .map(|path| match &arguments.client {
                    Some(client) => paths::of_other_host(path, client),
                    None => paths::of_this_host(path),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let (excludes, options, place, eol_days) = arguments.options.into_parts();
            let Place { datastore, drive, drive_group, pool } = place;
            let client = arguments.client;
            let request = BackupRequest {
                client,
                sources,
                excludes,
                options,
                datastore,
                drive,
                drive_group,
                pool,
                eol_days,
                level,
            };
            cx.ask("backup", &request).await?
        }
    };
    follow::run_to_end(cx, reply, arguments.detach).await
}

/// A job that waits for a raw stream. The command goes to standard output, so that a script can take it.
async fn external(cx: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let [task] = arguments.what.as_slice() else {
        return Err(Failure::new(Kind::Invalid, "--external takes the name of one external task"));
    };
    let task = task.to_string_lossy().into_owned();
    own_options(&task, &arguments.options)?;
    let reply: StartStreamReply = cx.ask("stream.start", &StartStreamRequest { task }).await?;
    cx.show(&reply, |screen, reply| {
        screen.aside(format!(
            "job {} waits for one stream, until {}:",
            reply.job,
            when_exactly(reply.expires_unix_ms)
        ));
        screen.line(reply.command.as_str())?;
        screen.flush()?;
        let next = |text: &str| Text::new().dim("  → ").plain(text);
        if !reply.ftp_command.is_empty() && reply.ftp_command != reply.command {
            screen.aside(next(&format!("or by FTP with TLS: {}", reply.ftp_command)));
        }
        screen.aside(next(
            "the file that --cacert names: simsim interface authority > simsim-ca.pem",
        ));
        Ok(())
    })?;
    if arguments.detach || cx.screen.is_json() {
        return Ok(exit::DONE);
    }
    follow::to_end(cx, reply.job).await
}

/// Options beside a task would be lost: each is refused, since a lock or a limit that was asked for
/// and is not set is found out too late.
fn own_options(task: &str, options: &OptionArguments) -> Result<(), Failure> {
    let given = options.given();
    let Some(first) = given.first() else { return Ok(()) };
    let task = plain(task);
    let text = format!("task '{task}' has its own options; not for one run: {}", given.join(", "));
    Err(Failure::new(Kind::Invalid, text)
        .next(format!("for all its runs from now on: simsim task change {task} {first} …"))
        .next("for one run only, name paths instead of the task"))
}

/// The task, if one is meant: a single word without a slash, and no client beside it.
async fn task_meant(cx: &Context, arguments: &Arguments) -> Result<Option<String>, Failure> {
    let [only] = arguments.what.as_slice() else { return Ok(None) };
    let Some(word) = only.to_str().filter(|word| !word.contains('/')) else { return Ok(None) };
    if arguments.client.is_some() || matches!(word, "." | "..") {
        return Ok(None);
    }
    let tasks: Vec<TaskView> = cx.ask_plain("task.list").await?;
    if tasks.iter().any(|task| task.name == word) {
        return Ok(Some(word.to_owned()));
    }
    if Path::new(word).symlink_metadata().is_ok() {
        return Ok(None);
    }
    let names: Vec<_> = tasks.iter().map(|task| plain(&task.name).into_owned()).collect();
    let text = format!("'{}' is neither a task nor a path here", plain(word));
    let failure = Failure::new(Kind::NotFound, text);
    Err(if names.is_empty() {
        failure.next("there is no task yet: simsim task add NAME PATH")
    } else {
        failure.next(format!("tasks: {}", names.join(", ")))
    })
}
