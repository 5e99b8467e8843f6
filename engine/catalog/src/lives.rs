//! How long savesets live, as one decision sees it: everything that bears on it, read and changed in
//! one transaction. So no hold, lock or policy comes in between what was looked at and what was written.

use std::collections::HashMap;

use rusqlite::params;
use simsim_model::{Checked, Outcome, SavesetId, StoreId};

use crate::backups::{Hold, MadeFor};
use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell};
use crate::copy_lives::copy_lives;
use crate::deletions::{self, Deletion, NewDeletion};
use crate::held_locks::held_locks;
use crate::pools::{self, Pool};
use crate::savesets::{self, Saveset};
use crate::sql::Session;
use crate::{
    ApiToken, Approval, ApprovalEnd, CatalogError, IdentityProvider, NewApproval, Places,
    ProviderChange, User, api_tokens, approvals, identity_providers, locations, users,
};

/// What the checks of a saveset in a datastore came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastCheck {
    /// None was made, or one found damage and did not say whose.
    NotYet,
    Whole,
    Damaged,
}

/// One saveset in one datastore, with what keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The row of its backup: names, sizes, and the lock of its manifest.
    pub saveset: Saveset,
    /// Where this one lies.
    pub store: StoreId,
    /// The server's count of backups: which of two is newer.
    pub number: u64,
    pub stamped_unix_ms: i64,
    /// The stamp is that of the device that committed it.
    pub found: bool,
    pub made_for: MadeFor,
    pub pool: String,
    pub eol_unix_s: Option<i64>,
    /// A copy whose pool or EOL a migration gave it: its task's EOL is not its.
    pub own_life: bool,
    /// Of manifest, extension and what its device holds the latest; 0: none.
    pub lock_until_unix_s: u64,
    /// Until when its device keeps it, by manifest or by its own word, whatever a server says; 0: it
    /// does not.
    pub held_until_unix_s: u64,
    /// Why its device does not hold the lock that it is owed.
    pub lock_trouble: Option<String>,
    pub hold: Option<Hold>,
    pub check: LastCheck,
    pub checked_unix_ms: Option<i64>,
    /// It is to be deleted.
    pub deletion: Option<Deletion>,
}

impl Life {
    /// Where its backup has its row; elsewhere it is a copy.
    pub fn is_original(&self) -> bool {
        self.store == self.saveset.store
    }
}

/// Everything that a decision looks at, of one moment.
#[derive(Debug, Clone, Default)]
pub struct LifeBooks {
    pub lives: Vec<Life>,
    pub pools: Vec<Pool>,
    /// Client, task and days, of tasks that have an EOL.
    pub task_eol_days: Vec<(String, String, u32)>,
    /// Those that wait.
    pub approvals: Vec<Approval>,
    /// What is kept under [`CLOCK`].
    pub clock: Option<Vec<u8>>,
    /// By name.
    pub users: Vec<User>,
    /// By name.
    pub api_tokens: Vec<ApiToken>,
    /// By name.
    pub providers: Vec<IdentityProvider>,
    pub places: Places,
}

/// The setting in which the Server keeps what it knows of the time.
pub const CLOCK: &str = "retention.clock";

/// One thing that a decision changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifeChange {
    Delete(NewDeletion),
    /// A decision that no device was told, and that stands no more.
    TakeBack(SavesetId, StoreId),
    /// The saveset's own EOL; deletions that were not told are taken back.
    Eol(SavesetId, i64),
    /// A lock only ever grows; deletions that were not told are taken back.
    Lock(SavesetId, u64),
    /// Deletions that were not told are taken back.
    Hold(SavesetId, Hold),
    Release(SavesetId),
    Pool(Pool),
    /// A user's grants, and whether the user is shut out.
    User {
        name: String,
        grants: String,
        disabled: bool,
    },
    RemoveUser(String),
    /// An API token's grants.
    Token {
        name: String,
        grants: String,
    },
    Provider(ProviderChange),
    Ask(NewApproval),
    End(ApprovalEnd),
    Clock(Vec<u8>),
}

