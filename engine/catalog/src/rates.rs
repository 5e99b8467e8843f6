//! Rate limits: how fast data may go, for a host, for a network, or for all.

use rusqlite::params;

use crate::catalog::{Catalog, next_number};
use crate::cells::{Cells, json_cell};
use crate::clients::client_by_name;
use crate::sql::Session;
use crate::{CatalogError, ClientId};

/// What a limit counts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateFor {
    All,
    /// A host, by name.
    Host(String),
    /// A text of the Server's own.
    Network(String),
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateRow {
    /// Never used twice.
    pub number: u64,
    pub counts_for: RateFor,
    /// The number of the host.
    pub client: Option<ClientId>,
    /// How fast, and when: texts of the Server's own.
    pub rates: Vec<String>,
    pub created_unix_ms: i64,
}

const COLUMNS: &str = "rates.rate AS rate, rates.client AS client, clients.name AS client_name,
    network, rates.rates AS rates, rates.created_unix_ms AS created_unix_ms
    FROM rates LEFT JOIN clients ON clients.client = rates.client";

impl Catalog {
    /// Keeps a new limit. Errors: `NotFound` without such a host, `Invalid` where there are `most`
    /// already.
    pub fn add_rate(
        &self,
        counts_for: &RateFor,
        rates: &[String],
        most: usize,
        now_unix_ms: i64,
    ) -> Result<u64, CatalogError> {
        self.write("keep a rate limit", |transaction| {
            let there: i64 =
                transaction.query_row("SELECT COUNT(*) FROM rates", [], |row| row.get(0))?;
            if usize::try_from(there).unwrap_or(usize::MAX) >= most {
                return Err(CatalogError::invalid(format!(
                    "there are {there} rate limits, and no more can be held: remove one first"
                )));
            }
            let (client, network) = match counts_for {
                RateFor::All => (None, None),
                RateFor::Host(name) => (Some(client_by_name(transaction, name)?.id.0), None),
                RateFor::Network(network) => (None, Some(network)),
            };
            let number = next_number(transaction, "rate")?;
            transaction.execute(
                "INSERT INTO rates (rate, client, network, rates, created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![number, client, network, json_cell(&rates)?, now_unix_ms],
            )?;
            u64::try_from(number).map_err(|_| CatalogError::invalid("the limits are used up"))
        })
    }

    /// All limits, the oldest first.
    pub fn rates(&self) -> Result<Vec<RateRow>, CatalogError> {
        self.read("list rate limits", |catalog| {
            let mut ask =
                catalog.prepare_cached(&format!("SELECT {COLUMNS} ORDER BY rates.rate"))?;
            let mut rows = ask.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(from_row(&Cells::new("rates", row))?);
            }
            Ok(all)
        })
    }

    /// Removes a limit, and answers what it was. Errors: `NotFound`.
    pub fn delete_rate(&self, number: u64) -> Result<RateRow, CatalogError> {
        self.write("remove a rate limit", |transaction| {
            let gone = rate_numbered(transaction, number)?;
            transaction.execute("DELETE FROM rates WHERE rate = ?1", [cell(number)])?;
            Ok(gone)
        })
    }
}

fn cell(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn rate_numbered(transaction: &Session<'_>, number: u64) -> Result<RateRow, CatalogError> {
    let mut ask = transaction.prepare_cached(&format!("SELECT {COLUMNS} WHERE rates.rate = ?1"))?;
    let mut rows = ask.query([cell(number)])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("rates", row)),
        None => Err(CatalogError::not_found("rate limit", number)),
    }
}

fn from_row(cells: &Cells<'_>) -> Result<RateRow, CatalogError> {
    let client: Option<i64> = cells.get("client")?;
    let counts_for = match (cells.get::<Option<String>>("client_name")?, cells.get("network")?) {
        (Some(name), _) => RateFor::Host(name),
        (None, Some(network)) => RateFor::Network(network),
        (None, None) => RateFor::All,
    };
    Ok(RateRow {
        number: cells.count("rate")?,
        counts_for,
        client: client.map(ClientId),
        rates: cells.json("rates")?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
