//! Raw streams: other people's tools store and read plain bytes, with a token or a one-time ticket.
//!
//! ```text
//! tool ──▶ door ──▶ gate: whose secret? ──▶ a job in the queue ──▶ drive has a place
//!                     │                                               │
//!                     └─────────────── arrival: sink, source, or where to go ◀┘
//! ```
//!
//! A stream is a job like any other: it waits for a place on a drive, has a log, a result and a line in
//! the audit. The gate brings the caller, the queue brings the job, and they meet at the job's number in
//! [`Arrivals`]. A job that a person started waits there for a caller with its ticket; a caller with a
//! token waits there for the job that was made for it.
//!
//! What happens then, the task says. *Relayed*, the server cuts and seals the stream itself and puts the
//! segments by an ordinary transfer: the device never has the key, and nothing is kept whole anywhere.
//! *Redirected*, the device gets the key for this one transfer, and the caller is sent to it.
//!
//! | room | does |
//! |---|---|
//! | `secrets` | texts of tokens and tickets, and their hashes |
//! | `arrivals` | where callers and jobs meet |
//! | `gate`, `guest` | judge secrets, and what each may do |
//! | `orders` | jobs: made, ended, told of |
//! | `sink`, `source` | the ends that a door holds |
//! | `store`, `read` | the jobs |
//! | `redirect` | jobs whose data goes past the server |

mod arrivals;
mod gate;
mod guest;
mod orders;
mod read;
mod redirect;
mod secrets;
mod sink;
mod source;
mod store;

use std::sync::Arc;

use simsim_catalog::{Datastore, Domain, Job, KeyHolder, Task};
use simsim_control::verbs::NodeState;
use simsim_model::interface::{Interface, Scheme};
use simsim_model::port_registry::HTTPS;
use simsim_model::{Kind, TargetKind};

use crate::api::TaskOptions;
use crate::house::House;
use crate::jobs::{CallEnd, DEVICE_PATIENCE, Granted, Running, Wish};
use crate::{Server, ServerError};

pub(crate) use arrivals::{Arrival, Arrivals};
pub(crate) use orders::{end_job, queue, tell_ended};
pub(crate) use read::run as run_read;
pub(crate) use secrets::{hash_of, new_ticket, new_token};
pub(crate) use store::run as run_store;

impl Server {
    /// The gate that this host's doors ask about raw streams.
    pub fn stream_gate(&self) -> Arc<dyn simsim_transfer::gate::StreamGate> {
        Arc::new(gate::ServerGate::new(&self.house))
    }
}

/// Goes on with a job that ran when the server ended. What went through the server broke off then;
/// what goes past it is watched on.
pub(crate) async fn follow(
    house: &House,
    job: &Job,
    wish: &Wish,
    running: &Arc<Running>,
) -> CallEnd {
    let redirected = match wish {
        Wish::Backup(wish) => wish.options.redirect,
        Wish::Read(wish) => wish.redirect,
        _ => false,
    };
    if redirected {
        return redirect::follow(house, job, running).await;
    }
    redirect::broken_off()
}

/// Is it a task whose streams come from outside?
pub(crate) fn is_external(kind: TargetKind, options: &TaskOptions) -> bool {
    kind == TargetKind::Stream && options.external
}

/// The options of a task whose streams come from outside; an error for every other task.
pub(crate) fn external_options(task: &Task) -> Result<TaskOptions, ServerError> {
    let options = crate::desk::options_of(&task.settings.options)?;
    if is_external(task.settings.kind, &options) {
        return Ok(options);
    }
    Err(ServerError::invalid(format!(
        "task '{}' is not external: streams are taken by tasks that were made with 'simsim task add \
         NAME --external'",
        task.settings.name
    )))
}

/// A raw stream is sealed by the suite: it cannot be where the client alone holds the key.
pub(crate) fn refuse_held_key(
    client: &str,
    datastore: &Datastore,
    domain: Option<&Domain>,
) -> Result<(), ServerError> {
    if domain.is_none_or(|domain| domain.key_held_by != KeyHolder::Client) {
        return Ok(());
    }
    Err(ServerError::Refused(format!(
        "client '{client}' holds the key of its data in '{}' alone, so a raw stream cannot be sealed for \
         it: take another client or datastore, or back up a file on that client with a task of paths",
        datastore.name
    )))
}

