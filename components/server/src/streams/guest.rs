//! Somebody whose secret was good: what it may do now, and the way to its jobs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use simsim_catalog::{AuditEntry, Saveset, SavesetFilter, SavesetState, Task, Token};
use simsim_model::Kind;
use simsim_transfer::gate::{
    Opened, StreamFacts, StreamGuest, StreamRefusal, StreamSink, StreamSource, Waiting,
};
use simsim_transfer::{Counted, WrongSecrets};
use tokio::sync::oneshot;

use super::arrivals::{Arrival, Ending, Given};
use super::orders::{end_job, queue, queue_read};
use super::sink::end_of;
use super::{external_options, lost};
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::{Server, ServerError};

/// How long a caller waits for a place on a drive.
const PLACE_PATIENCE: Duration = Duration::from_secs(600);
/// A job that was ended without a word is noticed within this time.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

pub(super) enum Who {
    Nobody,
    Token { hash: [u8; 32], name: String },
    Ticket { job: u64 },
}

/// Somebody whose secret was good when it was shown.
pub(super) struct Guest {
    pub house: Arc<House>,
    pub wrong: Arc<WrongSecrets>,
    pub who: Who,
    pub name: String,
    pub task: String,
    pub stores: bool,
    pub address: IpAddr,
    pub door: &'static str,
    pub follows: bool,
}

impl Guest {
    /// As it stands in the audit log, and beside its jobs.
    fn principal(&self) -> String {
        match &self.who {
            Who::Nobody => format!("stranger:{}", self.address),
            Who::Token { name, .. } => format!("token:{name}"),
            Who::Ticket { job } => format!("ticket:job {job}"),
        }
    }

    fn from(&self) -> String {
        format!("{}, {}", self.address, self.door)
    }

    async fn write_down(
        &self,
        verb: &str,
        object: String,
        allowed: bool,
        detail: &str,
    ) -> Result<(), StreamRefusal> {
        let entry = AuditEntry {
            principal: self.principal(),
            verb: verb.to_owned(),
            object,
            allowed,
            detail: format!("{detail}, from {}", self.from()),
        };
        self.house.books.audit(entry).await.map_err(refused)
    }

    /// A refusal in words, counted and written down: the secret was once good.
    pub(super) async fn refuse(&self, why: &str) -> StreamRefusal {
        match self.count(why).await {
            Some(too_often) => too_often,
            None => StreamRefusal::new(Kind::Denied, why),
        }
    }

    /// The one answer to who proved nothing.
    pub(super) async fn not_proved(&self, why: &str) -> StreamRefusal {
        match self.count(why).await {
            Some(too_often) => too_often,
            None => StreamRefusal::not_proved(),
        }
    }

    /// Counts a wrong secret. The audit log has those that are worth it, and one line for the rest.
    async fn count(&self, why: &str) -> Option<StreamRefusal> {
        let (line, answer) = match self.wrong.count(self.address) {
            Counted::Wrong => (Some(why.to_owned()), None),
            Counted::TooOften { seconds, first } => {
                let line = format!("too many wrong secrets; no more lines for {seconds} s");
                (first.then_some(line), Some(StreamRefusal::too_often(seconds)))
            }
        };
        if let Some(line) = line
            && let Err(error) =
                self.write_down("stream.admit", "raw streams".to_owned(), false, &line).await
        {
            tracing::error!(%error, "a refused secret could not be written down");
        }
        answer
    }

    /// Is a token, whose secret was shown, still good?
    pub(super) async fn is_good(&self, token: &Token) -> Result<(), StreamRefusal> {
        let name = &token.name;
        if token.revoked_unix_ms.is_some() {
            return Err(self
                .refuse(&format!("the token '{name}' was revoked: ask for another"))
                .await);
        }
        if token.is_expired(now_unix_ms()) {
            return Err(self
                .refuse(&format!("the token '{name}' has expired: ask for another"))
                .await);
        }
        Ok(())
    }

    /// The token as it is now, for this task and this use.
    async fn token_for(&self, task: &str, stores: bool) -> Result<Token, StreamRefusal> {
        let Who::Token { hash, .. } = &self.who else { return Err(lost()) };
        let Some(token) = token_with(&self.house, *hash).await? else {
            return Err(self.not_proved("the token is gone").await);
        };
        self.is_good(&token).await?;
        if token.task_name != task {
            return Err(self.not_proved("the token is for another task").await);
        }
        let (fits, word) = match stores {
            true => (token.allows.may_store(), "read"),
            false => (token.allows.may_read(), "store"),
        };
        if !fits {
            let text = format!(
                "the token '{}' may only {word}: another is made with 'simsim token create NAME --task \
                 {task} --allow both'",
                token.name
            );
            return Err(self.refuse(&text).await);
        }
        Ok(token)
    }

