//! Hosts that sleep until something is wanted of them.
//!
//! A job that waits for a client whose network card is known has it woken, again and again while it waits:
//! packets get lost, and a host that wakes takes its time. A job that a person starts has no start window;
//! for a client that can be woken it gets one, so that it waits.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use simsim_catalog::{Client, ClientId};
use simsim_net::{HardwareAddress, WAKE_EVERYBODY};

use crate::ServerError;
use crate::api::WakeAddress;

/// So often a host is woken that a job waits for.
const AGAIN_MS: i64 = 60_000;
/// So long a job that a person started waits for a host that was woken.
pub(crate) const PATIENCE_MS: i64 = 10 * 60_000;

/// How a host is woken, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waking {
    pub card: HardwareAddress,
    pub to: SocketAddr,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    card: String,
    to: SocketAddr,
}

impl Waking {
    pub(crate) fn of(wake: &WakeAddress) -> Result<Self, ServerError> {
        let card = wake.card.parse().map_err(ServerError::invalid)?;
        let to = match &wake.to {
            None => WAKE_EVERYBODY,
            Some(text) => text.parse().map_err(|_| {
                ServerError::invalid(format!(
                    "'{text}' is not an address with a port such as 192.0.2.255:9"
                ))
            })?,
        };
        Ok(Self { card, to })
    }

    pub(crate) fn to_text(&self) -> Result<String, ServerError> {
        let kept = Kept { card: self.card.to_string(), to: self.to };
        serde_json::to_string(&kept).map_err(|error| ServerError::Lost(error.to_string()))
    }

    /// As it is shown.
    pub(crate) fn shown(&self) -> WakeAddress {
        let to = (self.to != WAKE_EVERYBODY).then(|| self.to.to_string());
        WakeAddress { card: self.card.to_string(), to }
    }

    pub(crate) fn send(&self) -> std::io::Result<()> {
        simsim_net::wake(&self.card, self.to)
    }
}

/// How a client is woken, if anybody said so.
pub(crate) fn of_client(client: &Client) -> Option<Waking> {
    let kept: Kept = serde_json::from_str(client.wake.as_deref()?).ok()?;
    Some(Waking { card: kept.card.parse().ok()?, to: kept.to })
}

/// Who was woken when.
#[derive(Default)]
pub(crate) struct Woken {
    last_unix_ms: HashMap<ClientId, i64>,
}

impl Woken {
    /// Wakes a client that a job waits for, unless that was done just now. What to add to why the job waits.
    pub(crate) fn wake(&mut self, client: &Client, now_unix_ms: i64) -> Option<String> {
        let waking = of_client(client)?;
        let last = self.last_unix_ms.get(&client.id).copied();
        // A clock that was set back wakes once more, and no harm is done.
        let due = last.is_none_or(|last| (now_unix_ms - last).abs() >= AGAIN_MS);
        if due {
            self.last_unix_ms.insert(client.id, now_unix_ms);
            if let Err(error) = waking.send() {
                tracing::warn!(client = client.name, %error, "could not be woken");
                return Some(format!("; it could not be woken: {error}"));
            }
            tracing::info!(client = client.name, card = %waking.card, "woken, a job waits for it");
        }
        Some("; it was woken".to_owned())
    }
}
