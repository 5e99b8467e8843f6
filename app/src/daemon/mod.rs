//! The daemons: `simsim server`, `simsim rds`, `simsim client`.
//!
//! A daemon reads its settings, opens its listeners, says that it is ready, and ends in order at
//! the first SIGTERM, SIGINT or SIGHUP and at once at the second. `compose` is the page on which
//! stands what runs where.

mod client_console;
mod compose;
mod console;
mod drives;
mod enrolment;
mod join;
mod listen;
mod node;
mod outbound;
mod process;
mod settings;
mod witness;

use std::path::PathBuf;
use std::time::Duration;

use simsim_model::Kind;
use simsim_model::port_registry::CTRL;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use compose::{Role, Running};
pub use drives::at_base as drive_address;
pub use enrolment::Enrolment;
pub use join::{JoinArguments, join};
pub use process::hide_memory;
use settings::ListenAddress;
pub use settings::{Settings, host_of};

use crate::exit::{self, Failure, from_error};
use crate::state::State;

from_error!(simsim_control::ControlError, simsim_device::DeviceError, simsim_net::tls::TlsError,);

impl From<simsim_transfer::DataPortsError> for Failure {
    fn from(error: simsim_transfer::DataPortsError) -> Self {
        Self::new(Kind::Invalid, format!("ftp.data_ports: {error}"))
    }
}

impl From<simsim_server::ServerError> for Failure {
    fn from(error: simsim_server::ServerError) -> Self {
        Self::new(error.kind(), error.full_message())
    }
}

/// Options of every daemon.
#[derive(clap::Args, Debug, Default)]
pub struct DaemonArguments {
    /// Listen here for the server's orders (row smssh) instead of where the settings say; may be
    /// repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<ListenAddress>,
    /// Listen here for the server's orders without encryption as well (row ctrl), for a server that
    /// steers this host so; may be repeated [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    ctrl: Vec<ListenAddress>,
    /// The settings file [default: simsim.toml in the state folder; for the state of the host
    /// also /etc/simsim/simsim.toml]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Further options of a host with a device.
#[derive(clap::Args, Debug, Default)]
pub struct DeviceArguments {
    #[command(flatten)]
    daemon: DaemonArguments,
    /// Listen here for backup data (row http); may be repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Vec<ListenAddress>,
    /// Listen here for backup data with TLS (row https); may be repeated [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    https: Vec<ListenAddress>,
    /// Listen here for backup data over FTP (row ftp); may be repeated [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    ftp: Vec<ListenAddress>,
    /// Listen here for the drives of this host (row drive): the number of each is added to the port; may
    /// be repeated [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    drive: Vec<ListenAddress>,
}

/// Further options of a server.
#[derive(clap::Args, Debug, Default)]
pub struct ServerArguments {
    #[command(flatten)]
    device: DeviceArguments,
    /// Listen here for browsers (row console); may be repeated [default: loopback only]
    #[arg(long, value_name = "ADDRESS:PORT")]
    console: Vec<ListenAddress>,
}

impl From<DaemonArguments> for ServerArguments {
    fn from(daemon: DaemonArguments) -> Self {
        DeviceArguments { daemon, ..DeviceArguments::default() }.into()
    }
}

impl From<DeviceArguments> for ServerArguments {
    fn from(device: DeviceArguments) -> Self {
        Self { device, console: Vec::new() }
    }
}

impl ServerArguments {
    /// The settings, with what the command line says in their place.
    fn settings(&self, state: &State) -> Result<Settings, Failure> {
        let mut settings = Settings::load(self.device.daemon.settings.as_deref(), state)?;
        let listen = &mut settings.listen;
        for (given, kept) in [
            (&self.device.daemon.listen, &mut listen.smssh),
            (&self.device.daemon.ctrl, &mut listen.ctrl),
            (&self.device.http, &mut listen.http),
            (&self.device.https, &mut listen.https),
            (&self.device.ftp, &mut listen.ftp),
            (&self.device.drive, &mut listen.drive),
            (&self.console, &mut listen.console),
        ] {
            if !given.is_empty() {
                kept.clone_from(given);
            }
        }
        Ok(settings)
    }
}

/// Runs a daemon to its end.
pub fn run(role: Role, state: &State, arguments: ServerArguments) -> Result<u8, Failure> {
    state.make()?;
    let settings = arguments.settings(state)?;
    crate::log::begin_for_daemon(&settings.log)?;
    if let Some(file) = &settings.file {
        tracing::info!(file = %file.display(), "settings");
    }
    process::raise_open_files();
    if role != Role::Client {
        crate::allocator::give_back_what_is_free()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve(role, state, &settings));
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

async fn serve(role: Role, state: &State, settings: &Settings) -> Result<u8, Failure> {
    let mut signals = Signals::new()?;
    let running = tokio::select! {
        running = compose::start(role, state, settings, listen::WhenTaken::GoOn) => running?,
        name = signals.next() => {
            tracing::info!(signal = name, "ended before it was ready");
            return Ok(exit::DONE);
        }
    };
    for one in &running.listening {
        let notice = one.notice.as_deref().unwrap_or_default();
        tracing::info!(row = one.row.id, address = %one.address, "listening{notice}");
    }
    if running.listening.iter().any(|one| one.row.id == CTRL.id) {
        tracing::warn!(
            "CTRL is enabled (listen.{}): orders that come this way are authenticated, but not \
             encrypted; everybody on the way can read what is asked, when and how much",
            CTRL.id
        );
    }
    tell_system(&[sd_notify::NotifyState::Ready]);
    tracing::info!(state = %state.folder().display(), "simsim {} is ready", role.as_str());
    let name = signals.next().await;
    tracing::info!(signal = name, "stopping; a second signal ends at once");
    tell_system(&[sd_notify::NotifyState::Stopping]);
    tokio::select! {
        () = running.stop() => tracing::info!("stopped"),
        name = signals.next() => {
            tracing::warn!(signal = name, "ended at once, before everything was closed");
            // What hangs is not waited for: neither threads nor destructors.
            std::process::exit(i32::from(exit::of_kind(Kind::Cancelled)));
        }
    }
    Ok(exit::DONE)
}

/// A server for the quickstart: on loopback, and on free ports where others have its own.
pub async fn start_quickstart(state: &State) -> Result<Running, Failure> {
    process::raise_open_files();
    let settings = Settings::load(None, state)?.on_loopback();
    compose::start(Role::Server, state, &settings, listen::WhenTaken::TakeFree).await
}

/// Tells systemd, where it started this process.
fn tell_system(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// The signals that ask a daemon to end.
pub struct Signals([(Signal, &'static str); 3]);

impl Signals {
    pub fn new() -> Result<Self, Failure> {
        Ok(Self([
            (signal(SignalKind::terminate())?, "SIGTERM"),
            (signal(SignalKind::interrupt())?, "SIGINT"),
            (signal(SignalKind::hangup())?, "SIGHUP"),
        ]))
    }

    pub async fn next(&mut self) -> &'static str {
        let [one, two, three] = &mut self.0;
        tokio::select! {
            _ = one.0.recv() => one.1,
            _ = two.0.recv() => two.1,
            _ = three.0.recv() => three.1,
        }
    }
}
