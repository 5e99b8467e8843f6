//! `simsim client join`: this host becomes known to a server, by a one-time code.
//!
//! It dials the server's control port, or, where it says that it will call the server, the port that it
//! will call. It is one or the other, and none stands in for the other: what does not come about is an
//! error that names the port and the two hosts.

use std::io::{BufRead, IsTerminal};
use std::path::Path;

use simsim_control::join::{Joined, Joiner};
use simsim_control::verbs::Roles;
use simsim_control::{ControlError, Hello, Identity, JoinCode, Timing};
use simsim_model::Kind;
use simsim_model::port_registry::{HTTPS, Listen, SMSSH};
use simsim_net::outbound::{Purpose, begin};

use super::enrolment::Enrolment;
use super::node::platform;
use super::outbound::dial;
use super::settings::{ListenAddress, Settings, host_of, with_port};
use crate::cli::Screen;
use crate::exit::{self, Failure};
use crate::state::State;

/// What `simsim client join` is told.
#[derive(clap::Args, Debug)]
pub struct JoinArguments {
    /// Host name or address of the server; a port only where it is not the usual one
    #[arg(value_name = "SERVER[:PORT]")]
    server: String,
    /// The code that 'simsim client code NAME' printed on the server; without it, it is read from
    /// standard input
    #[arg(long)]
    code: Option<String>,
    /// The name of this host at the server [default: from the settings, else the host's name]
    #[arg(long)]
    name: Option<String>,
    /// Where the client of this host listens, when it does not run yet and its settings do not say
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<ListenAddress>,
    /// Call the server and keep that connection, because nobody can dial this host (access mode
    /// OUTBOUND): on TCP port 11443 of the server, or another one, or of the RDS that passes its calls on.
    /// It joins there too, and dials no other port
    #[arg(long, value_name = "SERVER[:PORT]", num_args = 0..=1, require_equals = true,
          default_missing_value = "")]
    outbound: Option<String>,
    /// Obey this server from now on and no longer the one that was joined before
    #[arg(long)]
    replace: bool,
}

/// Joins. The key of this host is made here where there is none yet; a client that runs already
/// obeys from this moment on.
pub fn join(arguments: &JoinArguments, state: &State, screen: &Screen) -> Result<u8, Failure> {
    let invalid = |text: String| Failure::new(Kind::Invalid, text);
    if state.is_of_server() {
        let text = format!(
            "{} is a server's state: its own client is enrolled already",
            state.folder().display()
        );
        return Err(invalid(text));
    }
    state.make_for_service()?;
    let settings = Settings::load(None, state)?;
    let code = match &arguments.code {
        Some(code) => code.clone(),
        None => read_code()?,
    };
    let code = JoinCode::parse(&code).map_err(|error| invalid(error.to_string()))?;
    let file = Enrolment::file(state);
    let before = Enrolment::load(&file)?;
    let other = before
        .as_ref()
        .and_then(Enrolment::key)
        .filter(|key| key.short_fingerprint() != *code.server_fingerprint());
    if let (Some(before), Some(_), false) = (&before, other, arguments.replace) {
        let text = format!(
            "this host obeys the server '{}' as '{}': to obey another one from now on, say \
             --replace",
            before.server, before.name
        );
        return Err(Failure::new(Kind::Denied, text));
    }
    let before_name = before.as_ref().map(|before| before.name.clone());
    let name = match (&arguments.name, before_name) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name,
        (None, None) => settings.name_or_host(),
    };
    if !simsim_control::join::is_name(&name) {
        return Err(invalid(format!("'{name}' cannot be a host's name: give another with --name")));
    }
    let holder = state.holder();
    let port = match (&holder, arguments.listen) {
        (Some(holder), _) if holder.control_port != 0 => holder.control_port,
        (_, Some(listen)) => listen.port.unwrap_or(SMSSH.ports.first()),
        _ => settings.smssh().first().map_or(SMSSH.ports.first(), |address| address.port()),
    };
    let device = holder.as_ref().is_some_and(|holder| holder.role == "rds");
    let roles = if device { Roles::RDS } else { Roles::CLIENT };
    let key_file = state.file("identity");
    let identity = Identity::load_or_create(&key_file)?;
    state.give_to_owner(&key_file)?;
    let outbound = arguments.outbound.as_ref().map(|given| match given.as_str() {
        "" => with_port(host_of(&arguments.server), &HTTPS),
        given => with_port(given, &HTTPS),
    });
    let platform = platform();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let joiner = Joiner {
        identity: &identity,
        hello: Hello::new(name.clone(), roles),
        name: &name,
        listen_port: port,
        platform: &platform,
        outbound: outbound.is_some(),
    };
    let joined = match &outbound {
        Some(address) => runtime.block_on(join_by_call(address, &code, &joiner))?,
        None => {
            let address = with_port(&arguments.server, &SMSSH);
            let addresses = std::slice::from_ref(&address);
            let joining = simsim_control::join(addresses, &code, &joiner, Timing::default());
            runtime.block_on(joining).map_err(|error| failed(error, &name, &address, &SMSSH))?
        }
    };
    let server_key = joined.server_key;
    simsim_model::failpoint::hit("client.joined");
    Enrolment {
        server: joined.server_name.clone(),
        server_key: server_key.to_string(),
        name: name.clone(),
        port,
        outbound: outbound.clone().into_iter().collect(),
    }
    .save(&file)?;
    state.give_to_owner(&file)?;
    if screen.is_json() {
        screen.document(&serde_json::json!({
            "server": joined.server_name,
            "server_fingerprint": server_key.fingerprint(),
            "name": name,
            "fingerprint": identity.fingerprint(),
            "port": port,
            "outbound": outbound,
            "obeyed_by": holder.as_ref().map(|holder| &holder.role),
        }))?;
        screen.flush()?;
        return Ok(exit::DONE);
    }
    screen.line(format!("This host is '{name}' at the server '{}'.", joined.server_name))?;
    screen.line(format!("  server's key  {}", server_key.fingerprint()))?;
    screen.line(format!("  own key       {}", identity.fingerprint()))?;
    match (&holder, &outbound) {
        (Some(holder), Some(server)) => screen.line(format!(
            "The simsim {} that runs here (process {}) calls it at {server} from now on.",
            holder.role, holder.pid
        ))?,
        (None, Some(server)) => {
            screen.line(format!("Its client calls the server at {server} once it runs:"))?;
            screen.line(format!("  simsim --state {} client", state.folder().display()))?;
        }
        (Some(holder), None) => screen.line(format!(
            "The simsim {} that runs here (process {}) obeys it from now on, on port {port}.",
            holder.role, holder.pid
        ))?,
        (None, None) => {
            screen.line(format!("The server reaches it on port {port} once its client runs:"))?;
            let listen = arguments.listen.map(|listen| format!(" --listen {listen}"));
            let folder = state.folder().display();
            let listen = listen.unwrap_or_default();
            screen.line(format!("  simsim --state {folder} client{listen}"))?;
            let booted = Path::new("/run/systemd/system").is_dir();
            if booted && state.is_of_host() && arguments.listen.is_none() {
                screen.line("or as a service, where the unit is installed:")?;
                screen.line("  systemctl enable --now simsim-client")?;
            }
        }
    }
    screen.flush()?;
    Ok(exit::DONE)
}

