//! `simsim status`.

use serde_json::Value;

use super::Context;
use crate::exit::{self, Failure};

#[derive(clap::Args)]
pub struct Arguments {
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, context: &Context) -> Result<u8, Failure> {
    let status = context.ask("status", &Value::Null)?;
    if arguments.json {
        println!("{status:#}");
        return Ok(exit::DONE);
    }
    let Some(fields) = status.as_object() else { return Ok(exit::DONE) };
    for (name, value) in fields.iter().filter(|(name, _)| *name != "warnings") {
        println!("{name:18} {value}");
    }
    for warning in status["warnings"].as_array().into_iter().flatten() {
        println!("warning: {}", warning.as_str().unwrap_or_default());
    }
    Ok(exit::DONE)
}
