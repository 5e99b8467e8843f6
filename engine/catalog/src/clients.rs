//! Clients: hosts that proved themselves with a one-time code, known by their host key.

use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::CatalogError;
use crate::access_mode::AccessMode;
use crate::catalog::{Catalog, next_number};
use crate::cells::{Cells, json_cell};
use crate::join_codes::spend;
use crate::sql::{Optional, Session};

/// The number of a client row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub i64);

/// Whether a client may do anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientState {
    Enrolled,
    Revoked,
}

impl ClientState {
    pub const fn as_str(self) -> &'static str {
        match self {
            ClientState::Enrolled => "enrolled",
            ClientState::Revoked => "revoked",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [ClientState::Enrolled, ClientState::Revoked].into_iter().find(|s| s.as_str() == text)
    }
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: ClientId,
    pub name: String,
    /// The pinned public key, in OpenSSH's text form.
    pub host_key: String,
    /// Hosts or addresses without a port, in the order they are dialled.
    pub addresses: Vec<String>,
    /// The port of row `smssh`.
    pub listen_port: u16,
    pub access_mode: AccessMode,
    /// The port of row `ctrl`, where it is not the registry's.
    pub ctrl_port: Option<u16>,
    /// `client`, `device`, `server`, as the node says.
    pub roles: Vec<String>,
    pub platform: String,
    pub suite_version: String,
    pub state: ClientState,
    pub enrolled_unix_ms: i64,
    pub revoked_unix_ms: Option<i64>,
    pub last_seen_unix_ms: Option<i64>,
    /// The location in which it stands.
    pub location: Option<String>,
    /// How it is woken: a document of the Server's own.
    pub wake: Option<String>,
}

impl Client {
    pub fn is_enrolled(&self) -> bool {
        self.state == ClientState::Enrolled
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }
}

/// What an enrolment binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClient {
    pub name: String,
    pub host_key: String,
    pub addresses: Vec<String>,
    pub listen_port: u16,
    pub suite_version: String,
}

/// What a node says of itself when it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFacts {
    pub roles: Vec<String>,
    pub platform: String,
    pub suite_version: String,
}

const COLUMNS: &str = "client, name, host_key, addresses, listen_port, roles, platform,
    suite_version, state, enrolled_unix_ms, revoked_unix_ms, last_seen_unix_ms, access_mode,
    ctrl_port, location, wake";

impl Catalog {
    /// Enrols a client and spends the one-time code, in one transaction.
    ///
    /// A code that was made for this very name renews a client that is there (its host was
    /// installed anew): the key is replaced, the row with its access mode and history stay. A code for any name
    /// never does. Errors: `NotFound` for a code that is unknown, spent, expired or locked,
    /// `Invalid` for a name that is taken.
    pub fn enrol(
        &self,
        code_hash: &[u8; 32],
        new: &NewClient,
        now_unix_ms: i64,
    ) -> Result<Client, CatalogError> {
        self.write("enrol a client", |transaction| {
            let bound = spend(transaction, code_hash, &new.name, now_unix_ms)?;
            let id = store_client(transaction, new, bound, now_unix_ms)?;
            transaction.execute(
                "UPDATE join_codes SET used_by = ?2 WHERE code_hash = ?1",
                params![code_hash, id.0],
            )?;
            client_by_id(transaction, id)
        })
    }

    /// Enrols the Server's own host, which needs no code: it holds the catalog. Renews it when
    /// the name is there.
    pub fn enrol_self(&self, new: &NewClient, now_unix_ms: i64) -> Result<Client, CatalogError> {
        self.write("enrol the server's own host", |transaction| {
            let id = store_client(transaction, new, true, now_unix_ms)?;
            client_by_id(transaction, id)
        })
    }

    /// Takes all rights from a client. Revoking twice is no error.
    pub fn revoke_client(&self, name: &str, now_unix_ms: i64) -> Result<Client, CatalogError> {
        self.write("revoke a client", |transaction| {
            let client = client_by_name(transaction, name)?;
            transaction.execute(
                "UPDATE clients SET state = 'revoked', revoked_unix_ms = ?2
                 WHERE client = ?1 AND state = 'enrolled'",
                params![client.id.0, now_unix_ms],
            )?;
            client_by_id(transaction, client.id)
        })
    }

    /// Changes where a client is dialled.
    pub fn set_client_addresses(
        &self,
        name: &str,
        addresses: &[String],
        listen_port: u16,
    ) -> Result<Client, CatalogError> {
        if addresses.is_empty() {
            return Err(CatalogError::invalid("a client needs at least one address"));
        }
        self.write("change a client's addresses", |transaction| {
            let client = client_by_name(transaction, name)?;
            transaction.execute(
                "UPDATE clients SET addresses = ?2, listen_port = ?3 WHERE client = ?1",
                params![client.id.0, json_cell(&addresses)?, listen_port],
            )?;
            client_by_id(transaction, client.id)
        })
    }

    /// Says how a client is woken; `None`: it is not. Errors: `NotFound`.
    pub fn set_client_wake(&self, name: &str, wake: Option<&str>) -> Result<Client, CatalogError> {
        self.write("say how a client is woken", |transaction| {
            let client = client_by_name(transaction, name)?;
            transaction.execute(
                "UPDATE clients SET wake = ?2 WHERE client = ?1",
                params![client.id.0, wake],
            )?;
            client_by_id(transaction, client.id)
        })
    }

