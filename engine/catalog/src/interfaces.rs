//! Interfaces of device hosts, and which of them clients choose. The texts are the Server's; the
//! catalog keeps their order.

use rusqlite::params;

use crate::clients::client_by_name;
use crate::sql::Session;
use crate::{Catalog, CatalogError, ClientId};

impl Catalog {
    /// The interfaces of a host, in order; none: the defaults.
    pub fn interfaces(&self, host: ClientId) -> Result<Vec<String>, CatalogError> {
        self.read("list interfaces", |catalog| listed(catalog, INTERFACES, host))
    }

    /// Every interface with its host's name, by host and in order.
    pub fn all_interfaces(&self) -> Result<Vec<(String, String)>, CatalogError> {
        self.read("list interfaces", |catalog| named(catalog, INTERFACES))
    }

    /// Gives a host these interfaces in place of those it has. Errors: `NotFound` without such a
    /// client.
    pub fn set_interfaces(&self, host: &str, urls: &[String]) -> Result<(), CatalogError> {
        self.write("change interfaces", |transaction| replace(transaction, INTERFACES, host, urls))
    }

    /// What a client chooses, in order; none: whatever the device has.
    pub fn client_choices(&self, client: ClientId) -> Result<Vec<String>, CatalogError> {
        self.read("list chosen interfaces", |catalog| listed(catalog, CHOICES, client))
    }

    /// Every choice with its client's name, by client and in order.
    pub fn all_client_choices(&self) -> Result<Vec<(String, String)>, CatalogError> {
        self.read("list chosen interfaces", |catalog| named(catalog, CHOICES))
    }

    /// Lets a client choose. Errors: `NotFound` without such a client.
    pub fn set_client_choices(&self, client: &str, to: &[String]) -> Result<(), CatalogError> {
        self.write("choose interfaces", |transaction| replace(transaction, CHOICES, client, to))
    }
}

/// Table and column of a list that belongs to a client.
type List = (&'static str, &'static str);
const INTERFACES: List = ("interfaces", "url");
const CHOICES: List = ("client_choices", "choice");

fn listed(
    catalog: &Session<'_>,
    (table, column): List,
    client: ClientId,
) -> Result<Vec<String>, CatalogError> {
    let mut ask = catalog.prepare_cached(&format!(
        "SELECT {column} FROM {table} WHERE client = ?1 ORDER BY position"
    ))?;
    let rows = ask.query_map([client.0], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn named(
    catalog: &Session<'_>,
    (table, column): List,
) -> Result<Vec<(String, String)>, CatalogError> {
    let mut ask = catalog.prepare_cached(&format!(
        "SELECT clients.name, {table}.{column} FROM {table}
         JOIN clients ON clients.client = {table}.client ORDER BY clients.name, {table}.position"
    ))?;
    let rows = ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn replace(
    transaction: &Session<'_>,
    (table, column): List,
    client: &str,
    texts: &[String],
) -> Result<(), CatalogError> {
    let client = client_by_name(transaction, client)?;
    transaction.execute(&format!("DELETE FROM {table} WHERE client = ?1"), [client.id.0])?;
    for (position, text) in (0_i64..).zip(texts) {
        transaction.execute(
            &format!("INSERT INTO {table} (client, position, {column}) VALUES (?1, ?2, ?3)"),
            params![client.id.0, position, text],
        )?;
    }
    Ok(())
}