/// Joins where this host will call.
async fn join_by_call(
    address: &str,
    code: &JoinCode,
    joiner: &Joiner<'_>,
) -> Result<Joined, Failure> {
    let name = joiner.name;
    let lost = |why: String| {
        let advice = format!(
            "The code must be one of 'simsim client code {name} --outbound', for which the plan opens that \
             port, and the server, or the RDS that passes calls on, must listen there ('listen.{}')",
            HTTPS.id
        );
        Failure::new(
            Kind::Unreachable,
            format!("{}. {advice}", blocked(name, address, &HTTPS, &why)),
        )
    };
    let mut wire = dial(&[address.to_owned()]).await.map_err(lost)?;
    begin(&mut wire, Purpose::Join).await.map_err(|error| lost(error.to_string()))?;
    let joined =
        simsim_control::join::join_over(wire, address, code, joiner, Timing::default()).await;
    joined.map_err(|error| failed(error, name, address, &HTTPS))
}

/// The words for a join that did not come about.
fn failed(error: ControlError, name: &str, address: &str, row: &Listen) -> Failure {
    match error {
        ControlError::Dial(_) | ControlError::TimedOut { .. } | ControlError::Handshake { .. } => {
            let text = blocked(name, address, row, &error.to_string());
            Failure::new(error.kind(), text)
        }
        _ if error.kind() == Kind::Denied => {
            let hint = format!("(this host asked as '{name}'; for another name say --name)");
            Failure::new(Kind::Denied, format!("{error} {hint}"))
        }
        error => Failure::from(error),
    }
}

/// The port, the direction and the two hosts, as in every error about a connection that did not come about.
fn blocked(name: &str, address: &str, row: &Listen, why: &str) -> String {
    let server = host_of(address);
    let port = address.rsplit_once(':').map_or(address, |(_, port)| port);
    format!(
        "'{name}' does not reach '{server}' on TCP port {port} ({}): {why}. What firewalls must let \
         through shows 'simsim ports plan' on the server",
        row.id
    )
}

fn read_code() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        eprint!("Join code: ");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim().is_empty() {
        return Err(Failure::new(
            Kind::Invalid,
            "there is no join code: make one on the server with 'simsim client code NAME'",
        ));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_port_is_added_where_none_is_given() {
        let usual = SMSSH.ports.first();
        let with_port = |server| with_port(server, &SMSSH);
        assert_eq!(with_port("vault"), format!("vault:{usual}"));
        assert_eq!(with_port("vault:7"), "vault:7");
        assert_eq!(with_port("192.0.2.1"), format!("192.0.2.1:{usual}"));
        assert_eq!(with_port("::1"), format!("[::1]:{usual}"));
        assert_eq!(with_port("[::1]"), format!("[::1]:{usual}"));
        assert_eq!(with_port("[::1]:7"), "[::1]:7");
        for server in ["::1", "[::1]", "[::1]:7"] {
            assert_eq!(host_of(server), "::1");
        }
        assert_eq!((host_of("vault"), host_of("vault:7")), ("vault", "vault"));
    }
}
