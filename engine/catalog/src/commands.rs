//! Commands: what may be run on a client, by a name in the policy of its owner.

use rusqlite::params;

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::clients::client_by_name;
use crate::schedules::Put;
use crate::sql::Session;
use crate::uses::refuse_used;
use crate::{CatalogError, ClientId};

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub name: String,
    pub client_id: ClientId,
    pub client: String,
    /// Its name in the policy of the client's owner.
    pub local_name: String,
    /// So long it may run; `None`: as long as its client lets it.
    pub timeout_s: Option<u32>,
    pub created_unix_ms: i64,
}

/// What a command is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommand {
    pub name: String,
    pub client: String,
    pub local_name: String,
    pub timeout_s: Option<u32>,
}

const COLUMNS: &str = "SELECT commands.name AS name, commands.client AS client,
        clients.name AS client_name, local_name, timeout_s, created_unix_ms
    FROM commands JOIN clients ON clients.client = commands.client";

impl Catalog {
    /// Adds a command, or replaces all of one but its name. Errors: exists, `NotFound`, as `put` says;
    /// `NotFound` for the client.
    pub fn put_command(
        &self,
        put: Put,
        new: &NewCommand,
        now_unix_ms: i64,
    ) -> Result<Command, CatalogError> {
        self.write("keep a command", |transaction| {
            let client = client_by_name(transaction, &new.client)?;
            match (put, by_name(transaction, &new.name)?) {
                (Put::Add, Some(_)) => return Err(CatalogError::exists("command", &new.name)),
                (Put::Change, None) => return Err(CatalogError::not_found("command", &new.name)),
                (Put::Add, None) => transaction.execute(
                    "INSERT INTO commands (name, client, local_name, timeout_s, created_unix_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![new.name, client.id.0, new.local_name, new.timeout_s, now_unix_ms],
                )?,
                (Put::Change, Some(_)) => transaction.execute(
                    "UPDATE commands SET client = ?2, local_name = ?3, timeout_s = ?4
                     WHERE name = ?1",
                    params![new.name, client.id.0, new.local_name, new.timeout_s],
                )?,
            };
            there(transaction, &new.name)
        })
    }

    /// All commands, by name.
    pub fn commands(&self) -> Result<Vec<Command>, CatalogError> {
        self.read("list commands", |catalog| {
            let mut ask = catalog.prepare_cached(&format!("{COLUMNS} ORDER BY commands.name"))?;
            let mut rows = ask.query([])?;
            let mut commands = Vec::new();
            while let Some(row) = rows.next()? {
                commands.push(from_row(&Cells::new("commands", row))?);
            }
            Ok(commands)
        })
    }

    /// One command. Errors: `NotFound`.
    pub fn command(&self, name: &str) -> Result<Command, CatalogError> {
        self.read("look up a command", |catalog| there(catalog, name))
    }

    /// Removes a command. Errors: `NotFound`; `Busy` while an event names it.
    pub fn delete_command(&self, name: &str) -> Result<(), CatalogError> {
        self.write("remove a command", |transaction| {
            there(transaction, name)?;
            refuse_used(transaction, "command", name)?;
            transaction.execute("DELETE FROM commands WHERE name = ?1", [name])?;
            Ok(())
        })
    }
}

fn by_name(catalog: &Session<'_>, name: &str) -> Result<Option<Command>, CatalogError> {
    let mut ask = catalog.prepare_cached(&format!("{COLUMNS} WHERE commands.name = ?1"))?;
    let mut rows = ask.query([name])?;
    rows.next()?.map(|row| from_row(&Cells::new("commands", row))).transpose()
}

fn there(catalog: &Session<'_>, name: &str) -> Result<Command, CatalogError> {
    by_name(catalog, name)?.ok_or_else(|| CatalogError::not_found("command", name))
}

fn from_row(cells: &Cells<'_>) -> Result<Command, CatalogError> {
    Ok(Command {
        name: cells.get("name")?,
        client_id: ClientId(cells.get("client")?),
        client: cells.get("client_name")?,
        local_name: cells.get("local_name")?,
        timeout_s: cells.get("timeout_s")?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
