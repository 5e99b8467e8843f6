//! Retention over everything: simulating a policy, one run, and the clock.

use std::collections::HashMap;

use simsim_catalog::{CLOCK, Catalog, CatalogError, LifeChange};
use simsim_retention::simulate;

use super::pools::policy_text;
use crate::api::{
    ClockView, LossView, RetentionRunReply, RetentionRunRequest, SimulateRequest, SimulationView,
};
use crate::clock::now_unix_ms;
use crate::recovery::{doubt_after, recovery};
use crate::retention::{
    Confirmed, Judged, Known, carry_out_all, decide_all, label, policies, zone_error,
};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// What another policy of a pool would let expire now. Nothing is changed.
    pub async fn simulate_retention(
        &self,
        who: &Principal,
        request: SimulateRequest,
    ) -> Result<SimulationView, ServerError> {
        self.may_see(who, Right::View, "simulate retention", Object::Suite).await?;
        let policy = policy_text(&request.policy)?;
        let pool = request.pool;
        let (books, names) = self
            .house
            .books
            .run({
                let pool = pool.clone();
                move |catalog| {
                    catalog.pool(&pool)?;
                    Ok((catalog.life_books()?, catalog.datastore_names()?))
                }
            })
            .await?;
        let judged = Judged::of(&books, now_unix_ms())?;
        let mut after = policies(&books)?;
        let parsed = policy.parse().map_err(|error| ServerError::invalid(format!("{error}")))?;
        after.pools.insert(pool.clone(), parsed);
        let found =
            simulate(&judged.savesets, &judged.policies, &after, &judged.clock, &judged.almanac)
                .map_err(zone_error)?;
        let by_id: HashMap<_, _> =
            judged.savesets.iter().zip(&judged.lives).map(|(one, life)| (one.id, life)).collect();
        let expires = found.expires.iter().filter_map(|loss| {
            let life = by_id.get(&loss.id)?;
            Some(LossView {
                saveset: life.saveset.saveset,
                task: label(life),
                pool: loss.pool.clone(),
                datastore: names
                    .get(&life.store)
                    .cloned()
                    .unwrap_or_else(|| life.store.to_string()),
                stamped_unix_ms: life.stamped_unix_ms,
                bytes: loss.bytes,
            })
        });
        let again = found.kept_again.iter().filter_map(|id| by_id.get(id));
        Ok(SimulationView {
            pool,
            policy,
            expires: expires.collect(),
            bytes: found.bytes,
            kept_again: again.map(|life| life.saveset.saveset).collect(),
            emptied: found.emptied,
            frozen: found.frozen.map(|doubt| doubt.to_string()),
        })
    }

    /// One run: decides on every saveset, and tells devices what is to be deleted. Devices that are
    /// away are told when they are back.
    pub async fn run_retention(
        &self,
        who: &Principal,
        request: RetentionRunRequest,
    ) -> Result<RetentionRunReply, ServerError> {
        let RetentionRunRequest { dry_run, over_budget } = request;
        let verb = "retention.run";
        if dry_run {
            self.may_see(who, Right::View, "see what retention would do", Object::Suite).await?;
            return decide_all(&self.house, who.name().to_owned(), true, over_budget).await;
        }
        let detail = if over_budget { "over budget" } else { "" };
        self.may_do(who, Right::Delete, verb, Object::Suite, detail).await?;
        let decided = decide_all(&self.house, who.name().to_owned(), false, over_budget).await;
        let mut reply = match decided {
            Ok(reply) => reply,
            Err(error) => return Err(error),
        };
        let carried = carry_out_all(&self.house).await?;
        reply.deleted = carried.gone.len() as u64;
        reply.waiting = carried.waiting;
        reply.taken_back = carried.taken_back.len() as u64;
        reply.trouble = carried.trouble;
        Ok(reply)
    }

    /// A person has looked at the server's clock: it is right. Savesets that were stamped by a wrong
    /// one keep their stamp.
    pub async fn confirm_clock(&self, who: &Principal) -> Result<ClockView, ServerError> {
        let verb = "retention.confirm-clock";
        let now = now_unix_ms();
        let detail = format!("the clock says {}", crate::retention::instant(now));
        self.may_do(who, Right::Administer, verb, Object::Suite, detail).await?;
        let by = who.name().to_owned();
        let newest = self.house.books.run(|catalog| catalog.newest_stamp()).await?;
        let confirmed = Confirmed { by, at_unix_ms: now, newest_unix_ms: newest };
        let known = Known { last_unix_ms: now, confirmed: Some(confirmed) }.encode()?;
        self.house
            .books
            .run(move |catalog| {
                catalog.change_lives(now, |_| ((), vec![LifeChange::Clock(known.clone())]))
            })
            .await?;
        self.clock_view().await
    }

    /// What the server knows of the time.
    pub(crate) async fn clock_view(&self) -> Result<ClockView, ServerError> {
        let now = now_unix_ms();
        let (kept, newest, recovery) = self
            .house
            .books
            .run(|catalog: &Catalog| -> Result<_, CatalogError> {
                Ok((catalog.setting(CLOCK)?, catalog.newest_stamp()?, recovery(catalog)?))
            })
            .await?;
        let known = Known::of(kept.as_deref(), now);
        let recovery = recovery.filter(|_| known == Known::in_doubt());
        Ok(ClockView {
            now_unix_ms: now,
            last_known_unix_ms: known.last_unix_ms,
            doubt: known.doubt(now, newest).map(|doubt| match &recovery {
                Some(recovery) => doubt_after(recovery),
                None => doubt.to_string(),
            }),
            confirmed_by: known.reading(now, newest).confirmed_by,
        })
    }
}
