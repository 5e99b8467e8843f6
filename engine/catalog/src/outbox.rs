//! The outbox: what is to be told and was not yet. A notice is written into it in the transaction that marks the end of
//! its job as looked at, or that writes down what is missing: so each is there once, whatever dies in between.

use rusqlite::params;
use serde_json::Value;
use simsim_model::failpoint;

use crate::catalog::{Catalog, next_number};
use crate::cells::{Cells, count_cell, json_cell};
use crate::job::from_row as job_from_row;
use crate::notifications::by_name;
use crate::sql::{Optional, Session};
use crate::{Absence, CatalogError, Job};

/// A message names so many notices; of more it says how many.
pub const NOTICES_MAX: usize = 200;

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    Waiting,
    Sent,
    /// Nobody took it for so long that it is not tried any more.
    GivenUp,
}

impl MessageState {
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageState::Waiting => "waiting",
            MessageState::Sent => "sent",
            MessageState::GivenUp => "given_up",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [MessageState::Waiting, MessageState::Sent, MessageState::GivenUp]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub number: u64,
    pub notification: String,
    /// Documents of the Server's own.
    pub notices: Vec<Value>,
    /// So many more notices found no room.
    pub left_out: u64,
    pub made_unix_ms: i64,
    pub not_before_unix_ms: i64,
    pub attempts: u64,
    pub last_error: Option<String>,
    pub state: MessageState,
    pub ended_unix_ms: Option<i64>,
}

/// What a look of the Server found for one notification.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub notification: String,
    pub notices: Vec<Value>,
    /// What is missing: new, or said again.
    pub absent: Vec<Absence>,
    /// Subjects that are not missing any more.
    pub back: Vec<String>,
    /// The occurrence up to which its report is told with this; `None`: as before.
    pub reported_unix_ms: Option<i64>,
}

/// What one look of the Server found.
#[derive(Debug, Clone, Default)]
pub struct NoticeRound {
    pub told: Vec<Told>,
    /// Jobs whose end was looked at.
    pub jobs: Vec<u64>,
    /// New messages are not sent before.
    pub not_before_unix_ms: i64,
}

impl Catalog {
    /// Jobs that ended and whose end was not looked at yet, the oldest first.
    pub fn unnoticed_jobs(&self, limit: u32) -> Result<Vec<Job>, CatalogError> {
        self.read("look for jobs that ended", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT * FROM jobs WHERE noticed = 0 AND state NOT IN ('queued', 'running')
                 ORDER BY job LIMIT ?1",
            )?;
            let mut rows = ask.query([limit])?;
            let mut jobs = Vec::new();
            while let Some(row) = rows.next()? {
                jobs.push(job_from_row(&Cells::new("jobs", row))?);
            }
            Ok(jobs)
        })
    }

    /// Keeps what a look found, all of it or nothing. What a notification was to tell that went meanwhile is dropped.
    pub fn keep_notices(&self, round: &NoticeRound, now_unix_ms: i64) -> Result<(), CatalogError> {
        self.write("keep what is to be told", |transaction| {
            for told in &round.told {
                if by_name(transaction, &told.notification)?.is_some() {
                    keep_told(transaction, told, round.not_before_unix_ms, now_unix_ms)?;
                }
            }
            for job in &round.jobs {
                transaction
                    .execute("UPDATE jobs SET noticed = 1 WHERE job = ?1", [count_cell(*job)?])?;
            }
            Ok(())
        })?;
        failpoint::hit("notice.kept");
        Ok(())
    }

    /// The oldest waiting message of each notification: only that one is tried, so order stays, and what comes while
    /// nobody takes it gathers in one message behind it.
    pub fn next_messages(&self) -> Result<Vec<Message>, CatalogError> {
        self.messages_where(
            "WHERE message IN (SELECT MIN(message) FROM outbox WHERE state = 'waiting' GROUP BY notification)
             ORDER BY message",
            Vec::new(),
        )
    }

    /// Messages, newest first; of one notification, or of all.
    pub fn messages(
        &self,
        notification: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Message>, CatalogError> {
        let limit = if limit == 0 { u32::MAX } else { limit };
        self.messages_where(
            "WHERE notification = ?1 OR ?1 IS NULL ORDER BY message DESC LIMIT ?2",
            vec![notification.map(str::to_owned).into(), i64::from(limit).into()],
        )
    }

    /// Those that wait, the oldest first.
    pub fn waiting_messages(&self) -> Result<Vec<Message>, CatalogError> {
        self.messages_where("WHERE state = 'waiting' ORDER BY message", Vec::new())
    }

    fn messages_where(
        &self,
        rest: &str,
        values: Vec<rusqlite::types::Value>,
    ) -> Result<Vec<Message>, CatalogError> {
        self.read("list messages", |catalog| {
            let mut ask = catalog.prepare_cached(&format!("SELECT * FROM outbox {rest}"))?;
            let mut rows = ask.query(values)?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(from_row(&Cells::new("outbox", row))?);
            }
            Ok(found)
        })
    }

    /// A message is about to be tried: from here on nothing joins it. Before the attempt, so that one that was sent and
    /// then forgotten over a death is sent again as it was. Answers it as it stays; `None`: it went meanwhile.
    pub fn message_begun(&self, number: u64) -> Result<Option<Message>, CatalogError> {
        self.write("begin a message", |transaction| {
            let number = count_cell(number)?;
            transaction.execute(
                "UPDATE outbox SET attempts = attempts + 1 WHERE message = ?1 AND state = 'waiting'",
                [number],
            )?;
            let mut ask = transaction.prepare_cached(
                "SELECT * FROM outbox WHERE message = ?1 AND state = 'waiting'",
            )?;
            let mut rows = ask.query([number])?;
            rows.next()?.map(|row| from_row(&Cells::new("outbox", row))).transpose()
        })
    }

    /// What came of it: sent, or why not and when it is tried again (`None`: never).
    pub fn message_ended(
        &self,
        number: u64,
        failed: Option<(&str, Option<i64>)>,
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.write("end a message", |transaction| {
            let number = count_cell(number)?;
            match failed {
                None => transaction.execute(
                    "UPDATE outbox SET state = 'sent', last_error = NULL, ended_unix_ms = ?2
                     WHERE message = ?1",
                    [number, now_unix_ms],
                )?,
                Some((why, Some(again))) => transaction.execute(
                    "UPDATE outbox SET last_error = ?2, not_before_unix_ms = ?3 WHERE message = ?1",
                    params![number, why, again],
                )?,
                Some((why, None)) => transaction.execute(
                    "UPDATE outbox SET state = 'given_up', last_error = ?2, ended_unix_ms = ?3
                     WHERE message = ?1",
                    params![number, why, now_unix_ms],
                )?,
            };
            Ok(())
        })
    }
}