/// This server's own doors for raw streams, as other people's tools reach them: one of them at least.
pub(crate) struct OwnDoors {
    /// `https://host:port`.
    pub https: Option<String>,
    /// `ftp://host:port`; tools have to take TLS there.
    pub ftp: Option<String>,
}

/// Where raw streams come in.
///
/// # Errors
/// `Refused` where the server listens neither for HTTPS nor for FTP.
pub(crate) async fn own_doors(house: &House) -> Result<OwnDoors, ServerError> {
    let own = house.nodes.own();
    let given = house.books.run(move |catalog| catalog.interfaces(own)).await?;
    let given: Vec<Interface> = given.iter().filter_map(|url| url.parse().ok()).collect();
    let line = house.nodes.line(own, DEVICE_PATIENCE).await?;
    let told = line.call(NodeState {}).await?.listening;
    let port_of = |row: &str| {
        told.iter().filter(|one| one.row == row).find_map(|one| {
            let address: std::net::SocketAddr = one.address.parse().ok()?;
            Some(address.port())
        })
    };
    let door = |scheme: Scheme| {
        let port = port_of(scheme.row().id)?;
        let same = given.iter().find(|one| one.scheme.row().id == scheme.row().id);
        // By the name that people gave to any of its doors, else by the one that its hosts call it by.
        let named = same.or_else(|| given.iter().find(|one| one.scheme == Scheme::Https));
        let host = match named {
            Some(named) => named.host.clone(),
            None => house.config.advertise.first().unwrap_or(&house.own_name).clone(),
        };
        let port = same.and_then(|one| one.port).unwrap_or(port);
        Some(Interface { scheme, host, port: Some(port), active: false }.to_string())
    };
    let doors = OwnDoors { https: door(Scheme::Https), ftp: door(Scheme::Ftp) };
    if doors.https.is_none() && doors.ftp.is_none() {
        return Err(ServerError::Refused(format!(
            "this server listens neither for HTTPS nor for FTP, by which raw streams come: set \
             'listen.{}' in its settings and start it again",
            HTTPS.id
        )));
    }
    Ok(doors)
}

/// By which interfaces of the device a relayed stream goes on. To the device of this host it stays on the
/// host, whatever others dial: by FTP it would take data ports from those who bring the streams, and each
/// of them could wait for the other.
fn onward(house: &House, datastore: &Datastore, said: &[String]) -> Vec<String> {
    match datastore.device == house.nodes.own() {
        true => [Scheme::Http, Scheme::Https].map(|scheme| scheme.as_str().to_owned()).to_vec(),
        false => said.to_vec(),
    }
}

/// Whoever comes by FTP has a pair of this host's data ports; active FTP to the device would wait for
/// another one, with the first in hand.
fn spare_own_ports(
    granted: &mut Granted,
    datastore: &str,
    arrival: &Arrival,
) -> Result<(), ServerError> {
    if arrival.door != FTP_DOOR {
        return Ok(());
    }
    let is_active = |url: &String| url.parse::<Interface>().is_ok_and(|one| one.active);
    granted.urls.retain(|url| !is_active(url));
    match granted.urls.is_empty() {
        false => Ok(()),
        true => Err(ServerError::Refused(format!(
            "a stream that comes by FTP cannot go on into '{datastore}' by active FTP: both take their data \
             ports from this server's range. Give the device's host another interface ('simsim interface \
             set'), or bring the stream by HTTPS"
        ))),
    }
}

/// The door of tools that come by FTP, as it calls itself.
const FTP_DOOR: &str = "ftp";

/// What a defect here is for a caller.
fn lost() -> simsim_transfer::gate::StreamRefusal {
    let text = "the server failed while it worked on this stream; its log says why";
    simsim_transfer::gate::StreamRefusal::new(Kind::Internal, text)
}
