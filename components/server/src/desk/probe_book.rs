//! What was found when the ways of the plan were tried last: kept in the catalog, so that a server that starts
//! again still knows when each of them was open.

use simsim_catalog::Probe;

use crate::api::{KeptProbe, ProbedRow, ProbesKept};
use crate::clock::now_unix_ms;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Notes what was found. `everything`: ways that were not tried are none of the plan any more.
    pub(super) async fn note_probes(
        &self,
        rows: &[ProbedRow],
        everything: bool,
    ) -> Result<(), ServerError> {
        let now = now_unix_ms();
        let mut probes = Vec::with_capacity(rows.len());
        for row in rows {
            let found =
                serde_json::to_string(row).map_err(|error| ServerError::Lost(error.to_string()))?;
            probes.push(Probe {
                row: row.row.clone(),
                dialler: row.from.clone(),
                dialled: row.to.clone(),
                interface: row.interface.clone().unwrap_or_default(),
                found,
                tried_unix_ms: now,
                good_unix_ms: (row.state == "open").then_some(now),
            });
        }
        self.house.books.run(move |catalog| catalog.note_probes(&probes, everything)).await
    }

    /// What was found last of each way that was tried.
    pub async fn probes_kept(&self, who: &Principal) -> Result<ProbesKept, ServerError> {
        self.may_see(who, Right::View, "ports.last", Object::Suite).await?;
        let probes = self.house.books.run(|catalog| catalog.probes()).await?;
        let rows = probes.into_iter().filter_map(|one| {
            // One that another version wrote and this one cannot read was not tried.
            let row: ProbedRow = serde_json::from_str(&one.found).ok()?;
            Some(KeptProbe {
                row,
                tried_unix_ms: one.tried_unix_ms,
                good_unix_ms: one.good_unix_ms,
            })
        });
        Ok(ProbesKept { rows: rows.collect() })
    }
}