    async fn store(&self, task: &str) -> Result<Opened<Box<dyn StreamSink>>, StreamRefusal> {
        let job = match &self.who {
            Who::Nobody => return Err(lost()),
            Who::Ticket { .. } if task != self.task => {
                return Err(self.not_proved("the ticket is for another task").await);
            }
            Who::Ticket { job } => {
                let object = format!("task '{task}'");
                self.write_down("stream.store", object, true, &format!("job {job}")).await?;
                *job
            }
            Who::Token { .. } => {
                let token = self.token_for(task, true).await?;
                let job = self.queue_store(&token).await?;
                self.still_good(job, task, true).await?;
                job
            }
        };
        match self.meet(job).await? {
            Given::Sink(sink) => Ok(Opened::Here(Box::new(sink))),
            Given::Elsewhere(url) => Ok(Opened::Elsewhere(url)),
            Given::Source(_) => Err(lost()),
        }
    }

    async fn queue_store(&self, token: &Token) -> Result<u64, StreamRefusal> {
        let name = token.task_name.clone();
        let task = self.house.books.run(move |catalog| catalog.task(&name)).await;
        let task = task.map_err(refused)?;
        let object = format!("client '{}'", task.settings.client);
        let detail = format!("task '{}'", task.settings.name);
        self.write_down("stream.store", object, true, &detail).await?;
        let server = Server { house: Arc::clone(&self.house) };
        queue(&server, task, self.principal()).await.map_err(refused)
    }

    async fn saveset(
        &self,
        task: &str,
        id: Option<&str>,
    ) -> Result<(Task, Saveset), StreamRefusal> {
        let (name, digits) = (task.to_owned(), id.map(str::to_owned));
        let found = self.house.books.run(move |catalog| {
            let task = catalog.task(&name)?;
            let of_task = |saveset: &Saveset| {
                saveset.client_name == task.settings.client && saveset.task_name == name
            };
            let mut found = match &digits {
                Some(digits) => catalog.savesets_beginning(digits)?,
                None => catalog.savesets(&SavesetFilter {
                    client_name: Some(task.settings.client.clone()),
                    task_name: Some(name.clone()),
                    limit: 1,
                    ..SavesetFilter::default()
                })?,
            };
            found.retain(of_task);
            Ok((task, found))
        });
        let (row, mut found) = found.await.map_err(refused)?;
        external_options(&row).map_err(refused)?;
        match (found.pop(), found.is_empty(), id) {
            (Some(only), true, _) if only.state == SavesetState::Missing => {
                let text = format!("saveset {} is not there any more", only.saveset);
                Err(StreamRefusal::new(Kind::NotFound, text))
            }
            (Some(only), true, _) => Ok((row, only)),
            (Some(_), false, id) => {
                let id = id.unwrap_or_default();
                let text = format!("several savesets begin with '{id}': give more digits");
                Err(StreamRefusal::new(Kind::Invalid, text))
            }
            (None, _, Some(id)) => {
                let text = format!("task '{task}' has no saveset '{id}'");
                Err(StreamRefusal::new(Kind::NotFound, text))
            }
            (None, _, None) => {
                let text = format!("task '{task}' has no saveset yet: store a stream first");
                Err(StreamRefusal::new(Kind::NotFound, text))
            }
        }
    }

    /// Who may read what, without reading it.
    async fn seen(&self, task: &str, id: Option<&str>) -> Result<(Task, Saveset), StreamRefusal> {
        match &self.who {
            Who::Nobody => return Err(lost()),
            Who::Ticket { .. } => {
                let text = "this ticket is for storing: a stream cannot be read with it";
                return Err(StreamRefusal::new(Kind::Denied, text));
            }
            Who::Token { .. } => self.token_for(task, false).await?,
        };
        self.saveset(task, id).await
    }

    async fn read(
        &self,
        task: &str,
        id: Option<&str>,
    ) -> Result<Opened<Box<dyn StreamSource>>, StreamRefusal> {
        let (task, saveset) = self.seen(task, id).await?;
        let (who, id) = (self.principal(), saveset.saveset);
        let open = self.house.streams.open_stream(&who, id).and_then(|open| open.handle());
        if let Some(handle) = open {
            return Ok(Opened::Here(Box::new(handle)));
        }
        let object = format!("client '{}'", saveset.client_name);
        let detail = format!("saveset {id} of task '{}'", saveset.task_name);
        self.write_down("stream.read", object, true, &detail).await?;
        let server = Server { house: Arc::clone(&self.house) };
        let name = task.settings.name.clone();
        let job = queue_read(&server, task, saveset, who.clone()).await.map_err(refused)?;
        self.still_good(job, &name, false).await?;
        match self.meet(job).await? {
            Given::Source(open) => {
                let handle = open.handle().ok_or_else(lost)?;
                self.house.streams.remember_open(&who, id, &open);
                Ok(Opened::Here(Box::new(handle)))
            }
            Given::Elsewhere(url) => Ok(Opened::Elsewhere(url)),
            Given::Sink(_) => Err(lost()),
        }
    }

