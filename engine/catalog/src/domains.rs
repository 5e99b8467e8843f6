//! Dedup domains and who holds their keys. Key bytes come sealed and stay so.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use simsim_model::{DomainId, StoreId};

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::sql::{Optional, Session};
use crate::{CatalogError, ClientId};

/// Who can open what a domain holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyHolder {
    /// The Server keeps the key, sealed.
    Server,
    /// The owner alone; the Server never had it.
    Client,
    /// Found in a datastore; nobody has brought the key yet.
    Nobody,
}

impl KeyHolder {
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyHolder::Server => "server",
            KeyHolder::Client => "client",
            KeyHolder::Nobody => "nobody",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [KeyHolder::Server, KeyHolder::Client, KeyHolder::Nobody]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// One domain.
#[derive(Clone, PartialEq, Eq)]
pub struct Domain {
    pub domain: DomainId,
    pub store: StoreId,
    /// `None` for a domain found in a datastore whose owner is not known yet.
    pub owner: Option<ClientId>,
    pub key_held_by: KeyHolder,
    /// The domain key, sealed by the Server's master key. There exactly when the Server holds it.
    pub sealed_key: Option<Vec<u8>>,
    /// The key slots that lie in the datastore too (`format::KeySlots`).
    pub slots: Option<Vec<u8>>,
    pub created_unix_ms: i64,
}

impl std::fmt::Debug for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Domain")
            .field("domain", &self.domain)
            .field("store", &self.store)
            .field("owner", &self.owner)
            .field("key_held_by", &self.key_held_by)
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// Adds a domain, or answers the one that this owner has in this datastore already.
    pub fn add_domain(&self, domain: &Domain) -> Result<Domain, CatalogError> {
        self.write("add a domain", |transaction| {
            if let Some(owner) = domain.owner
                && let Some(there) = of_owner(transaction, domain.store, owner)?
            {
                return Ok(there);
            }
            if let Some(there) = by_id(transaction, domain.domain)? {
                return Ok(there);
            }
            transaction.execute(
                "INSERT INTO domains (domain, store, owner, key_held_by, sealed_key, slots,
                     created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    domain.domain.as_bytes(),
                    domain.store.as_bytes(),
                    domain.owner.map(|owner| owner.0),
                    domain.key_held_by.as_str(),
                    domain.sealed_key,
                    domain.slots,
                    domain.created_unix_ms
                ],
            )?;
            Ok(domain.clone())
        })
    }

    /// Changes who holds a domain's key, its slots and its owner (`None` leaves the owner).
    pub fn set_domain_key(
        &self,
        domain: DomainId,
        owner: Option<ClientId>,
        key_held_by: KeyHolder,
        sealed_key: Option<&[u8]>,
        slots: Option<&[u8]>,
    ) -> Result<(), CatalogError> {
        self.write("change a domain's key", |transaction| {
            let changed = transaction.execute(
                "UPDATE domains SET owner = COALESCE(?2, owner), key_held_by = ?3,
                     sealed_key = ?4, slots = ?5
                 WHERE domain = ?1",
                params![
                    domain.as_bytes(),
                    owner.map(|owner| owner.0),
                    key_held_by.as_str(),
                    sealed_key,
                    slots
                ],
            )?;
            if changed == 0 {
                return Err(CatalogError::not_found("domain", domain));
            }
            Ok(())
        })
    }

    /// One domain. Errors: `NotFound`.
    pub fn domain(&self, domain: DomainId) -> Result<Domain, CatalogError> {
        self.read("look up a domain", |catalog| {
            by_id(catalog, domain)?.ok_or_else(|| CatalogError::not_found("domain", domain))
        })
    }

    /// The domain that a client has in a datastore.
    pub fn domain_of(
        &self,
        store: StoreId,
        owner: ClientId,
    ) -> Result<Option<Domain>, CatalogError> {
        self.read("look up a domain", |catalog| of_owner(catalog, store, owner))
    }

    /// All domains, oldest first.
    pub fn domains(&self) -> Result<Vec<Domain>, CatalogError> {
        self.read("list domains", |catalog| {
            let mut ask =
                catalog.prepare_cached("SELECT * FROM domains ORDER BY created_unix_ms, domain")?;
            let mut rows = ask.query([])?;
            let mut domains = Vec::new();
            while let Some(row) = rows.next()? {
                domains.push(from_row(&Cells::new("domains", row))?);
            }
            Ok(domains)
        })
    }
}

fn by_id(catalog: &Session<'_>, domain: DomainId) -> Result<Option<Domain>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM domains WHERE domain = ?1")?;
    let mut rows = ask.query([domain.as_bytes()])?;
    rows.next()?.map(|row| from_row(&Cells::new("domains", row))).transpose()
}

fn of_owner(
    catalog: &Session<'_>,
    store: StoreId,
    owner: ClientId,
) -> Result<Option<Domain>, CatalogError> {
    let domain: Option<Vec<u8>> = catalog
        .query_row(
            "SELECT domain FROM domains WHERE store = ?1 AND owner = ?2",
            params![store.as_bytes(), owner.0],
            |row| row.get(0),
        )
        .optional()?;
    match domain.as_deref().and_then(DomainId::from_slice) {
        Some(domain) => by_id(catalog, domain),
        None => Ok(None),
    }
}

pub(crate) fn from_row(cells: &Cells<'_>) -> Result<Domain, CatalogError> {
    Ok(Domain {
        domain: cells.id("domain")?,
        store: cells.id("store")?,
        owner: cells.get::<Option<i64>>("owner")?.map(ClientId),
        key_held_by: cells.word("key_held_by", KeyHolder::parse)?,
        sealed_key: cells.get("sealed_key")?,
        slots: cells.get("slots")?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
