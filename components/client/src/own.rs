//! What this host's owner does with savesets whose key is held here: looking into them, keeping the
//! recovery kit, bringing lost keys back. The server is asked for rows and tickets; keys and names
//! stay on this host.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use simsim_control::verbs::StartRestore;
use simsim_format::{KitProof, RecoveryKit};
use simsim_mover::tree::Tree;
use simsim_transfer::HttpTransfer;

use crate::held_keys::{KitMade, OwnSlots, Recovered};
use crate::restore::transfer;
use crate::{Client, ClientError, HeldKeys};

impl Client {
    /// Asks the server about this client's own savesets: `verb` and `body` as on the server's
    /// console. Answers the JSON document.
    ///
    /// # Errors
    /// `Unreachable` while the server does not reach this host; what the server refused with.
    pub async fn ask_server(&self, verb: &str, body: String) -> Result<String, ClientError> {
        Ok(self.asks.ask(verb, body).await?.body)
    }

    /// Opens the trees of own savesets (ids in full; two at most) and hands them to `look`, on a
    /// thread that may block.
    ///
    /// # Errors
    /// Those of [`Client::ask_server`]; `Denied` for a saveset whose key is not held here.
    pub async fn look_into<T: Send + 'static>(
        self: &Arc<Self>,
        savesets: &[String],
        look: impl FnOnce(&[Tree]) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let quoted: Vec<String> = savesets.iter().map(|id| format!("{id:?}")).collect();
        let body = format!("{{\"savesets\":[{}]}}", quoted.join(","));
        let reads = self.asks.ask("own.read", body).await?.reads;
        if reads.len() != savesets.len() {
            return Err(ClientError::Request("the server answered for other savesets"));
        }
        let client = Arc::clone(self);
        blocking(move || {
            let mut open: Vec<(Arc<HttpTransfer>, Tree)> = Vec::new();
            for read in &reads {
                open.push(client.open_own(read)?);
            }
            let (transfers, trees): (Vec<_>, Vec<_>) = open.into_iter().unzip();
            let looked = look(&trees);
            drop(trees);
            for transfer in transfers {
                if let Err(error) = transfer.close() {
                    tracing::debug!(%error, "a transfer to look into a saveset was not closed");
                }
            }
            Ok(looked)
        })
        .await
    }

    fn open_own(&self, read: &StartRestore) -> Result<(Arc<HttpTransfer>, Tree), ClientError> {
        let ticket = &read.ticket;
        let key = self.domain_key(None, ticket.store, ticket.domain)?;
        let transfer = transfer(self, read, None)?;
        let tree = Tree::open(Arc::clone(&transfer) as _, key, read.saveset)?;
        Ok((transfer, tree))
    }

    /// Groups (from 1) of the recovery kit that a proof asks for; none once it is proven. `None`
    /// without a kit.
    pub async fn kit_question(self: &Arc<Self>) -> Result<Option<Vec<usize>>, ClientError> {
        let proof = self.with_own_keys(HeldKeys::proof).await?;
        Ok(proof.map(|proof| proof.asked().to_vec()))
    }

    /// Shows that the kit was kept, by the groups that were asked for. The server is told.
    pub async fn prove_kit(self: &Arc<Self>, typed: Vec<String>) -> Result<KitProof, ClientError> {
        let proof = self.with_own_keys(move |keys| keys.prove(&typed, now_unix_ms())).await?;
        if proof.asked().is_empty() {
            self.tell_changed().await;
        }
        Ok(proof)
    }

    /// Makes a kit in place of the one before, and whether the server has taken it into the
    /// datastores already; otherwise it does when it reaches this host again.
    pub async fn renew_kit(self: &Arc<Self>) -> Result<(KitMade, bool), ClientError> {
        let made = self.with_own_keys(HeldKeys::renew_kit).await?;
        Ok((made, self.tell_changed().await))
    }

    /// Brings keys back that were lost here, with the kit.
    pub async fn recover_keys(
        self: &Arc<Self>,
        kit: RecoveryKit,
    ) -> Result<Recovered, ClientError> {
        let slots = self.asks.ask("own.keys", "{}".to_owned()).await?.slots;
        let slots: Vec<OwnSlots> = slots
            .into_iter()
            .map(|one| OwnSlots { store: one.store, domain: one.domain, slots: one.slots })
            .collect();
        let done = self.with_own_keys(move |keys| keys.recover(kit, &slots, now_unix_ms())).await?;
        if done.brought > 0 {
            self.tell_changed().await;
        }
        Ok(done)
    }

    /// Whether the server has looked at the keys here again. It looks anyway when it reaches this
    /// host the next time.
    async fn tell_changed(&self) -> bool {
        match self.asks.ask("own.changed", "{}".to_owned()).await {
            Ok(_) => true,
            Err(error) => {
                tracing::info!(%error, "the server hears later that keys or kit changed here");
                false
            }
        }
    }

    async fn with_own_keys<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&HeldKeys) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let client = Arc::clone(self);
        blocking(move || work(client.held_keys())).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(ClientError::Request("a defect here; the log says where")),
    }
}

fn now_unix_ms() -> i64 {
    let since = simsim_model::failpoint::shifted(SystemTime::now())
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
