//! The audit log: every act of consequence, in a chain that shows when somebody edits it.
//!
//! A row's hash is keyed BLAKE3 over the hash of the row before it and the row's canonical text
//! (a JSON array of its fields in the order of the table, without the position). The key lies
//! outside the database, so who can only write the file cannot make a chain that holds. The head
//! says where the chain ends; a copy of it kept elsewhere ([`Catalog::audit_head`]) also catches
//! somebody who has the key and cuts the end off.

use std::collections::HashSet;

use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell, json_cell};
use crate::sql::{Optional, Session};

/// An act, as told by who witnessed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditEntry {
    /// Who: `local:root`, `client:alpha`, `server`.
    pub principal: String,
    /// What: `client.revoke`, `restore.to-other`.
    pub verb: String,
    /// To what: the client's or task's name, the saveset's id.
    pub object: String,
    /// Whether it was allowed; refusals are written down too.
    pub allowed: bool,
    /// More, for people. No secrets.
    pub detail: String,
}

/// An act as kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditRow {
    /// From 1, without gaps.
    pub position: u64,
    pub at_unix_ms: i64,
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// Where the chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// 0: nothing was written yet.
    pub position: u64,
    pub hash: [u8; 32],
}

/// The first place where the chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", content = "position", rename_all = "snake_case")]
pub enum AuditBreak {
    /// The row at this position is not what was written there.
    Changed(u64),
    /// The row that was written at this position is gone, or another stands for it.
    Removed(u64),
    /// The row at this position was written at another.
    Moved(u64),
}

impl std::fmt::Display for AuditBreak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AuditBreak::Changed(at) => write!(f, "audit row {at} was changed"),
            AuditBreak::Removed(at) => write!(f, "audit row {at} was removed or replaced"),
            AuditBreak::Moved(at) => write!(f, "audit row {at} was moved there from elsewhere"),
        }
    }
}

struct Link {
    row: AuditRow,
    previous: [u8; 32],
    hash: [u8; 32],
}

impl Catalog {
    /// Adds an act to the chain. Returns its position.
    pub fn add_audit(&self, entry: &AuditEntry, now_unix_ms: i64) -> Result<u64, CatalogError> {
        self.write("add to the audit log", |transaction| {
            self.append_audit(transaction, entry, now_unix_ms)
        })
    }

