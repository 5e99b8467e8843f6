//! How many jobs run at once on a client, and on the drives of a group.

use std::collections::HashMap;

use rusqlite::params;

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::{CatalogError, ClientId};

/// All limits but those of the drives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobLimits {
    pub clients: HashMap<ClientId, u32>,
    /// By the name of the drive group.
    pub groups: HashMap<String, u32>,
}

impl Catalog {
    /// All limits.
    pub fn job_limits(&self) -> Result<JobLimits, CatalogError> {
        self.read("look up limits of jobs", |catalog| {
            let mut limits = JobLimits::default();
            let mut ask = catalog.prepare_cached(
                "SELECT client, jobs_max FROM clients WHERE jobs_max IS NOT NULL",
            )?;
            let mut rows = ask.query([])?;
            while let Some(row) = rows.next()? {
                let cells = Cells::new("clients", row);
                limits.clients.insert(ClientId(cells.get("client")?), cells.get("jobs_max")?);
            }
            let mut ask = catalog.prepare_cached(
                "SELECT name, jobs_max FROM drive_groups WHERE jobs_max IS NOT NULL",
            )?;
            let mut rows = ask.query([])?;
            while let Some(row) = rows.next()? {
                let cells = Cells::new("drive_groups", row);
                limits.groups.insert(cells.get("name")?, cells.get("jobs_max")?);
            }
            Ok(limits)
        })
    }

    /// Limits the jobs at once on a client; `None`: no limit. Errors: `NotFound`.
    pub fn limit_client(&self, name: &str, jobs_max: Option<u32>) -> Result<(), CatalogError> {
        self.limit("client", "UPDATE clients SET jobs_max = ?2 WHERE name = ?1", name, jobs_max)
    }

    /// Limits the jobs at once on all drives of a group together; `None`: no limit. Errors: `NotFound`.
    pub fn limit_drive_group(&self, name: &str, jobs_max: Option<u32>) -> Result<(), CatalogError> {
        let text = "UPDATE drive_groups SET jobs_max = ?2 WHERE name = ?1";
        self.limit("drive group", text, name, jobs_max)
    }

    fn limit(
        &self,
        noun: &'static str,
        text: &'static str,
        name: &str,
        jobs_max: Option<u32>,
    ) -> Result<(), CatalogError> {
        self.write("limit jobs", |transaction| {
            match transaction.execute(text, params![name, jobs_max])? {
                0 => Err(CatalogError::not_found(noun, name)),
                _ => Ok(()),
            }
        })
    }
}
