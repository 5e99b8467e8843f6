//! Manifests for the server: pages in the order of their sequence, and single ones in pieces.

use simsim_control::verbs::{
    GetManifest, GetManifestReply, ListManifests, ListManifestsReply, MANIFEST_PAGE_BYTES_MAX,
    ManifestEntry,
};

use crate::DeviceError;
use crate::shelf::Lease;

/// Manifests in one page at most.
const PAGE_MANIFESTS_MAX: u64 = 1000;
/// What an entry of a page takes beside its manifest.
const ENTRY_BYTES: usize = 64;

/// One page.
pub(crate) fn list(
    lease: &Lease,
    request: &ListManifests,
) -> Result<ListManifestsReply, DeviceError> {
    let limit = match request.limit {
        0 => PAGE_MANIFESTS_MAX,
        limit => limit.min(PAGE_MANIFESTS_MAX),
    };
    // One more than the page tells whether there are later ones.
    // Damaged ones are left out of what the datastore gives.
    let spare = lease.datastore.state().damaged_manifests.len() + 1;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(spare);
    let found = lease.datastore.manifests(request.after_sequence, wanted)?;
    let mut reply = ListManifestsReply::default();
    let mut bytes = 0;
    for manifest in found {
        let encoded = manifest.encode();
        let size = encoded.len() as u64;
        let too_large = encoded.len() > MANIFEST_PAGE_BYTES_MAX;
        let carried = if too_large { Vec::new() } else { encoded };
        bytes += carried.len() + ENTRY_BYTES;
        let full = reply.manifests.len() as u64 >= limit || bytes > MANIFEST_PAGE_BYTES_MAX;
        if full && !reply.manifests.is_empty() {
            reply.more = true;
            break;
        }
        reply.manifests.push(ManifestEntry {
            sequence: manifest.sequence,
            saveset: manifest.saveset,
            size,
            bytes: carried,
        });
    }
    Ok(reply)
}

/// One manifest from an offset.
pub(crate) fn get(lease: &Lease, request: &GetManifest) -> Result<GetManifestReply, DeviceError> {
    let bytes = lease.datastore.manifest_bytes(request.saveset)?;
    let start = usize::try_from(request.offset).unwrap_or(usize::MAX).min(bytes.len());
    let end = start.saturating_add(MANIFEST_PAGE_BYTES_MAX).min(bytes.len());
    Ok(GetManifestReply {
        size: bytes.len() as u64,
        bytes: bytes.get(start..end).unwrap_or_default().to_vec(),
    })
}
