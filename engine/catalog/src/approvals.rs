//! Acts that need a second person: each is kept with its exact content until another principal
//! approves or rejects it, or it expires.
//!
//! The digest is over everything that was asked, keyed as the audit log is: who can write the database
//! but does not know the server's master key cannot put another act in the place of the one that was
//! asked for.

use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::CatalogError;
use crate::catalog::{Catalog, next_number};
use crate::cells::{Cells, count_cell, json_cell};
use crate::sql::Session;

/// How far an approval is. One that is open and past its end is expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    Open,
    /// And done: the act is of the same transaction.
    Approved,
    Rejected,
}

impl ApprovalState {
    pub const fn as_str(self) -> &'static str {
        match self {
            ApprovalState::Open => "open",
            ApprovalState::Approved => "approved",
            ApprovalState::Rejected => "rejected",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [ApprovalState::Open, ApprovalState::Approved, ApprovalState::Rejected]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// An act to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApproval {
    pub verb: String,
    /// The request, a JSON document of the Server's own.
    pub request: String,
    /// What it would do, for people.
    pub about: String,
    pub asked_by: String,
    pub expires_unix_ms: i64,
}

/// One act that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub number: u64,
    pub verb: String,
    pub request: String,
    pub about: String,
    /// Hexadecimal digits.
    pub digest: String,
    pub asked_by: String,
    pub asked_unix_ms: i64,
    pub expires_unix_ms: i64,
    pub state: ApprovalState,
    pub decided_by: Option<String>,
    pub decided_unix_ms: Option<i64>,
    /// What the second person said, or what came of it.
    pub note: String,
}

/// What becomes of one that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalEnd {
    pub number: u64,
    pub state: ApprovalState,
    pub decided_by: String,
    pub note: String,
}

impl Catalog {
    /// All approvals, the newest first. `open_only`: those that wait.
    pub fn approvals(&self, open_only: bool) -> Result<Vec<Approval>, CatalogError> {
        self.read("list approvals", |catalog| self.read_approvals(catalog, open_only))
    }

    /// One of them. Errors: `NotFound`.
    pub fn approval(&self, number: u64) -> Result<Approval, CatalogError> {
        self.read("look up an approval", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT * FROM approvals WHERE approval = ?1")?;
            let mut rows = ask.query([count_cell(number)?])?;
            match rows.next()? {
                Some(row) => self.approval_from(&Cells::new("approvals", row)),
                None => Err(CatalogError::not_found("approval", number)),
            }
        })
    }

    pub(crate) fn read_approvals(
        &self,
        catalog: &Session<'_>,
        open_only: bool,
    ) -> Result<Vec<Approval>, CatalogError> {
        let only = if open_only { "WHERE state = 'open'" } else { "" };
        let mut ask = catalog
            .prepare_cached(&format!("SELECT * FROM approvals {only} ORDER BY approval DESC"))?;
        let mut rows = ask.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(self.approval_from(&Cells::new("approvals", row))?);
        }
        Ok(found)
    }

    /// Keeps an act, and answers its number.
    pub(crate) fn ask_approval(
        &self,
        transaction: &Session<'_>,
        new: &NewApproval,
        now_unix_ms: i64,
    ) -> Result<u64, CatalogError> {
        let number = next_number(transaction, "approval")?;
        let mut approval = Approval {
            number: number.unsigned_abs(),
            verb: new.verb.clone(),
            request: new.request.clone(),
            about: new.about.clone(),
            digest: String::new(),
            asked_by: new.asked_by.clone(),
            asked_unix_ms: now_unix_ms,
            expires_unix_ms: new.expires_unix_ms,
            state: ApprovalState::Open,
            decided_by: None,
            decided_unix_ms: None,
            note: String::new(),
        };
        approval.digest = self.digest_of(&approval)?;
        transaction.execute(
            "INSERT INTO approvals (approval, verb, request, about, digest, asked_by,
                 asked_unix_ms, expires_unix_ms, state, note)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'open', '')",
            params![
                number,
                approval.verb,
                approval.request,
                approval.about,
                approval.digest,
                approval.asked_by,
                now_unix_ms,
                approval.expires_unix_ms
            ],
        )?;
        Ok(approval.number)
    }

    fn approval_from(&self, cells: &Cells<'_>) -> Result<Approval, CatalogError> {
        let approval = Approval {
            number: cells.count("approval")?,
            verb: cells.get("verb")?,
            request: cells.get("request")?,
            about: cells.get("about")?,
            digest: cells.get("digest")?,
            asked_by: cells.get("asked_by")?,
            asked_unix_ms: cells.get("asked_unix_ms")?,
            expires_unix_ms: cells.get("expires_unix_ms")?,
            state: cells.word("state", ApprovalState::parse)?,
            decided_by: cells.get("decided_by")?,
            decided_unix_ms: cells.get("decided_unix_ms")?,
            note: cells.get("note")?,
        };
        match approval.digest == self.digest_of(&approval)? {
            true => Ok(approval),
            false => Err(cells.bad(
                "digest",
                format!("approval {} is not what was asked for any more", approval.number),
            )),
        }
    }

    fn digest_of(&self, approval: &Approval) -> Result<String, CatalogError> {
        let text = json_cell(&(
            approval.number,
            &approval.verb,
            &approval.request,
            &approval.about,
            &approval.asked_by,
            approval.asked_unix_ms,
            approval.expires_unix_ms,
        ))?;
        let key = blake3::derive_key("simsim 2026 approval digest v1", self.audit_key());
        let hash = blake3::keyed_hash(&key, text.as_bytes());
        Ok(hash.to_hex().as_str().to_owned())
    }
}

/// Ends one that is open. Errors: `Invalid` for one that was decided.
pub(crate) fn end(
    transaction: &Session<'_>,
    end: &ApprovalEnd,
    now_unix_ms: i64,
) -> Result<(), CatalogError> {
    let changed = transaction.execute(
        "UPDATE approvals SET state = ?2, decided_by = ?3, decided_unix_ms = ?4, note = ?5
         WHERE approval = ?1 AND state = 'open'",
        params![count_cell(end.number)?, end.state.as_str(), end.decided_by, now_unix_ms, end.note],
    )?;
    match changed {
        0 => Err(CatalogError::invalid(format!("approval {} is not open any more", end.number))),
        _ => Ok(()),
    }
}
