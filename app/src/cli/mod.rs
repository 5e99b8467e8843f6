//! Verbs of the command line: each asks the server through its local socket and shows the answer.

mod clients;
mod status;

pub use clients::ClientVerb;

use simsim_console::{ConsoleError, LocalClient};

use crate::exit::Failure;
use crate::state::State;

/// What a verb needs to know besides its own arguments.
pub struct Context {
    /// The way to the server.
    pub console: LocalClient,
}

impl Context {
    pub fn new(state: &State) -> Self {
        Self { console: state.console() }
    }

    /// Asks the server a verb that answers once.
    pub fn ask(&self, verb: &str, body: &serde_json::Value) -> Result<serde_json::Value, Failure> {
        Ok(runtime()?.block_on(self.console.call(verb, body))?)
    }
}

/// A runtime for one verb.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

impl From<ConsoleError> for Failure {
    fn from(error: ConsoleError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Show how the suite is, and what somebody should act on
    Status(status::Arguments),
}

/// Runs a verb to its exit status.
pub fn run(verb: Verb, state: &State) -> Result<u8, Failure> {
    let context = Context::new(state);
    match verb {
        Verb::Status(arguments) => status::run(&arguments, &context),
    }
}

/// Runs a verb of `simsim client`.
pub fn run_client(verb: ClientVerb, state: &State) -> Result<u8, Failure> {
    clients::run(verb, &Context::new(state))
}
