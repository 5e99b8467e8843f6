//! The device behind its data listeners.

use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;

use simsim_format::SegmentView;
use simsim_model::{BackupSession, CopySession, RestoreSession, SessionError, Ticket, TransferId};
use simsim_net::tls::Pin;
use simsim_transfer::TransferHandler;
use simsim_transfer::throttle::Pass;

use crate::grants::Grant;
use crate::session::{Open, Session};
use crate::{Device, DeviceError, streams};

/// What a put takes however small its table is.
const PUT_BYTES: usize = 64 << 10;

impl Device {
    fn grant_of(&self, transfer: &TransferId) -> Result<Arc<Grant>, DeviceError> {
        self.grants.get(transfer).ok_or(DeviceError::NoTransfer(*transfer))
    }
}

impl TransferHandler for Device {
    fn ticket(&self, transfer: &TransferId) -> Option<Ticket> {
        self.grants.get(transfer).map(|grant| grant.ticket.clone())
    }

    fn knows(&self, transfer: &TransferId, key: &Pin) -> bool {
        self.grants.get(transfer).is_some_and(|grant| grant.is_of(key))
    }

    fn pass(&self, transfer: &TransferId, from: IpAddr) -> Option<Pass> {
        let grant = self.grants.get(transfer)?;
        Some(self.throttle.pass(grant.party.clone(), from))
    }

    fn opened(&self, transfer: &TransferId) -> Result<(), SessionError> {
        self.grants.open(transfer, |grant| {
            grant.heard();
            Ok(Open::new(grant, self.shelf.lend(grant.ticket.store)?))
        })?;
        Ok(())
    }

    fn backup(&self, transfer: &TransferId) -> Result<Arc<dyn BackupSession>, SessionError> {
        Ok(Arc::new(Session::new(self.grant_of(transfer)?)))
    }

    fn restore(&self, transfer: &TransferId) -> Result<Arc<dyn RestoreSession>, SessionError> {
        Ok(Arc::new(Session::new(self.grant_of(transfer)?)))
    }

    fn copy(&self, transfer: &TransferId) -> Result<Arc<dyn CopySession>, SessionError> {
        Ok(Arc::new(Session::new(self.grant_of(transfer)?)))
    }

    fn stream_put(
        &self,
        transfer: &TransferId,
        stream: &mut dyn Read,
    ) -> Result<u64, SessionError> {
        Ok(streams::take(&self.grant_of(transfer)?, stream, &self.options)?)
    }

    fn stream_get(
        &self,
        transfer: &TransferId,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, SessionError> {
        let file = streams::open(&self.grant_of(transfer)?)?;
        Ok(Box::new(file.reader(offset).map_err(DeviceError::from)?))
    }

    fn stream_bytes(&self, transfer: &TransferId) -> Result<u64, SessionError> {
        Ok(streams::open(&self.grant_of(transfer)?)?.bytes())
    }

    fn waits(&self, transfer: &TransferId) {
        if let Some(grant) = self.grants.get(transfer) {
            grant.waits();
        }
    }

    fn waited(&self, transfer: &TransferId) -> bool {
        self.grants.get(transfer).is_some_and(|grant| grant.waited())
    }

    fn put_bytes(&self, segment: &[u8]) -> usize {
        // The table as a list, its names in the pack and for the index, its references in sets.
        let table = SegmentView::table_end(segment).unwrap_or_default().min(segment.len());
        PUT_BYTES + 4 * table
    }

    fn heard(&self, transfer: &TransferId) {
        if let Some(grant) = self.grants.get(transfer) {
            grant.heard();
        }
    }

    fn closed(&self, transfer: &TransferId) {
        if let Some(grant) = self.grants.get(transfer) {
            tracing::info!(job = grant.ticket.job, transfer = %transfer.short(), "transfer closed");
            grant.end("the client has closed it");
        }
    }

    fn aborted(&self, transfer: &TransferId, reason: &str) {
        if let Some(grant) = self.grants.get(transfer) {
            tracing::warn!(job = grant.ticket.job, transfer = %transfer.short(), reason, "transfer aborted");
            grant.end(reason);
        }
    }
}