impl Catalog {
    /// Everything that bears on how long savesets live.
    pub fn life_books(&self) -> Result<LifeBooks, CatalogError> {
        self.read("read what keeps savesets", |catalog| self.read_lives(catalog))
    }

    /// Decides and writes down in one transaction; `decide` may be called more than once. Answers
    /// what it answered last, with the numbers of the approvals that were asked for.
    pub fn change_lives<T: Send>(
        &self,
        now_unix_ms: i64,
        mut decide: impl FnMut(&LifeBooks) -> (T, Vec<LifeChange>) + Send,
    ) -> Result<(T, Vec<u64>), CatalogError> {
        self.write("decide on savesets", |transaction| {
            let books = self.read_lives(transaction)?;
            let (answer, changes) = decide(&books);
            let mut asked = Vec::new();
            for change in &changes {
                self.change_life(transaction, change, &mut asked, now_unix_ms)?;
            }
            Ok((answer, asked))
        })
    }

    fn read_lives(&self, catalog: &Session<'_>) -> Result<LifeBooks, CatalogError> {
        let mut ask = catalog.prepare_cached(
            "SELECT client_name, task_name, eol_days FROM (
                 SELECT clients.name AS client_name, tasks.name AS task_name, eol_days
                 FROM tasks JOIN clients ON clients.client = tasks.client) AS named
             WHERE eol_days > 0 ORDER BY task_name",
        )?;
        let mut rows = ask.query([])?;
        let mut task_eol_days = Vec::new();
        while let Some(row) = rows.next()? {
            let cells = Cells::new("tasks", row);
            let (client, task) = (cells.get("client_name")?, cells.get("task_name")?);
            task_eol_days.push((client, task, cells.get("eol_days")?));
        }
        drop(rows);
        Ok(LifeBooks {
            lives: lives(catalog)?,
            pools: pools::all_pools(catalog)?,
            task_eol_days,
            approvals: self.read_approvals(catalog, true)?,
            clock: crate::settings::setting(catalog, CLOCK)?,
            users: users::all_users(catalog)?,
            api_tokens: api_tokens::all_tokens(catalog)?,
            providers: identity_providers::all_providers(catalog)?,
            places: locations::places(catalog)?,
        })
    }

    fn change_life(
        &self,
        transaction: &Session<'_>,
        change: &LifeChange,
        asked: &mut Vec<u64>,
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        match change {
            LifeChange::Delete(new) => deletions::decide(transaction, new, now_unix_ms)?,
            LifeChange::Eol(saveset, eol) => {
                transaction.execute(
                    "UPDATE backups SET eol_unix_s = ?2 WHERE saveset = ?1",
                    params![saveset.as_bytes(), eol],
                )?;
                deletions::take_back(transaction, *saveset)?;
            }
            LifeChange::TakeBack(saveset, store) => {
                deletions::take_back_in(transaction, *saveset, *store)?;
            }
            LifeChange::Lock(saveset, until) => {
                transaction.execute(
                    "UPDATE backups SET lock_until_unix_s = ?2
                     WHERE saveset = ?1 AND lock_until_unix_s < ?2",
                    params![saveset.as_bytes(), count_cell(*until)?],
                )?;
                deletions::take_back(transaction, *saveset)?;
            }
            LifeChange::Hold(saveset, hold) => {
                transaction.execute(
                    "UPDATE backups SET hold_by = ?2, hold_why = ?3, hold_since_unix_ms = ?4
                     WHERE saveset = ?1",
                    params![saveset.as_bytes(), hold.by, hold.why, hold.since_unix_ms],
                )?;
                deletions::take_back(transaction, *saveset)?;
            }
            LifeChange::Release(saveset) => {
                transaction.execute(
                    "UPDATE backups SET hold_by = NULL, hold_why = NULL, hold_since_unix_ms = NULL
                     WHERE saveset = ?1",
                    [saveset.as_bytes()],
                )?;
            }
            LifeChange::Pool(pool) => pools::put_pool(transaction, pool)?,
            LifeChange::User { name, grants, disabled } => {
                users::change(transaction, name, grants, *disabled)?;
            }
            LifeChange::RemoveUser(name) => {
                users::remove(transaction, name)?;
            }
            LifeChange::Token { name, grants } => api_tokens::grant(transaction, name, grants)?,
            LifeChange::Provider(new) => identity_providers::apply(transaction, new)?,
            LifeChange::Ask(new) => {
                asked.push(self.ask_approval(transaction, new, now_unix_ms)?);
            }
            LifeChange::End(end) => approvals::end(transaction, end, now_unix_ms)?,
            LifeChange::Clock(value) => crate::settings::put_setting(transaction, CLOCK, value)?,
        }
        Ok(())
    }

    /// The newest stamp of the server's own clock; `None` before the first backup.
    pub fn newest_stamp(&self) -> Result<Option<i64>, CatalogError> {
        self.read("look up the newest stamp", |catalog| {
            Ok(catalog.query_row(
                "SELECT MAX(stamped_unix_ms) FROM backups WHERE found = 0",
                [],
                |row| row.get(0),
            )?)
        })
    }
}

