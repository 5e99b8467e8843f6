//! Key slots: the wrapped keys of each domain, in three copies. They open nothing by themselves.

use simsim_format::KeySlots;
use simsim_model::DomainId;

use crate::root::{read_copies, write_copies};
use crate::{Datastore, DatastoreError};

impl Datastore {
    /// Stores the slots of a domain, in place of those it has.
    pub fn put_slots(&self, slots: &KeySlots) -> Result<(), DatastoreError> {
        self.inner.check_writable()?;
        let _writing = self.inner.slots.lock();
        write_copies(&*self.inner.storage, &base(slots.domain), &slots.encode())
    }

    /// The slots of a domain, if it has any.
    pub fn slots(&self, domain: DomainId) -> Result<Option<KeySlots>, DatastoreError> {
        let _writing = self.inner.slots.lock();
        let decode = |bytes: &[u8]| {
            KeySlots::decode(bytes).and_then(|slots| {
                if slots.domain == domain {
                    Ok(slots)
                } else {
                    Err(simsim_format::FormatError::Name { what: "key slots" })
                }
            })
        };
        read_copies(&*self.inner.storage, &base(domain), true, decode)
    }

    /// All domains that have key slots, sorted.
    pub fn domains(&self) -> Result<Vec<DomainId>, DatastoreError> {
        let mut domains = Vec::new();
        for object in self.inner.storage.list("domains/")? {
            let key = object?.key;
            let id = key.strip_prefix("domains/").and_then(|name| name.get(..32));
            if let Some(id) = id.and_then(|id| id.parse().ok()) {
                domains.push(id);
            }
        }
        domains.sort_unstable();
        domains.dedup();
        Ok(domains)
    }
}

fn base(domain: DomainId) -> String {
    format!("domains/{domain}")
}
