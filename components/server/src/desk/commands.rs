//! Commands: adding, changing, listing, removing and running them. What stands behind a name is written in the
//! policy of the client's owner, and there alone.

use simsim_catalog::{
    Catalog, CatalogError, Command, JobFilter, JobKind, NewCommand, Put, Waiting,
};

use super::datastores::check_name;
use crate::api::{CommandRequest, CommandView, JobReply, NameRequest, TaskOptions};
use crate::clock::now_unix_ms;
use crate::jobs::command_job;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// Longest time limit: a week.
const TIMEOUT_S_MAX: u32 = 7 * 86_400;

impl Server {
    /// Adds a command.
    pub async fn add_command(
        &self,
        who: &Principal,
        request: CommandRequest,
    ) -> Result<CommandView, ServerError> {
        self.put_command(who, "command.add", Put::Add, request).await
    }

    /// Replaces all of a command but its name. Jobs that were queued run as they were.
    pub async fn change_command(
        &self,
        who: &Principal,
        request: CommandRequest,
    ) -> Result<CommandView, ServerError> {
        let name = request.name.clone();
        let there = self.house.books.run(move |catalog| catalog.command(&name)).await?;
        // Whoever may administer one client takes no command away from another.
        let object = Object::Client(&there.client);
        self.may_see(who, Right::Administer, "command.change", object).await?;
        self.put_command(who, "command.change", Put::Change, request).await
    }

    async fn put_command(
        &self,
        who: &Principal,
        verb: &'static str,
        put: Put,
        request: CommandRequest,
    ) -> Result<CommandView, ServerError> {
        check_name(&request.name)?;
        let local_name = request.local_name.unwrap_or_else(|| request.name.clone());
        check_local_name(&local_name)?;
        check_timeout(request.timeout_s)?;
        let detail = format!("'{}': {local_name}", request.name);
        self.may_do(who, Right::Administer, verb, Object::Client(&request.client), detail).await?;
        let new = NewCommand {
            name: request.name,
            client: request.client,
            local_name,
            timeout_s: request.timeout_s,
        };
        self.house
            .books
            .run(move |catalog| view(catalog, catalog.put_command(put, &new, now_unix_ms())?))
            .await
    }

    /// The commands of clients that the caller may see, by name.
    pub async fn commands(&self, who: &Principal) -> Result<Vec<CommandView>, ServerError> {
        let all = |catalog: &Catalog| -> Result<Vec<_>, CatalogError> {
            catalog.commands()?.into_iter().map(|one| view(catalog, one)).collect()
        };
        let mut views = self.house.books.run(all).await?;
        views.retain(|view| who.may(Right::View, Object::Client(&view.client)));
        if views.is_empty() {
            self.may_see(who, Right::View, "list commands", Object::Suite).await?;
        }
        Ok(views)
    }

    /// One command.
    pub async fn command(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<CommandView, ServerError> {
        let one = move |catalog: &Catalog| view(catalog, catalog.command(&request.name)?);
        let view = self.house.books.run(one).await?;
        let object = Object::Client(&view.client);
        self.may_see(who, Right::View, "see a command of", object).await?;
        Ok(view)
    }

    /// Removes a command. `Busy` while an event names it.
    pub async fn delete_command(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<(), ServerError> {
        let name = request.name.clone();
        let there = self.house.books.run(move |catalog| catalog.command(&name)).await?;
        let object = Object::Client(&there.client);
        self.may_do(who, Right::Administer, "command.remove", object, request.name.clone()).await?;
        self.house.books.run(move |catalog| catalog.delete_command(&request.name)).await
    }

    /// Queues a run of a command.
    pub async fn run_command(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<JobReply, ServerError> {
        let name = request.name.clone();
        let command = self.house.books.run(move |catalog| catalog.command(&name)).await?;
        let object = Object::Client(&command.client);
        let detail = format!("'{}': {}", request.name, command.local_name);
        self.may_do(who, Right::Backup, "command.run", object, detail).await?;
        let client = command.client_id;
        let client = self.house.books.run(move |catalog| catalog.client_numbered(client)).await?;
        if !client.is_enrolled() {
            return Err(ServerError::Refused(format!("client '{}' is revoked", client.name)));
        }
        self.queue(command_job(command, who.name().to_owned(), Waiting::default())?).await
    }
}

fn view(catalog: &Catalog, command: Command) -> Result<CommandView, CatalogError> {
    let filter = JobFilter {
        kind: Some(JobKind::Command),
        task_name: Some(command.name.clone()),
        limit: 1,
        ..JobFilter::default()
    };
    let last = catalog.jobs(&filter)?.into_iter().next();
    Ok(CommandView {
        name: command.name,
        client: command.client,
        local_name: command.local_name,
        timeout_s: command.timeout_s,
        created_unix_ms: command.created_unix_ms,
        last_job: last.as_ref().map(|job| job.number),
        last_state: last.map(|job| job.state.as_str().to_owned()),
    })
}

fn check_local_name(name: &str) -> Result<(), ServerError> {
    check_name(name).map_err(|_| {
        ServerError::invalid(format!(
            "'{}' cannot be the name of a command: name one of [commands.NAME] in the policy of the client's \
             owner; command lines stand there and nowhere else",
            name.escape_debug()
        ))
    })
}

fn check_timeout(timeout_s: Option<u32>) -> Result<(), ServerError> {
    match timeout_s {
        None | Some(1..=TIMEOUT_S_MAX) => Ok(()),
        Some(_) => Err(ServerError::invalid(format!(
            "the time limit of a command is 1 to {TIMEOUT_S_MAX} seconds"
        ))),
    }
}

/// What a backup may run before and after.
pub(super) fn check_commands(options: &TaskOptions) -> Result<(), ServerError> {
    for name in [&options.pre_command, &options.post_command].into_iter().flatten() {
        check_local_name(name)?;
    }
    if options.command_timeout_s.is_some() && !options.has_commands() {
        return Err(ServerError::invalid(
            "there is a time limit for commands, but neither a pre-command nor a post-command",
        ));
    }
    if options.external && options.has_commands() {
        return Err(ServerError::invalid(
            "an external task has no commands: no client of the suite works on it",
        ));
    }
    check_timeout(options.command_timeout_s)
}