fn lives(catalog: &Session<'_>) -> Result<Vec<Life>, CatalogError> {
    let checks = Checks::read(catalog)?;
    let own = copy_lives(catalog)?;
    let mut locks = held_locks(catalog)?;
    let mut pending: HashMap<(SavesetId, StoreId), Deletion> = HashMap::new();
    for deletion in deletions::pending(catalog)? {
        pending.insert((deletion.saveset, deletion.store), deletion);
    }
    // What the backup adds has names that no column of a saveset has.
    const BACKUP: &str = "backups.number, backups.stamped_unix_ms, backups.found, backups.made_for,
        backups.pool, backups.eol_unix_s, backups.lock_until_unix_s AS extended_until,
        backups.hold_by, backups.hold_why, backups.hold_since_unix_ms";
    let mut ask = catalog.prepare_cached(&format!(
        "SELECT savesets.*, savesets.store AS there, -1 AS copy, 0 AS after_job, {BACKUP} FROM savesets
             JOIN backups ON backups.saveset = savesets.saveset WHERE state = 'present'
         UNION ALL
         SELECT savesets.*, copies.store AS there, copies.number AS copy, copies.after_job AS after_job,
                 {BACKUP} FROM copies
             JOIN savesets ON savesets.saveset = copies.saveset
             JOIN backups ON backups.saveset = copies.saveset
         ORDER BY number, there"
    ))?;
    let mut rows = ask.query([])?;
    let mut lives = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = Cells::new("savesets", row);
        let saveset = savesets::from_row(&cells)?;
        let store = cells.id("there")?;
        let stamped_unix_ms = cells.get("stamped_unix_ms")?;
        let hold_by: Option<String> = cells.get("hold_by")?;
        let hold = match hold_by {
            Some(by) => Some(Hold {
                by,
                why: cells.get("hold_why")?,
                since_unix_ms: cells.get("hold_since_unix_ms")?,
            }),
            None => None,
        };
        let copy: i64 = cells.get("copy")?;
        let since = match u64::try_from(copy) {
            Ok(number) => Since::Copy { number, after_job: cells.count("after_job")? },
            Err(_) => Since::Commit(saveset.committed_unix_ns.div_euclid(1_000_000)),
        };
        let (check, checked_unix_ms) = checks.of(saveset.saveset, store, since);
        let pool: Option<String> = cells.get("pool")?;
        let mut eol_unix_s: Option<i64> = cells.get("eol_unix_s")?;
        // What stands beside a copy is of the copy only while it is one.
        let own = own.get(&(saveset.saveset, store)).filter(|_| copy >= 0);
        let pool = own.and_then(|own| own.pool.clone()).or(pool);
        // Of an EOL that a person gave the backup, and that of the copy, the later one counts.
        eol_unix_s = eol_unix_s.max(own.and_then(|own| own.eol_unix_s));
        let held = locks.remove(&(saveset.saveset, store)).unwrap_or_default();
        let held_until_unix_s = saveset.lock_until_unix_s.max(held.until_unix_s);
        lives.push(Life {
            store,
            number: cells.count("number")?,
            stamped_unix_ms,
            found: cells.get("found")?,
            made_for: cells.word("made_for", MadeFor::parse)?,
            pool: pool.unwrap_or_else(|| pools::DEFAULT_POOL.to_owned()),
            eol_unix_s,
            own_life: own.is_some(),
            lock_until_unix_s: held_until_unix_s.max(cells.count("extended_until")?),
            held_until_unix_s,
            lock_trouble: held.trouble,
            hold,
            check,
            checked_unix_ms,
            deletion: pending.remove(&(saveset.saveset, store)),
            saveset,
        });
    }
    Ok(lives)
}

