//! Tickets of jobs beside the one in a job's row: each is good for days, and none outlives its job.
//!
//! One is written down before its device hears of it, and forgotten when the device was told that it is
//! withdrawn. So a server that dies in between withdraws it after its restart.

use rusqlite::params;
use simsim_model::TransferId;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell};
use crate::clients::ClientId;
use crate::sql::Session;

impl Catalog {
    /// Before `device` hears of it.
    pub fn remember_ticket(
        &self,
        job: u64,
        device: ClientId,
        transfer: TransferId,
    ) -> Result<(), CatalogError> {
        self.write("remember a ticket", |transaction| {
            transaction.execute(
                "INSERT INTO tickets (transfer, job, client) VALUES (?1, ?2, ?3)
                 ON CONFLICT (transfer) DO NOTHING",
                params![transfer.as_bytes(), count_cell(job)?, device.0],
            )?;
            Ok(())
        })
    }

    /// Its device was told that it is withdrawn.
    pub fn forget_ticket(&self, transfer: TransferId) -> Result<(), CatalogError> {
        self.write("forget a ticket", |transaction| {
            transaction
                .execute("DELETE FROM tickets WHERE transfer = ?1", [transfer.as_bytes()])?;
            Ok(())
        })
    }

    /// Those of a job, each with its device.
    pub fn tickets_of(&self, job: u64) -> Result<Vec<(ClientId, TransferId)>, CatalogError> {
        self.read("list tickets", |catalog| {
            list(
                catalog,
                "SELECT * FROM tickets WHERE job = ?1 ORDER BY transfer",
                &[count_cell(job)?],
            )
        })
    }

    /// Those of jobs that have ended: nobody has withdrawn them yet.
    pub fn tickets_left(&self) -> Result<Vec<(ClientId, TransferId)>, CatalogError> {
        self.read("list tickets that are left", |catalog| {
            list(
                catalog,
                "SELECT tickets.* FROM tickets JOIN jobs ON jobs.job = tickets.job
                 WHERE jobs.state NOT IN ('queued', 'running') ORDER BY transfer",
                &[],
            )
        })
    }
}

fn list(
    catalog: &Session<'_>,
    query: &str,
    parameters: &[i64],
) -> Result<Vec<(ClientId, TransferId)>, CatalogError> {
    let mut ask = catalog.prepare_cached(query)?;
    let values: Vec<rusqlite::types::Value> = parameters.iter().map(|one| (*one).into()).collect();
    let mut rows = ask.query(values)?;
    let mut tickets = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = Cells::new("tickets", row);
        tickets.push((ClientId(cells.get("client")?), cells.id("transfer")?));
    }
    Ok(tickets)
}
