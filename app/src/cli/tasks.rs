//! `simsim task`: what is backed up, from which client, with which options.

use std::path::PathBuf;

use simsim_model::TargetKind;
use simsim_server::api::{
    JobReply, PoolNameRequest, PoolView, RunTaskRequest, TaskNameRequest, TaskOptions, TaskRequest,
    TaskView,
};

use super::backup::LevelChoice;
use super::context::Context;
use super::follow;
use super::lists;
use super::paths;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{self, counted, parse_size, size, when};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum TaskVerb {
    /// Add a task
    Add {
        /// Its name
        name: String,
        /// The client whose files these are [default: the server's own host]
        #[arg(long)]
        client: Option<String>,
        /// What to back up: folders or files of the client
        #[arg(required_unless_present_any = ["stream", "external", "self_backup"], value_name = "PATH")]
        sources: Vec<PathBuf>,
        /// Back up what a command of the client writes, kept under the task's name: the command's
        /// name in the policy of the client's owner
        #[arg(long, value_name = "COMMAND", conflicts_with = "sources")]
        stream: Option<String>,
        /// Take raw streams of other people's tools, such as 'pg_dump | curl -T -', with a token or a
        /// ticket
        #[arg(long, conflicts_with_all = ["sources", "stream"])]
        external: bool,
        /// Back up the server itself: its catalog, keys and settings, for 'simsim recover'
        #[arg(long, conflicts_with_all = ["sources", "stream", "external", "client"])]
        self_backup: bool,
        /// External tasks: send callers to the host of the datastore with their stream, and give it the
        /// key for it [default: the server passes it on, sealed]
        #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true, requires = "external")]
        redirect: Option<bool>,
        #[command(flatten)]
        options: OptionArguments,
    },
    /// List tasks
    List(lists::Tasks),
    /// Show all about a task
    Show {
        /// The task
        name: String,
    },
    /// Change a task: what is given replaces what there is, the rest stays
    Change {
        /// The task
        name: String,
        /// Back up these instead
        #[arg(value_name = "PATH")]
        sources: Vec<PathBuf>,
        /// External tasks: send callers to the host of the datastore with their stream
        #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
        redirect: Option<bool>,
        #[command(flatten)]
        options: OptionArguments,
        /// Leave nothing out any more
        #[arg(long, conflicts_with = "exclude")]
        no_excludes: bool,
    },
    /// Remove a task; its savesets and the history of its jobs stay
    Remove {
        /// The task
        name: String,
    },
    /// Run a task now
    Run {
        /// The task
        name: String,
        #[arg(long, value_name = "LEVEL", default_value = "incr")]
        level: LevelChoice,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
}

#[derive(clap::Args, Debug, Default)]
pub struct OptionArguments {
    /// Leave out what matches, in the syntax of gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Leave out folders that a CACHEDIR.TAG marks
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    exclude_caches: Option<bool>,
    /// Do not descend into other file systems
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    one_file_system: Option<bool>,
    /// Leave out larger files, such as 500MB or 2GiB; 0: no limit
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_file_size: Option<u64>,
    /// The datastore that takes the savesets [default: the only one]
    #[arg(long)]
    datastore: Option<String>,
    /// Only this drive of it
    #[arg(long, value_name = "NUMBER")]
    drive: Option<u32>,
    /// Any drive of this drive group, in place of a datastore
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["datastore", "drive"])]
    drive_group: Option<String>,
    /// The media pool of its savesets, which says how long they live and perhaps where they go [default:
    /// default]
    #[arg(long)]
    pool: Option<String>,
    /// Days for which a saveset cannot be removed
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Send the data by this interface of the device, or by this protocol (http, https); may be
    /// repeated, in order of preference; 'default': as the client says
    #[arg(long = "interface", value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// Run this on the client before anything is read, and read nothing if it fails: a command's name in
    /// the policy of the client's owner; 'none': nothing
    #[arg(long, value_name = "COMMAND")]
    pre_command: Option<String>,
    /// Run this on the client afterwards, whatever became of the backup; 'none': nothing
    #[arg(long, value_name = "COMMAND")]
    post_command: Option<String>,
    /// Seconds after which each of the two is ended; 0: as the policy says, else 3600
    #[arg(long, value_name = "SECONDS")]
    command_timeout: Option<u32>,
    /// Green only with a good backup not older than so many hours; 0: not asked for [default: 48]
    #[arg(long, value_name = "HOURS")]
    green_backup: Option<u32>,
    /// Green only when each replication of it has a backup not older than so many hours [default: 48]
    #[arg(long, value_name = "HOURS")]
    green_replication: Option<u32>,
    /// Green only with a check not older than so many days that found a saveset whole [default: 30]
    #[arg(long, value_name = "DAYS")]
    green_verification: Option<u32>,
    /// Green only with a restore drill not older than so many days that passed [default: 90]
    #[arg(long, value_name = "DAYS")]
    green_restore_test: Option<u32>,
}