    /// Writes down that a node was reached, and what it said of itself.
    pub fn client_seen(
        &self,
        id: ClientId,
        facts: Option<&NodeFacts>,
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.write("note that a client was reached", |transaction| {
            transaction.execute(
                "UPDATE clients SET last_seen_unix_ms = ?2 WHERE client = ?1",
                params![id.0, now_unix_ms],
            )?;
            if let Some(facts) = facts {
                transaction.execute(
                    "UPDATE clients SET roles = ?2, platform = ?3, suite_version = ?4
                     WHERE client = ?1",
                    params![id.0, json_cell(&facts.roles)?, facts.platform, facts.suite_version],
                )?;
            }
            Ok(())
        })
    }

    /// One client by name. Errors: `NotFound`.
    pub fn client(&self, name: &str) -> Result<Client, CatalogError> {
        self.read("look up a client", |catalog| client_by_name(catalog, name))
    }

    /// One client by number. Errors: `NotFound`.
    pub fn client_numbered(&self, id: ClientId) -> Result<Client, CatalogError> {
        self.read("look up a client", |catalog| client_by_id(catalog, id))
    }

    /// All clients by name, revoked ones included.
    pub fn clients(&self) -> Result<Vec<Client>, CatalogError> {
        self.read("list clients", |catalog| {
            let mut ask =
                catalog.prepare_cached(&format!("SELECT {COLUMNS} FROM clients ORDER BY name"))?;
            let mut rows = ask.query([])?;
            let mut clients = Vec::new();
            while let Some(row) = rows.next()? {
                clients.push(from_row(&Cells::new("clients", row))?);
            }
            Ok(clients)
        })
    }
}

fn store_client(
    transaction: &Session<'_>,
    new: &NewClient,
    may_renew: bool,
    now_unix_ms: i64,
) -> Result<ClientId, CatalogError> {
    if new.listen_port == 0 {
        return Err(CatalogError::invalid("a client listens on a port from 1 to 65535"));
    }
    let taken: Option<i64> = transaction
        .query_row("SELECT client FROM clients WHERE name = ?1", [&new.name], |row| row.get(0))
        .optional()?;
    let addresses = json_cell(&new.addresses)?;
    match taken {
        Some(_) if !may_renew => Err(CatalogError::exists("client", &new.name)),
        Some(id) => {
            transaction.execute(
                "UPDATE clients SET host_key = ?2, addresses = ?3, listen_port = ?4,
                     suite_version = ?5, state = 'enrolled', enrolled_unix_ms = ?6,
                     revoked_unix_ms = NULL
                 WHERE client = ?1",
                params![
                    id,
                    new.host_key,
                    addresses,
                    new.listen_port,
                    new.suite_version,
                    now_unix_ms
                ],
            )?;
            Ok(ClientId(id))
        }
        None => {
            let id = next_number(transaction, "client")?;
            transaction.execute(
                "INSERT INTO clients (client, name, host_key, addresses, listen_port, roles,
                     platform, suite_version, state, enrolled_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, '[]', '', ?6, 'enrolled', ?7)",
                params![
                    id,
                    new.name,
                    new.host_key,
                    addresses,
                    new.listen_port,
                    new.suite_version,
                    now_unix_ms
                ],
            )?;
            Ok(ClientId(id))
        }
    }
}

pub(crate) fn client_by_name(catalog: &Session<'_>, name: &str) -> Result<Client, CatalogError> {
    let mut ask =
        catalog.prepare_cached(&format!("SELECT {COLUMNS} FROM clients WHERE name = ?1"))?;
    let mut rows = ask.query([name])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("clients", row)),
        None => Err(CatalogError::not_found("client", name)),
    }
}

pub(crate) fn client_by_id(catalog: &Session<'_>, id: ClientId) -> Result<Client, CatalogError> {
    let mut ask =
        catalog.prepare_cached(&format!("SELECT {COLUMNS} FROM clients WHERE client = ?1"))?;
    let mut rows = ask.query([id.0])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("clients", row)),
        None => Err(CatalogError::not_found("client", format!("number {}", id.0))),
    }
}

fn from_row(cells: &Cells<'_>) -> Result<Client, CatalogError> {
    Ok(Client {
        id: ClientId(cells.get("client")?),
        name: cells.get("name")?,
        host_key: cells.get("host_key")?,
        addresses: cells.json("addresses")?,
        listen_port: cells.get("listen_port")?,
        access_mode: cells.word("access_mode", AccessMode::parse)?,
        ctrl_port: cells.get("ctrl_port")?,
        roles: cells.json("roles")?,
        platform: cells.get("platform")?,
        suite_version: cells.get("suite_version")?,
        state: cells.word("state", ClientState::parse)?,
        enrolled_unix_ms: cells.get("enrolled_unix_ms")?,
        revoked_unix_ms: cells.get("revoked_unix_ms")?,
        last_seen_unix_ms: cells.get("last_seen_unix_ms")?,
        location: cells.get("location")?,
        wake: cells.get("wake")?,
    })
}
