//! What a device implements behind the port.

use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;

use simsim_model::{
    BackupSession, CopySession, Kind, RestoreSession, SessionError, Ticket, TransferId,
};
use simsim_net::tls::Pin;

use crate::throttle::Pass;

/// The device behind a listener. All calls block; they come from threads kept for blocking work
/// and several may run at once. The listener keeps keys, replay windows, byte limits and idle
/// clocks; the handler keeps tickets and bytes.
pub trait TransferHandler: Send + Sync + 'static {
    /// A ticket that was handed to this device and not withdrawn, used or not.
    fn ticket(&self, transfer: &TransferId) -> Option<Ticket>;

    /// At a port that asks for the caller's TLS key: is it the key of the host that this transfer
    /// was granted to?
    fn knows(&self, transfer: &TransferId, key: &Pin) -> bool;

    /// The leave for a transfer's data, which goes to a caller at this address and comes from it;
    /// `None` where nothing is ever limited. Asked for every request: be quick.
    fn pass(&self, _transfer: &TransferId, _from: IpAddr) -> Option<Pass> {
        None
    }

    /// The ticket is being used: remember that before returning, so that it cannot be used again
    /// after a restart. An error (already used, draining) refuses the transfer; with
    /// [`Kind::Busy`] there is no room now, and the client comes again.
    fn opened(&self, transfer: &TransferId) -> Result<(), SessionError>;

    /// The session that answers `has`, `put` and `commit`. Asked once a transfer.
    fn backup(&self, transfer: &TransferId) -> Result<Arc<dyn BackupSession>, SessionError>;

    /// The session that answers `manifest`, `locate` and `get`. Asked once a transfer.
    fn restore(&self, transfer: &TransferId) -> Result<Arc<dyn RestoreSession>, SessionError>;

    /// The session that answers `savesets` and `commit-copy`; `has` and `put` of the same transfer
    /// come to [`Self::backup`]. Asked once a transfer.
    fn copy(&self, _transfer: &TransferId) -> Result<Arc<dyn CopySession>, SessionError> {
        Err(SessionError::new(Kind::Denied, "no copies are taken here"))
    }

    /// Takes a plain stream to its end and returns its length; the reader fails with
    /// `UnexpectedEof` when the client went away before the end.
    fn stream_put(&self, transfer: &TransferId, stream: &mut dyn Read)
    -> Result<u64, SessionError>;

    /// Gives the plain stream from this offset on.
    fn stream_get(
        &self,
        transfer: &TransferId,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, SessionError>;

    /// The length of the plain stream that [`TransferHandler::stream_get`] gives.
    fn stream_bytes(&self, _transfer: &TransferId) -> Result<u64, SessionError> {
        Err(SessionError::new(Kind::Invalid, "this device gives no plain streams"))
    }
    /// The client has proved its ticket and waits for its turn, for a place that others have: the
    /// time does not count against the ticket, nor against the client. Called every few seconds.
    fn waits(&self, transfer: &TransferId);

    /// Was [`TransferHandler::waits`] called within the last minute?
    fn waited(&self, _transfer: &TransferId) -> bool {
        false
    }

    /// Memory that the work on a `put` takes beside the segment itself, in bytes. Asked for every put:
    /// be quick, and believe nothing.
    fn put_bytes(&self, segment: &[u8]) -> usize {
        segment.len()
    }

    /// The client has shown that it lives. Called for every genuine request: be quick.
    fn heard(&self, transfer: &TransferId);

    /// The client has finished. Called once, and then nothing more for this transfer.
    fn closed(&self, transfer: &TransferId);

    /// The transfer ended otherwise: the client said so, fell silent, or the listener stops.
    /// Called once, and then nothing more for this transfer.
    fn aborted(&self, transfer: &TransferId, reason: &str);
}