/// What verifications have found, the newest of each kind.
#[derive(Default)]
pub(crate) struct Checks {
    /// Of whole datastores.
    whole: HashMap<StoreId, Found>,
    /// Of single savesets.
    single: HashMap<(SavesetId, StoreId), Found>,
    /// Of copies, by migrations: the number of the copy, when, and whether it was whole.
    copies: HashMap<(SavesetId, StoreId), (u64, i64, bool)>,
}

/// One finding: when the check began, whether all was sound, and the job.
#[derive(Clone, Copy)]
struct Found {
    at: i64,
    sound: bool,
    job: u64,
}

/// Since when something lies in a datastore.
#[derive(Clone, Copy)]
pub(crate) enum Since {
    /// The instant of its commit.
    Commit(i64),
    /// A copy: its listing, and the last job that was queued before that. The instant in its manifest is
    /// that of the original.
    Copy { number: u64, after_job: u64 },
}

impl Checks {
    pub(crate) fn read(catalog: &Session<'_>) -> Result<Self, CatalogError> {
        let mut ask = catalog.prepare_cached(
            "SELECT results.job AS job, jobs.store AS store, jobs.saveset AS saveset,
                 results.outcome AS outcome, results.started_unix_ms AS started_unix_ms,
                 results.checked AS checked, results.kind AS kind, jobs.request AS request
             FROM results JOIN jobs ON jobs.job = results.job
             WHERE results.kind IN ('verify', 'scrub', 'heal') AND results.started_unix_ms IS NOT NULL
                 AND results.checked IS NOT NULL
             ORDER BY results.job",
        )?;
        let mut rows = ask.query([])?;
        let mut checks = Self::default();
        let mut unclear = Vec::new();
        while let Some(row) = rows.next()? {
            let cells = Cells::new("results", row);
            let checked: Checked = cells.json("checked")?;
            let outcome = cells.word("outcome", Outcome::parse)?;
            let kind: String = cells.get("kind")?;
            let store = match kind.as_str() {
                "heal" => match healed_store(&cells.get::<String>("request")?) {
                    Some(store) => store,
                    None => continue,
                },
                _ => cells.id("store")?,
            };
            let at = cells.get("started_unix_ms")?;
            let job = cells.count("job")?;
            // One that was cancelled or failed says nothing.
            if !matches!(outcome, Outcome::Finished | Outcome::FinishedWithErrors) {
                continue;
            }
            let sound = checked.damaged == 0;
            match cells.id_or_none::<SavesetId>("saveset")? {
                Some(saveset) => {
                    checks.single.insert((saveset, store), Found { at, sound, job });
                }
                None => {
                    // A scrub looked at a part only.
                    if kind != "scrub" {
                        checks.whole.insert(store, Found { at, sound, job });
                    }
                    if !sound {
                        unclear.push((job, store, at));
                    }
                }
            }
        }
        drop(rows);
        for (job, store, at) in unclear {
            for saveset in named_by(catalog, job)? {
                let found = Found { at, sound: false, job };
                let of = checks.single.entry((saveset, store)).or_insert(found);
                if of.at <= at {
                    *of = found;
                }
            }
        }
        let mut ask = catalog.prepare_cached("SELECT * FROM copy_checks")?;
        let mut rows = ask.query([])?;
        while let Some(row) = rows.next()? {
            let cells = Cells::new("copy_checks", row);
            let whole = cells.get::<i64>("whole")? != 0;
            let found = (cells.count("copy")?, cells.get("checked_unix_ms")?, whole);
            checks.copies.insert((cells.id("saveset")?, cells.id("store")?), found);
        }
        Ok(checks)
    }

