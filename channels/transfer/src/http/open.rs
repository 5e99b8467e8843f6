//! Opening a ticket, at the device.

use simsim_model::{Kind, TransferId};

use super::answer::Caller;
use super::listener::Device;
use super::session::Session;
use crate::keys::{self, NONCE_BYTES, OPEN_BYTES, SessionKeys};

/// How an `open` was answered.
pub(super) enum Opened {
    Yes([u8; OPEN_BYTES]),
    /// Unknown transfer or wrong proof: one answer for both.
    Refused(&'static str),
    Expired,
    Used(String),
    /// There is no room now, and why; the ticket is as good as before.
    Busy(String),
    Failed,
}

/// Blocks: the handler writes down that the ticket is used.
pub(super) fn open(device: &Device, caller: &Caller, transfer: &TransferId, body: &[u8]) -> Opened {
    let (handler, sessions) = (&device.handler, &device.sessions);
    let nonces = body.split_first_chunk::<NONCE_BYTES>();
    let Some((client, Ok(proof))) =
        nonces.map(|(nonce, rest)| (*nonce, <[u8; NONCE_BYTES]>::try_from(rest)))
    else {
        return Opened::Refused("not a nonce and a proof");
    };
    let known = sessions.get(transfer);
    let ticket = known.as_ref().map(|session| session.ticket.clone());
    let Some(ticket) = ticket.or_else(|| handler.ticket(transfer)) else {
        return Opened::Refused("unknown transfer");
    };
    let expected = keys::client_proof(&ticket.secret, transfer, &client);
    if expected != blake3::Hash::from_bytes(proof) {
        return Opened::Refused("wrong proof");
    }
    if let Err(why) = caller.may_use(&ticket) {
        return Opened::Refused(why);
    }
    if caller.pin.is_some_and(|pin| !handler.knows(transfer, &pin)) {
        return Opened::Refused("the TLS key is another host's");
    }
    let _one = device.opening.lock();
    if let Some(session) = sessions.get(transfer) {
        let lost_reply = session.client_nonce == client && session.window.lock().is_fresh();
        return if lost_reply && !session.is_ended() {
            Opened::Yes(session.open_reply)
        } else {
            Opened::Used("it is open already".into())
        };
    }
    // Who waited for its turn with a ticket that was good then is not late.
    let waited = caller.proved == Some(*transfer) || handler.waited(transfer);
    if now_unix_s() >= ticket.expires_unix_s && !waited {
        return Opened::Expired;
    }
    let Ok(nonce) = keys::nonce() else { return Opened::Failed };
    match handler.opened(transfer) {
        Ok(()) => {}
        Err(error) if error.kind == Kind::Busy => {
            handler.waits(transfer);
            return Opened::Busy(error.message);
        }
        Err(error) => return Opened::Used(error.to_string()),
    }
    let proof = keys::device_proof(&ticket.secret, transfer, &client, &nonce);
    let mut reply = [0; OPEN_BYTES];
    for (to, from) in reply.iter_mut().zip(nonce.iter().chain(proof.as_bytes())) {
        *to = *from;
    }
    let keys = SessionKeys::derive(&ticket.secret, transfer, &client, &nonce);
    sessions.insert(Session::new(ticket, keys, client, reply));
    Opened::Yes(reply)
}

pub(crate) fn now_unix_s() -> u64 {
    let since = simsim_model::failpoint::shifted(std::time::SystemTime::now())
        .duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