    /// As [`Catalog::add_audit`], as a part of a transaction.
    pub(crate) fn append_audit(
        &self,
        transaction: &Session<'_>,
        entry: &AuditEntry,
        now_unix_ms: i64,
    ) -> Result<u64, CatalogError> {
        let head = head(transaction)?;
        let position = head.position + 1;
        let hash = self.link_hash(&head.hash, now_unix_ms, entry)?;
        transaction.execute(
            "INSERT INTO audit (position, at_unix_ms, principal, verb, object, allowed, detail,
                 previous_hash, row_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                count_cell(position)?,
                now_unix_ms,
                entry.principal,
                entry.verb,
                entry.object,
                entry.allowed,
                entry.detail,
                head.hash,
                hash
            ],
        )?;
        set_head(transaction, &AuditHead { position, hash })?;
        Ok(position)
    }

    /// Acts after position `after`, oldest first, at most `limit`.
    pub fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, CatalogError> {
        self.read("read the audit log", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT * FROM audit WHERE position > ?1 ORDER BY position LIMIT ?2",
            )?;
            let mut rows = ask.query(params![count_cell(after)?, limit])?;
            let mut acts = Vec::new();
            while let Some(row) = rows.next()? {
                acts.push(link(&Cells::new("audit", row))?.row);
            }
            Ok(acts)
        })
    }

    /// The end of the chain, to be kept elsewhere as well.
    pub fn audit_head(&self) -> Result<AuditHead, CatalogError> {
        self.read("read the audit log", head)
    }

    /// A key that derives from the audit key, to check a kept head with.
    pub fn audit_check_key(&self) -> [u8; 32] {
        blake3::derive_key("simsim 2026 audit head check v1", self.audit_key())
    }

    /// Follows the chain from its first row to its end and names the first row that was changed,
    /// removed or moved; `None`: the chain holds. `kept_head`, where there is one, is a head that
    /// was kept elsewhere: the chain must still go through it.
    pub fn verify_audit(
        &self,
        kept_head: Option<&AuditHead>,
    ) -> Result<Option<AuditBreak>, CatalogError> {
        self.read("verify the audit log", |catalog| {
            let end = head(catalog)?;
            let mut ask = catalog.prepare("SELECT * FROM audit ORDER BY position")?;
            let mut rows = ask.query([])?;
            let mut last = AuditHead { position: 0, hash: [0; 32] };
            while let Some(row) = rows.next()? {
                let cells = Cells::new("audit", row);
                let Ok(link) = link(&cells) else {
                    return Ok(Some(AuditBreak::Changed(last.position + 1)));
                };
                let position = link.row.position;
                let hash = self.link_hash(&link.previous, link.row.at_unix_ms, &link.row.entry)?;
                if hash != link.hash {
                    return Ok(Some(AuditBreak::Changed(position)));
                }
                if link.previous != last.hash {
                    return self.name_break(catalog, &link, last.position).map(Some);
                }
                if position != last.position + 1 {
                    return Ok(Some(AuditBreak::Moved(position)));
                }
                last = AuditHead { position, hash };
                if let Some(kept) = kept_head
                    && kept.position == position
                    && kept.hash != hash
                {
                    return Ok(Some(AuditBreak::Changed(position)));
                }
            }
            if last != end || kept_head.is_some_and(|kept| kept.position > last.position) {
                return Ok(Some(AuditBreak::Removed(last.position + 1)));
            }
            Ok(None)
        })
    }

    /// A whole row that does not follow the row before it: was it moved, or is the one between
    /// them gone?
    fn name_break(
        &self,
        catalog: &Session<'_>,
        link: &Link,
        last_position: u64,
    ) -> Result<AuditBreak, CatalogError> {
        let hashes: HashSet<Vec<u8>> = catalog
            .prepare("SELECT row_hash FROM audit")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let first_by_nature = link.previous == [0; 32];
        if first_by_nature || hashes.contains(link.previous.as_slice()) {
            Ok(AuditBreak::Moved(link.row.position))
        } else {
            // Renumbered or not: the row that this one follows stood right after the last good
            // one, or is the last good one's place taken by another.
            Ok(AuditBreak::Removed(last_position + 1))
        }
    }

    fn link_hash(
        &self,
        previous: &[u8; 32],
        at_unix_ms: i64,
        entry: &AuditEntry,
    ) -> Result<[u8; 32], CatalogError> {
        let text = json_cell(&(
            at_unix_ms,
            &entry.principal,
            &entry.verb,
            &entry.object,
            entry.allowed,
            &entry.detail,
        ))?;
        let mut hasher = blake3::Hasher::new_keyed(self.audit_key());
        hasher.update(previous);
        hasher.update(text.as_bytes());
        Ok(*hasher.finalize().as_bytes())
    }
}

fn head(catalog: &Session<'_>) -> Result<AuditHead, CatalogError> {
    let head: Option<(i64, [u8; 32])> = catalog
        .query_row("SELECT position, row_hash FROM audit_head WHERE one = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    Ok(head.map_or(AuditHead { position: 0, hash: [0; 32] }, |(position, hash)| AuditHead {
        position: position.unsigned_abs(),
        hash,
    }))
}

fn set_head(transaction: &Session<'_>, head: &AuditHead) -> Result<(), CatalogError> {
    transaction.execute(
        "INSERT INTO audit_head (one, position, row_hash) VALUES (1, ?1, ?2)
         ON CONFLICT (one) DO UPDATE SET position = excluded.position,
             row_hash = excluded.row_hash",
        params![count_cell(head.position)?, head.hash],
    )?;
    Ok(())
}

fn link(cells: &Cells<'_>) -> Result<Link, CatalogError> {
    Ok(Link {
        row: AuditRow {
            position: cells.count("position")?,
            at_unix_ms: cells.get("at_unix_ms")?,
            entry: AuditEntry {
                principal: cells.get("principal")?,
                verb: cells.get("verb")?,
                object: cells.get("object")?,
                allowed: cells.get("allowed")?,
                detail: cells.get("detail")?,
            },
        },
        previous: cells.get("previous_hash")?,
        hash: cells.get("row_hash")?,
    })
}
