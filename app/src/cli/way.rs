//! The way to the server: the local socket of this host, or the console port of a server elsewhere.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use simsim_console::{ConsoleError, LocalClient, RemoteClient, SecretText, ServerProof};
use simsim_model::Kind;
use simsim_model::port_registry::CONSOLE;

use super::context::GLOBAL;
use super::text::plain;
use crate::exit::Failure;
use crate::state::State;

const SERVER_VARIABLE: &str = "SIMSIM_SERVER";
const TOKEN_VARIABLE: &str = "SIMSIM_TOKEN_FILE";
const PIN_VARIABLE: &str = "SIMSIM_SERVER_PIN";
/// A file with a token is small.
const FILE_BYTES_MAX: u64 = 4096;

/// A server elsewhere.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct ServerArguments {
    /// Ask this server, over TLS, and not the one of this host [env: SIMSIM_SERVER]
    #[arg(
        long = "server",
        global = true,
        help_heading = GLOBAL,
        value_name = "https://HOST[:PORT]"
    )]
    pub remote: Option<String>,
    /// The file with the API token, for its owner only [env: SIMSIM_TOKEN_FILE]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The server shows this key: its SHA-256 [env: SIMSIM_SERVER_PIN]
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_name = "PIN",
        conflicts_with = "server_ca"
    )]
    pub server_pin: Option<String>,
    /// The server's certificate, or that of the authority that signed it, PEM
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    pub server_ca: Option<PathBuf>,
}

/// How the server is asked.
pub enum Way {
    Local(LocalClient),
    Remote(RemoteClient),
}

impl Way {
    /// As the options say, else the environment, else the local socket.
    pub fn of(common: &super::CommonArguments, state: &State) -> Result<Self, Failure> {
        let arguments = &common.server;
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(url) = arguments.remote.clone().or_else(|| variable(SERVER_VARIABLE)) else {
            let others = [
                ("--token-file", arguments.token_file.is_some()),
                ("--server-pin", arguments.server_pin.is_some()),
                ("--server-ca", arguments.server_ca.is_some()),
            ];
            if let Some((name, _)) = others.iter().find(|(_, given)| *given) {
                let text = format!("{name} belongs to a server elsewhere, and none is named");
                return Err(
                    Failure::new(Kind::Invalid, text).next("name it: --server https://HOST")
                );
            }
            return Ok(Way::Local(state.console()));
        };
        let token =
            arguments.token_file.clone().or_else(|| variable(TOKEN_VARIABLE).map(Into::into));
        let token = token.ok_or_else(|| {
            let text = format!("the server {} wants to know who asks", plain(&url));
            Failure::new(Kind::Invalid, text)
                .next("name the file with an API token: --token-file FILE")
                .next("make one on the server's host: simsim api-token create NAME --role ROLE")
        })?;
        let proof = match (&arguments.server_ca, &arguments.server_pin) {
            (Some(file), _) => ServerProof::authority(file)?,
            (None, Some(pin)) => ServerProof::pin(pin)?,
            (None, None) => match variable(PIN_VARIABLE) {
                Some(pin) => ServerProof::pin(&pin)?,
                None => {
                    let text = format!("it is not known by which key {} is known", plain(&url));
                    return Err(Failure::new(Kind::Invalid, text).next(
                        "give the pin that 'simsim api-token create' shows on the server's host, or \
                         its certificate: --server-pin PIN, --server-ca FILE",
                    ));
                }
            },
        };
        let token = read_token(&token)?;
        Ok(Way::Remote(RemoteClient::new(&url, CONSOLE.ports.first(), proof, token)?))
    }

    /// The local socket; `None` where the server is elsewhere.
    pub fn local(&self) -> Option<&LocalClient> {
        match self {
            Way::Local(client) => Some(client),
            Way::Remote(_) => None,
        }
    }

    /// One verb, one answer.
    pub async fn call(&self, verb: &str, body: &Value) -> Result<Value, ConsoleError> {
        match self {
            Way::Local(client) => client.call(verb, body).await,
            Way::Remote(client) => client.call(verb, body).await,
        }
    }

    /// One verb, a line of JSON at a time. `each` answers false to stop listening.
    pub async fn lines(
        &self,
        verb: &str,
        body: &Value,
        each: &mut (dyn FnMut(Value) -> bool + Send),
    ) -> Result<(), ConsoleError> {
        match self {
            Way::Local(client) => client.lines(verb, body, each).await,
            Way::Remote(client) => client.lines(verb, body, each).await,
        }
    }
}

/// The token in a file that nobody else can read; also as the header that curl takes.
fn read_token(file: &Path) -> Result<SecretText, Failure> {
    let shown = || plain(&file.to_string_lossy()).into_owned();
    let fail = |error: &std::io::Error| {
        Failure::new(Kind::of_io(error), format!("the token file {}: {error}", shown()))
    };
    let open = std::fs::File::open(file).map_err(|error| fail(&error))?;
    let metadata = open.metadata().map_err(|error| fail(&error))?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        let text = format!("others may read the token file {}", shown());
        return Err(Failure::new(Kind::Denied, text).next(format!("chmod 600 {}", shown())));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    open.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| fail(&error))?;
    let token = text.trim();
    let token = token.strip_prefix("Authorization: Bearer ").unwrap_or(token);
    if token.is_empty() || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let text = format!("there is no API token in {}", shown());
        return Err(Failure::new(Kind::Invalid, text)
            .next("the file holds what 'simsim api-token create' printed, on one line"));
    }
    Ok(SecretText::new(token))
}
