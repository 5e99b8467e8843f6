//! `simsim client code | list | revoke`.

use serde_json::{Value, json};

use super::Context;
use crate::exit::{self, Failure};

#[derive(clap::Subcommand)]
pub enum ClientVerb {
    /// Make a one-time code with which the host NAME can join
    Code {
        /// Without it, the code serves for any name that is free
        name: Option<String>,
    },
    /// List enrolled hosts
    List,
    /// Take all rights from a client, now; its savesets stay
    Revoke { name: String },
}

pub fn run(verb: ClientVerb, context: &Context) -> Result<u8, Failure> {
    match verb {
        ClientVerb::Code { name } => {
            let reply = context.ask("client.join-code", &json!({ "name": name }))?;
            println!("{}", reply["code"].as_str().unwrap_or_default());
        }
        ClientVerb::List => println!("{:#}", context.ask("client.list", &Value::Null)?),
        ClientVerb::Revoke { name } => {
            println!("{:#}", context.ask("client.revoke", &json!({ "name": name }))?);
        }
    }
    Ok(exit::DONE)
}