/// Where savesets go, and in which pool they are.
pub struct Place {
    pub datastore: Option<String>,
    pub drive: Option<u32>,
    pub drive_group: Option<String>,
    pub pool: Option<String>,
}

impl OptionArguments {
    /// Excludes, options, place and days for a backup that keeps no task.
    pub fn into_parts(self) -> (Vec<String>, TaskOptions, Place, u32) {
        let mut options = TaskOptions::default();
        self.apply(&mut options);
        let Self { datastore, drive, drive_group, pool, .. } = self;
        (
            self.exclude,
            options,
            Place { datastore, drive, drive_group, pool },
            self.keep_days.unwrap_or(0),
        )
    }

    /// The options that were given, as they are typed.
    pub fn given(&self) -> Vec<&'static str> {
        [
            ("--exclude", !self.exclude.is_empty()),
            ("--exclude-caches", self.exclude_caches.is_some()),
            ("--one-file-system", self.one_file_system.is_some()),
            ("--max-file-size", self.max_file_size.is_some()),
            ("--datastore", self.datastore.is_some()),
            ("--drive", self.drive.is_some()),
            ("--drive-group", self.drive_group.is_some()),
            ("--pool", self.pool.is_some()),
            ("--keep-days", self.keep_days.is_some()),
            ("--interface", !self.interfaces.is_empty()),
            ("--pre-command", self.pre_command.is_some()),
            ("--post-command", self.post_command.is_some()),
            ("--command-timeout", self.command_timeout.is_some()),
            ("--green-backup", self.green_backup.is_some()),
            ("--green-replication", self.green_replication.is_some()),
            ("--green-verification", self.green_verification.is_some()),
            ("--green-restore-test", self.green_restore_test.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect()
    }

    fn apply(&self, options: &mut TaskOptions) {
        if let Some(set) = self.exclude_caches {
            options.exclude_caches = set;
        }
        if let Some(set) = self.one_file_system {
            options.one_file_system = set;
        }
        if let Some(bytes) = self.max_file_size {
            options.file_bytes_max = Some(bytes).filter(|bytes| *bytes > 0);
        }
        if !self.interfaces.is_empty() {
            options.interfaces.clone_from(&self.interfaces);
            options.interfaces.retain(|choice| choice != "default");
        }
        let named = |given: &String| Some(given.clone()).filter(|name| name != "none");
        if let Some(given) = &self.pre_command {
            options.pre_command = named(given);
        }
        if let Some(given) = &self.post_command {
            options.post_command = named(given);
        }
        if let Some(seconds) = self.command_timeout {
            options.command_timeout_s = Some(seconds).filter(|seconds| *seconds > 0);
        }
        let green = &mut options.green;
        green.backup_hours = self.green_backup.or(green.backup_hours);
        green.replication_hours = self.green_replication.or(green.replication_hours);
        green.verification_days = self.green_verification.or(green.verification_days);
        green.restore_test_days = self.green_restore_test.or(green.restore_test_days);
    }
}

pub async fn run(cx: &Context, verb: TaskVerb) -> Result<u8, Failure> {
    match verb {
        TaskVerb::Add {
            name,
            client,
            sources,
            stream,
            external,
            self_backup,
            redirect,
            options,
        } => {
            let mut request = new_task(cx, name, client, &sources, stream, options).await?;
            if external {
                request.kind = TargetKind::Stream;
                request.sources = vec![request.name.clone()];
                request.options.external = true;
                request.options.redirect = redirect.unwrap_or(false);
            }
            if self_backup {
                request.kind = TargetKind::Stream;
                request.sources = vec![simsim_server::SELF_BACKUP_SOURCE.to_owned()];
                request.options.self_backup = true;
            }
            one(cx, cx.ask("task.add", &request).await?)
        }
        TaskVerb::List(wanted) => {
            let request = wanted.request();
            let tasks: Vec<TaskView> = cx.ask("task.list", &request).await?;
            cx.show(&tasks, |screen, tasks| {
                if tasks.is_empty() {
                    lists::nothing(
                        screen,
                        &request,
                        "no tasks; add one: simsim task add NAME PATH",
                    );
                    return Ok(());
                }
                screen.table(&table(tasks))
            })?;
            Ok(exit::DONE)
        }
        TaskVerb::Show { name } => one(cx, cx.ask("task.show", &TaskNameRequest { name }).await?),
        TaskVerb::Change { name, sources, redirect, options, no_excludes } => {
            let there: TaskView = cx.ask("task.show", &TaskNameRequest { name }).await?;
            let pool = match &options.pool {
                Some(name) => {
                    let request = PoolNameRequest { name: name.clone() };
                    Some(cx.ask::<PoolView>("pool.show", &request).await?)
                }
                None => None,
            };
            let mut request = changed(there, pool.as_ref(), &sources, options, no_excludes)?;
            request.options.redirect = redirect.unwrap_or(request.options.redirect);
            one(cx, cx.ask("task.change", &request).await?)
        }
        TaskVerb::Remove { name } => {
            let _: () = cx.ask("task.delete", &TaskNameRequest { name: name.clone() }).await?;
            cx.show(&serde_json::json!({ "removed": name }), |screen, _| {
                screen.line(format!("task '{name}' is removed; its savesets stay"))
            })?;
            Ok(exit::DONE)
        }
        TaskVerb::Run { name, level, detach } => {
            let request = RunTaskRequest { task: name, level: level.level() };
            let reply: JobReply = cx.ask("task.run", &request).await?;
            follow::run_to_end(cx, reply, detach).await
        }
    }
}

async fn new_task(
    cx: &Context,
    name: String,
    client: Option<String>,
    sources: &[PathBuf],
    stream: Option<String>,
    options: OptionArguments,
) -> Result<TaskRequest, Failure> {
    let sources = sources
        .iter()
        .map(|path| match &client {
            Some(client) => paths::of_other_host(path, client),
            None => paths::of_this_host(path),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let client = match client {
        Some(client) => client,
        None => own_client(cx).await?,
    };
    let (kind, sources) = match &stream {
        Some(_) => (TargetKind::Stream, vec![name.clone()]),
        None => (TargetKind::Path, sources),
    };
    let (excludes, mut options, place, eol_days) = options.into_parts();
    options.stream_command = stream;
    let Place { datastore, drive, drive_group, pool } = place;
    Ok(TaskRequest {
        name,
        client,
        kind,
        sources,
        excludes,
        options,
        datastore,
        drive,
        drive_group,
        pool,
        eol_days,
    })
}

/// The name of the client on the server's own host.
async fn own_client(cx: &Context) -> Result<String, Failure> {
    let status: simsim_server::api::Status = cx.ask_plain("status").await?;
    Ok(status.own_client)
}

fn changed(
    there: TaskView,
    pool: Option<&PoolView>,
    sources: &[PathBuf],
    options: OptionArguments,
    no_excludes: bool,
) -> Result<TaskRequest, Failure> {
    let mut request = TaskRequest {
        name: there.name,
        client: there.client,
        kind: there.kind,
        sources: there.sources,
        excludes: there.excludes,
        options: there.options,
        datastore: Some(there.datastore).filter(|_| there.drive_group.is_none()),
        drive: there.drive,
        drive_group: there.drive_group,
        pool: there.pool,
        eol_days: there.eol_days,
    };
    if !sources.is_empty() {
        request.sources = sources
            .iter()
            .map(|path| paths::of_other_host(path, &request.client))
            .collect::<Result<_, _>>()?;
    }
    options.apply(&mut request.options);
    if no_excludes || !options.exclude.is_empty() {
        request.excludes = options.exclude;
    }
    if let Some(pool) = pool {
        request.pool = Some(pool.name.clone());
        // Where it says where its backups go, the task's own place counts no more.
        if pool.datastore.is_some() || pool.drive_group.is_some() {
            (request.datastore, request.drive, request.drive_group) = (None, None, None);
        }
    }
    if options.datastore.is_some() {
        (request.datastore, request.drive_group) = (options.datastore, None);
    }
    if options.drive.is_some() {
        (request.drive, request.drive_group) = (options.drive, None);
    }
    if options.drive_group.is_some() {
        request.drive_group = options.drive_group;
        (request.datastore, request.drive) = (None, None);
    }
    if let Some(days) = options.keep_days {
        request.eol_days = days;
    }
    Ok(request)
}

fn one(cx: &Context, task: TaskView) -> Result<u8, Failure> {
    cx.show(&task, task_text)?;
    Ok(exit::DONE)
}

fn task_text(screen: &Screen, task: &TaskView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Task ").bold(&task.name))?;
    let options = &task.options;
    let mut further = Vec::new();
    if options.exclude_caches {
        further.push("without caches".to_owned());
    }
    if options.one_file_system {
        further.push("one file system".to_owned());
    }
    if let Some(bytes) = options.file_bytes_max {
        further.push(format!("files up to {}", size(bytes)));
    }
    if let Some(command) = &options.stream_command {
        further.push(format!("what command '{command}' writes"));
    }
    if let Some(command) = &options.pre_command {
        further.push(format!("first '{command}'"));
    }
    if let Some(command) = &options.post_command {
        further.push(format!("then '{command}'"));
    }
    if options.external {
        further.push(match options.redirect {
            true => "sent to the host of the datastore, which gets the key".to_owned(),
            false => "sealed by the server".to_owned(),
        });
    }
    let several = |texts: &[String]| texts.join("  ").into();
    screen.lines(facts(&[
        ("client", task.client.as_str().into()),
        ("backs up", backs_up(task, "  ").into()),
        ("leaves out", several(&task.excludes)),
        ("options", further.join(", ").into()),
        ("into", datastore_and_drive(task).into()),
        ("pool", task.pool.as_deref().unwrap_or("default").into()),
        (
            "kept for",
            if task.eol_days == 0 {
                Text::new()
            } else {
                counted(task.eol_days.into(), "day").into()
            },
        ),
        ("added", when(task.created_unix_ms).into()),
        ("last backup", last_job(task)),
        ("green", green(task)),
    ]))?;
    for found in task.health.findings.iter().filter(|found| !found.good) {
        screen.line(Text::from("  • ").plain(&found.words))?;
    }
    Ok(())
}

fn green(task: &TaskView) -> Text {
    let health = &task.health;
    match health.not_green_since_unix_ms {
        Some(since) if !health.green => {
            let missing: Vec<&str> = health
                .findings
                .iter()
                .filter(|found| !found.good)
                .map(|found| found.aspect.as_str())
                .collect();
            let style = if health.overdue { Style::Bad } else { Style::Warn };
            Text::styled(style, "no").plain(format!(
                ", since {}: {}",
                when(since),
                missing.join(", ")
            ))
        }
        _ => Text::styled(Style::Good, "yes"),
    }
}

fn backs_up(task: &TaskView, between: &str) -> String {
    match (task.options.external, task.options.self_backup) {
        (true, _) => "raw streams from outside".to_owned(),
        (_, true) => "the server itself".to_owned(),
        (false, false) => task.sources.join(between),
    }
}

fn datastore_and_drive(task: &TaskView) -> String {
    match (&task.drive_group, task.drive) {
        (Some(group), _) => format!("drive group {group}"),
        (None, Some(drive)) => format!("{}, drive {drive}", task.datastore),
        (None, None) => task.datastore.clone(),
    }
}

fn last_job(task: &TaskView) -> Text {
    match (task.last_job, &task.last_state) {
        (Some(job), Some(state)) => {
            let state = words::state(simsim_catalog::JobState::from(state.clone()));
            Text::from(format!("{job}, ")).then(state)
        }
        _ => Text::styled(Style::Dim, "never run"),
    }
}

fn table(tasks: &[TaskView]) -> Table {
    let mut table = Table::new([
        Column::new("TASK").cut_to(10),
        Column::new("CLIENT").cut_to(8).rank(1),
        Column::new("BACKS UP").cut_to(16).rank(2),
        Column::new("INTO").cut_to(8).rank(3),
        Column::new("LAST BACKUP"),
        Column::new("GREEN").cut_to(12).rank(4),
    ]);
    for task in tasks {
        table.row([
            Text::new().bold(&task.name),
            task.client.as_str().into(),
            backs_up(task, " ").into(),
            datastore_and_drive(task).into(),
            last_job(task),
            green(task),
        ]);
    }
    table
}