fn keep_told(
    transaction: &Session<'_>,
    told: &Told,
    not_before_unix_ms: i64,
    now_unix_ms: i64,
) -> Result<(), CatalogError> {
    for subject in told.back.iter().chain(told.absent.iter().map(|absence| &absence.subject)) {
        transaction.execute(
            "DELETE FROM absences WHERE notification = ?1 AND subject = ?2",
            params![told.notification, subject],
        )?;
    }
    for absence in &told.absent {
        transaction.execute(
            "INSERT INTO absences (notification, subject, text, since_unix_ms, told_unix_ms)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                told.notification,
                absence.subject,
                absence.text,
                absence.since_unix_ms,
                absence.told_unix_ms
            ],
        )?;
    }
    if let Some(reported) = told.reported_unix_ms {
        transaction.execute(
            "UPDATE notifications SET reported_unix_ms = ?2 WHERE name = ?1",
            params![told.notification, reported],
        )?;
    }
    if told.notices.is_empty() {
        return Ok(());
    }
    let open: Option<i64> = transaction
        .query_row(
            "SELECT message FROM outbox WHERE notification = ?1 AND state = 'waiting' AND attempts = 0
             ORDER BY message DESC LIMIT 1",
            [&told.notification],
            |row| row.get(0),
        )
        .optional()?;
    let (number, mut notices, mut left_out) = match open {
        Some(number) => {
            let mut ask = transaction.prepare_cached("SELECT * FROM outbox WHERE message = ?1")?;
            let mut rows = ask.query([number])?;
            match rows.next()? {
                Some(row) => {
                    let message = from_row(&Cells::new("outbox", row))?;
                    (number, message.notices, message.left_out)
                }
                None => return Err(CatalogError::not_found("message", number)),
            }
        }
        None => {
            let number = next_number(transaction, "message")?;
            transaction.execute(
                "INSERT INTO outbox (message, notification, notices, left_out, made_unix_ms,
                     not_before_unix_ms, attempts, state)
                 VALUES (?1, ?2, '[]', 0, ?3, ?4, 0, 'waiting')",
                params![number, told.notification, now_unix_ms, not_before_unix_ms],
            )?;
            (number, Vec::new(), 0)
        }
    };
    for notice in &told.notices {
        if notices.len() < NOTICES_MAX {
            notices.push(notice.clone());
        } else {
            left_out += 1;
        }
    }
    transaction.execute(
        "UPDATE outbox SET notices = ?2, left_out = ?3 WHERE message = ?1",
        params![number, json_cell(&notices)?, count_cell(left_out)?],
    )?;
    Ok(())
}

fn from_row(cells: &Cells<'_>) -> Result<Message, CatalogError> {
    Ok(Message {
        number: cells.count("message")?,
        notification: cells.get("notification")?,
        notices: cells.json("notices")?,
        left_out: cells.count("left_out")?,
        made_unix_ms: cells.get("made_unix_ms")?,
        not_before_unix_ms: cells.get("not_before_unix_ms")?,
        attempts: cells.count("attempts")?,
        last_error: cells.get("last_error")?,
        state: cells.word("state", MessageState::parse)?,
        ended_unix_ms: cells.get("ended_unix_ms")?,
    })
}
