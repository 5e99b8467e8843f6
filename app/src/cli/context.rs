//! What every verb has at hand: the way to the server, and the screen.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use simsim_console::ConsoleError;
use simsim_model::Kind;

use super::screen::{ColorChoice, Screen};
use super::way::Way;
use crate::exit::Failure;

/// Heading of the options that every verb has.
pub const GLOBAL: &str = "Options of every verb";

/// Options of every verb.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct CommonArguments {
    /// Print JSON documents instead of text (docs/reference/json.md)
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// When to colour
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub color: ColorChoice,
    #[command(flatten)]
    pub server: super::way::ServerArguments,
}

impl CommonArguments {
    pub fn screen(&self) -> Screen {
        Screen::new(self.json, self.color)
    }
}

/// One run of a verb.
pub struct Context {
    console: Way,
    pub screen: Screen,
}

impl Context {
    pub fn new(console: Way, common: &CommonArguments) -> Self {
        Self { console, screen: common.screen() }
    }

    pub fn console(&self) -> &Way {
        &self.console
    }

    /// Asks the server a verb that answers once.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        request: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_value(request).map_err(defect)?;
        let answer = self.console.call(verb, &body).await.map_err(|error| hinted(error.into()))?;
        serde_json::from_value(answer).map_err(|error| {
            let text = format!("the server answers '{verb}' in a way that this command line does not understand: {error}");
            Failure::new(Kind::Internal, text)
                .next("run the server and the command line from the same version")
        })
    }

    /// Asks a verb that takes nothing.
    pub async fn ask_plain<T: DeserializeOwned>(&self, verb: &str) -> Result<T, Failure> {
        self.ask(verb, &Value::Null).await
    }

    /// Asks for what stands in text beside an answer, and in no document: nothing where that is not for who asks.
    pub async fn beside<T: DeserializeOwned>(
        &self,
        verb: &str,
        request: &impl Serialize,
    ) -> Result<Vec<T>, Failure> {
        if self.screen.is_json() {
            return Ok(Vec::new());
        }
        match self.ask(verb, request).await {
            Err(failure) if failure.kind == Kind::Denied => Ok(Vec::new()),
            answer => answer,
        }
    }

    /// Shows an answer: the document, or what `text` makes of it.
    pub fn show<T: Serialize>(
        &self,
        answer: &T,
        text: impl FnOnce(&Screen, &T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.screen.is_json() {
            self.screen.document(answer)
        } else {
            text(&self.screen, answer)
        }
    }
}

/// By what the server calls a thing, the verb that lists those there are.
const LISTS: [(&str, &str); 22] = [
    ("API token", "simsim api-token list"),
    ("approval", "simsim approval list"),
    ("calendar", "simsim calendar list"),
    ("client", "simsim client list"),
    ("command", "simsim command list"),
    ("datastore", "simsim datastore list"),
    ("drive", "simsim datastore list"),
    ("drive group", "simsim drive-group list"),
    ("event", "simsim event list"),
    ("identity provider", "simsim identity-provider list"),
    ("interface", "simsim interface list"),
    ("job", "simsim jobs"),
    ("location", "simsim location list"),
    ("media pool", "simsim pool list"),
    ("migration", "simsim migration list"),
    ("notification", "simsim notification list"),
    ("replication", "simsim replication list"),
    ("schedule", "simsim schedule list"),
    ("task", "simsim task list"),
    ("task group", "simsim task-group list"),
    ("token", "simsim token list"),
    ("user", "simsim user list"),
];

/// A failure with the verb that helps, where the server says that a thing is not there.
fn hinted(failure: Failure) -> Failure {
    if failure.kind != Kind::NotFound {
        return failure;
    }
    if failure.message.ends_with(" is not in this saveset") {
        return failure.next("look what is there: simsim ls SAVESET FOLDER");
    }
    let Some(rest) = failure.message.strip_prefix("there is no ") else { return failure };
    if rest.starts_with("datastore yet") {
        return failure.next("make one: simsim datastore create NAME FOLDER");
    }
    // A task group is no task: the whole noun counts, up to the name.
    let noun = rest.split_once(" '").map_or(rest, |(noun, _)| noun);
    let list = LISTS.iter().find(|(known, _)| *known == noun).map(|(_, verb)| *verb);
    let is_answer = rest.contains(" 'true'") || rest.contains(" 'false'");
    let failure = match list {
        Some(verb) => failure.next(format!("those there are: {verb}")),
        None => failure,
    };
    match is_answer {
        true => failure.next("what an option is to be is joined to it by '=': --all=true"),
        false => failure,
    }
}

pub fn defect(error: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Internal, error.to_string())
}

impl From<ConsoleError> for Failure {
    fn from(error: ConsoleError) -> Self {
        let kind = error.kind();
        match error {
            ConsoleError::NoServer { socket, source }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Failure::new(
                    Kind::Denied,
                    format!("the server's socket {socket} is not yours to use"),
                )
                .next("run this as the user that the server runs as, such as with sudo")
            }
            ConsoleError::NoServer { socket, source } => {
                let why = match source.kind() {
                    std::io::ErrorKind::NotFound => "there is no such socket".to_owned(),
                    std::io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
                    _ => source.to_string(),
                };
                let is_client = std::path::Path::new(&socket)
                    .parent()
                    .is_some_and(|state| state.join("enrolment.json").exists());
                let (who, verb) = match is_client {
                    true => ("client", "simsim client"),
                    false => ("server", "simsim server"),
                };
                Failure::new(kind, format!("no {who} answers at {socket}: {why}"))
                    .next(format!("start it on this host: {verb}"))
                    .next("if its state lies elsewhere, name the folder: --state DIR")
            }
            ConsoleError::Broken { .. } => Failure::new(kind, error.to_string())
                .next("see whether the server still runs: simsim status"),
            ConsoleError::Away { .. } => Failure::new(kind, error.to_string()).next(
                "the server listens for others where 'listen.console' of its settings says so",
            ),
            ConsoleError::NotTheServer { .. } => Failure::new(kind, error.to_string()).next(
                "give the pin that 'simsim api-token create' shows on the server's host, or its \
                 certificate: --server-pin, --server-ca",
            ),
            other => Failure::new(kind, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_is_not_there_has_the_list_of_its_own_kind() {
        let hints = |message: &str| hinted(Failure::new(Kind::NotFound, message)).next;
        assert_eq!(
            hints("there is no task group 'x'"),
            ["those there are: simsim task-group list"]
        );
        assert_eq!(hints("there is no task 'x'"), ["those there are: simsim task list"]);
        assert_eq!(
            hints("there is no drive group 'x'"),
            ["those there are: simsim drive-group list"]
        );
        assert_eq!(hints("there is no event 'x'; did you mean 'y'?").len(), 1);
        assert_eq!(hints("there is no task 'true'").len(), 2);
        assert_eq!(hints("there is no key of yours"), [""; 0]);
        assert_eq!(hints("there is no datastore yet").len(), 1);
        let other = hinted(Failure::new(Kind::Invalid, "there is no task 'x'"));
        assert_eq!(other.next, [""; 0]);
    }

    #[test]
    fn every_list_that_is_named_is_a_verb() {
        let command = crate::CommandLine::command();
        for (noun, verb) in LISTS {
            let mut here = &command;
            for word in verb.split(' ').skip(1) {
                let found = here.get_subcommands().find(|one| one.get_name() == word);
                here = found.unwrap_or_else(|| panic!("{noun}: there is no verb '{verb}'"));
            }
        }
    }
}
