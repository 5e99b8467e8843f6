//! What was found when the ways of the plan were tried last. Kept in memory: after a restart nothing
//! has been tried yet.

use std::collections::BTreeMap;

use crate::api::{KeptProbe, ProbedRow, ProbesKept};
use crate::clock::now_unix_ms;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// Which way: row, who dials, who is dialled, the interface.
type Way = (String, String, String, Option<String>);

/// The last finding of each way.
#[derive(Default)]
pub(crate) struct ProbeBook {
    kept: BTreeMap<Way, KeptProbe>,
}

impl ProbeBook {
    /// Notes what was found. `everything`: ways that were not tried are none of the plan any more.
    pub fn note(&mut self, rows: &[ProbedRow], everything: bool) {
        let now = now_unix_ms();
        let mut before = std::mem::take(&mut self.kept);
        for row in rows {
            let way = (row.row.clone(), row.from.clone(), row.to.clone(), row.interface.clone());
            let known = before.remove(&way);
            let good = if row.state == "open" {
                Some(now)
            } else {
                known.and_then(|known| known.good_unix_ms)
            };
            let kept = KeptProbe { row: row.clone(), tried_unix_ms: now, good_unix_ms: good };
            self.kept.insert(way, kept);
        }
        if !everything {
            self.kept.extend(before);
        }
    }
}

impl Server {
    /// What was found last of each way that was tried since the Server started.
    pub async fn probes_kept(&self, who: &Principal) -> Result<ProbesKept, ServerError> {
        self.may_see(who, Right::View, "ports.last", Object::Suite).await?;
        let rows = self.house.probed.lock().kept.values().cloned().collect();
        Ok(ProbesKept { rows })
    }
}