    /// Who revokes a token ends the jobs that there are; one that is made at this moment looks again.
    async fn still_good(&self, job: u64, task: &str, stores: bool) -> Result<(), StreamRefusal> {
        let good = self.token_for(task, stores).await;
        if good.is_err() {
            let _ = end_job(&self.house, job).await;
        }
        good.map(drop)
    }

    /// Waits for a job to take its caller. The job is ended if the caller does not wait so long.
    async fn meet(&self, job: u64) -> Result<Given, StreamRefusal> {
        let (answer, mut given) = oneshot::channel();
        let (follows, door, address) = (self.follows, self.door, Some(self.address));
        let arrival = Arrival { follows, door, address, from: self.from(), answer };
        let Some(mut ended) = self.house.streams.bring(job, arrival) else {
            return Err(self.refuse("the ticket was used before: each is for one stream").await);
        };
        let mut unmet = Unmet { house: Arc::clone(&self.house), job, is_met: false };
        let mut patience = std::pin::pin!(tokio::time::sleep(PLACE_PATIENCE));
        loop {
            let refusal = tokio::select! {
                biased;
                given = &mut given => match given {
                    Ok(given) => {
                        unmet.is_met = true;
                        return Ok(given);
                    }
                    Err(_) => match end_of(&mut ended).await {
                        Ok(ending) => ending.refusal(),
                        Err(refusal) => refusal,
                    },
                },
                ending = end_of(&mut ended) => match ending {
                    Ok(ending) => ending.refusal(),
                    Err(refusal) => refusal,
                },
                () = &mut patience => {
                    let minutes = PLACE_PATIENCE.as_secs() / 60;
                    let text = format!(
                        "no place on a drive came free within {minutes} min, so job {job} is cancelled; \
                         'simsim jobs --open' shows what runs"
                    );
                    return Err(StreamRefusal::busy(text, 300));
                }
                () = tokio::time::sleep(LOOK_INTERVAL) => {
                    let there = self.house.books.run(move |catalog| catalog.job(job)).await;
                    match there.ok().as_ref().and_then(Ending::of) {
                        Some(ending) => ending.refusal(),
                        None => continue,
                    }
                }
            };
            unmet.is_met = true;
            return Err(refusal);
        }
    }
}

/// A job whose caller left before its turn.
struct Unmet {
    house: Arc<House>,
    job: u64,
    is_met: bool,
}

impl Drop for Unmet {
    fn drop(&mut self) {
        if self.is_met {
            return;
        }
        let (house, job) = (Arc::clone(&self.house), self.job);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = end_job(&house, job).await {
                    tracing::debug!(job, %error, "a job without a caller could not be ended");
                }
            });
        }
    }
}

impl StreamGuest for Guest {
    fn name(&self) -> &str {
        &self.name
    }

    fn task(&self) -> &str {
        &self.task
    }

    fn stores(&self) -> bool {
        self.stores
    }

    fn put<'a>(
        &'a self,
        task: &'a str,
    ) -> Waiting<'a, Result<Opened<Box<dyn StreamSink>>, StreamRefusal>> {
        Box::pin(self.store(task))
    }

    fn look<'a>(
        &'a self,
        task: &'a str,
        saveset: Option<&'a str>,
    ) -> Waiting<'a, Result<StreamFacts, StreamRefusal>> {
        Box::pin(async move { Ok(facts_of(&self.seen(task, saveset).await?.1)) })
    }

    fn get<'a>(
        &'a self,
        task: &'a str,
        saveset: Option<&'a str>,
    ) -> Waiting<'a, Result<Opened<Box<dyn StreamSource>>, StreamRefusal>> {
        Box::pin(self.read(task, saveset))
    }
}

/// What a saveset's row says about its stream.
pub(super) fn facts_of(saveset: &Saveset) -> StreamFacts {
    StreamFacts {
        task: saveset.task_name.clone(),
        saveset: saveset.saveset,
        bytes: saveset.bytes,
        stored_unix_s: u64::try_from(saveset.committed_unix_ns / 1_000_000_000).unwrap_or(0),
    }
}

pub(super) async fn token_with(
    house: &House,
    hash: [u8; 32],
) -> Result<Option<Token>, StreamRefusal> {
    house.books.run(move |catalog| catalog.token_with_hash(&hash)).await.map_err(|error| {
        tracing::error!(error = %error.full_message(), "a token could not be looked up");
        lost()
    })
}

fn refused(error: ServerError) -> StreamRefusal {
    StreamRefusal::new(error.kind(), error.full_message())
}
