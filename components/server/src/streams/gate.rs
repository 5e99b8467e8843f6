//! The server's gate: judges secrets.

use std::sync::{Arc, Weak};

use simsim_transfer::WrongSecrets;
use simsim_transfer::gate::{
    StreamCaller, StreamGate, StreamGuest, StreamRefusal, TICKET_PREFIX, TOKEN_PREFIX, Waiting,
};

use super::guest::{Guest, Who, token_with};
use super::hash_of;
use crate::clock::now_unix_ms;
use crate::house::House;

pub(super) struct ServerGate {
    house: Weak<House>,
    wrong: Arc<WrongSecrets>,
}

impl ServerGate {
    pub(super) fn new(house: &Arc<House>) -> Self {
        Self { house: Arc::downgrade(house), wrong: Arc::default() }
    }

    async fn judge(&self, caller: StreamCaller) -> Result<Guest, StreamRefusal> {
        let house = self.house.upgrade().ok_or_else(|| {
            StreamRefusal::busy("the server is stopping: come again when it has started", 60)
        })?;
        let text = caller.secret.reveal();
        let hash = hash_of(text);
        let mut guest = Guest {
            house,
            wrong: Arc::clone(&self.wrong),
            who: Who::Nobody,
            name: String::new(),
            task: String::new(),
            stores: true,
            address: caller.address.to_canonical(),
            door: caller.door,
            follows: caller.follows,
        };
        if text.starts_with(TICKET_PREFIX) {
            if let Some(shown) = guest.house.streams.shown(&hash) {
                guest.name = format!("ticket of job {}", shown.job);
                guest.task = shown.task;
                guest.who = Who::Ticket { job: shown.job };
                if shown.used {
                    let text = "the ticket was used before: each is for one stream";
                    return Err(guest.refuse(text).await);
                }
                if shown.expires_unix_ms <= now_unix_ms() {
                    let text = "the ticket has expired: start the backup anew";
                    return Err(guest.refuse(text).await);
                }
                return Ok(guest);
            }
        } else if text.starts_with(TOKEN_PREFIX)
            && let Some(token) = token_with(&guest.house, hash).await?
        {
            guest.name = format!("token '{}'", token.name);
            guest.task.clone_from(&token.task_name);
            guest.stores = token.allows.may_store();
            guest.who = Who::Token { hash, name: token.name.clone() };
            guest.is_good(&token).await?;
            let name = token.name;
            let noted = move |catalog: &simsim_catalog::Catalog| {
                catalog.token_is_used(&name, now_unix_ms())
            };
            if let Err(error) = guest.house.books.run(noted).await {
                tracing::warn!(%error, "the use of a token could not be noted");
            }
            return Ok(guest);
        }
        Err(guest.not_proved("no known token or ticket").await)
    }
}

impl StreamGate for ServerGate {
    fn admit(
        &self,
        caller: StreamCaller,
    ) -> Waiting<'_, Result<Box<dyn StreamGuest>, StreamRefusal>> {
        Box::pin(async move { Ok(Box::new(self.judge(caller).await?) as Box<dyn StreamGuest>) })
    }
}