    /// Savesets of which a check has found damage somewhere; whether it still counts says [`Self::of`].
    pub(crate) fn suspects(&self) -> Vec<SavesetId> {
        let single = self.single.iter().filter(|(_, found)| !found.sound).map(|(place, _)| place.0);
        let copies = self.copies.iter().filter(|(_, found)| !found.2).map(|(place, _)| place.0);
        let mut suspects: Vec<SavesetId> = single.chain(copies).collect();
        suspects.sort_unstable_by_key(|saveset| saveset.0);
        suspects.dedup();
        suspects
    }

    /// The newest check of a saveset that began after it came there.
    pub(crate) fn of(
        &self,
        saveset: SavesetId,
        store: StoreId,
        since: Since,
    ) -> (LastCheck, Option<i64>) {
        let verdict = |sound| if sound { LastCheck::Whole } else { LastCheck::Damaged };
        let is_later = |found: &Found| match since {
            Since::Commit(_) => true,
            Since::Copy { after_job, .. } => found.job > after_job,
        };
        // That an earlier copy was damaged counts until the one of now is proven.
        let single = self.single.get(&(saveset, store));
        let single = single.filter(|found| !found.sound || is_later(found));
        let single = single.map(|found| (found.at, verdict(found.sound)));
        // One of all that found damage does not say that this one is sound.
        let whole = self.whole.get(&store).filter(|found| {
            found.sound
                && match since {
                    Since::Commit(committed) => found.at > committed,
                    Since::Copy { .. } => is_later(found),
                }
        });
        let whole = whole.map(|found| (found.at, LastCheck::Whole));
        let copy = match (since, self.copies.get(&(saveset, store))) {
            (Since::Copy { number, .. }, Some((copy, at, whole))) if *copy == number => {
                Some((*at, verdict(*whole)))
            }
            _ => None,
        };
        match single.into_iter().chain(whole).chain(copy).max() {
            Some((at, check)) => (check, Some(at)),
            None => (LastCheck::NotYet, None),
        }
    }
}

/// The datastore that a heal checked at its end: its job belongs to the one that is dialled.
fn healed_store(request: &str) -> Option<StoreId> {
    #[derive(serde::Deserialize)]
    struct Heal {
        damaged: StoreId,
    }
    serde_json::from_str::<Heal>(request).ok().map(|heal| heal.damaged)
}

/// Savesets that a check of a whole datastore named as damaged.
fn named_by(catalog: &Session<'_>, job: u64) -> Result<Vec<SavesetId>, CatalogError> {
    let mut ask = catalog.prepare_cached(
        "SELECT path FROM job_problems WHERE job = ?1 AND kind = 'missing_data' ORDER BY position",
    )?;
    let mut rows = ask.query([count_cell(job)?])?;
    let mut named = Vec::new();
    while let Some(row) = rows.next()? {
        let path: Vec<u8> = Cells::new("job_problems", row).get("path")?;
        let text = String::from_utf8_lossy(&path).into_owned();
        named.extend(text.strip_prefix("saveset ").and_then(|id| id.parse::<SavesetId>().ok()));
    }
    Ok(named)
}
