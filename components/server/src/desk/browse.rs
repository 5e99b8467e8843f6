//! Looking into savesets: the Server opens a transfer from the device to itself, reads the pages
//! that are needed, and opens them with the domain's key. It cannot where the client alone holds the
//! key; then its owner can, on the client's own host (`asks`).

use std::sync::Arc;

use simsim_catalog::{Domain, KeyHolder, Saveset};
use simsim_format::DomainKey;
use simsim_model::Kind;
use simsim_mover::tree::Tree;
use simsim_transfer::HttpTransfer;
use tokio::runtime::Handle;

use crate::api::{DiffReply, DiffRequest, FindReply, FindRequest, LsReply, LsRequest};
use crate::jobs::grant_restore;
use crate::look;
use crate::rights::{Object, Principal, Right};
use crate::way::Way;
use crate::{Server, ServerError};

impl Server {
    /// Lists a directory of a saveset, by name.
    pub async fn ls(&self, who: &Principal, request: LsRequest) -> Result<LsReply, ServerError> {
        let saveset = self.house.saveset(&request.saveset, request.task.as_deref()).await?;
        self.may_browse(who, &saveset).await?;
        self.look_into(&[saveset], move |trees| look::ls(first(trees)?, &request)).await
    }

    /// Finds entries by a pattern, depth first.
    pub async fn find(
        &self,
        who: &Principal,
        request: FindRequest,
    ) -> Result<FindReply, ServerError> {
        let saveset = self.house.saveset(&request.saveset, request.task.as_deref()).await?;
        self.may_browse(who, &saveset).await?;
        self.look_into(&[saveset], move |trees| look::find(first(trees)?, &request)).await
    }

    /// What differs between two savesets. Both must be of one domain, because equal content has
    /// equal names only there.
    pub async fn diff(
        &self,
        who: &Principal,
        request: DiffRequest,
    ) -> Result<DiffReply, ServerError> {
        let from = self.house.saveset(&request.from, None).await?;
        let to = self.house.saveset(&request.to, None).await?;
        self.may_browse(who, &from).await?;
        self.may_browse(who, &to).await?;
        if from.domain != to.domain {
            return Err(ServerError::invalid(
                "these savesets are of different clients or datastores: they cannot be compared",
            ));
        }
        self.look_into(&[from, to], move |trees| match trees {
            [old, new] => look::diff(old, new, &request),
            _ => Err(ServerError::Lost("two trees were asked for".to_owned())),
        })
        .await
    }

    async fn may_browse(&self, who: &Principal, saveset: &Saveset) -> Result<(), ServerError> {
        let object = Object::saveset(saveset);
        self.may_see(who, Right::Browse, "look into savesets of", object).await?;
        if self.house.stores_of(saveset).await?.is_empty() {
            return Err(ServerError::not_found("manifest of saveset", saveset.saveset));
        }
        Ok(())
    }

    /// Opens the trees of savesets and hands them to `look`, on a thread that may block.
    pub(crate) async fn look_into<T: Send + 'static>(
        &self,
        savesets: &[Saveset],
        look: impl FnOnce(&[Tree]) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let house = &self.house;
        let mut open = Vec::new();
        for saveset in savesets {
            let (datastore, domain, drive) = house.place_of(saveset).await?;
            let Some(key) = house.domain_keys.open(&domain)? else {
                return Err(no_key(saveset, &domain));
            };
            let id = saveset.saveset;
            let granted = grant_restore(house, &datastore, drive, domain.domain, id).await?;
            open.push((granted, DomainKey::new(&key), id));
        }
        let handle = Handle::current();
        let ports = house.data_ports.clone();
        let ways: Vec<Way> = open.iter().map(|(granted, ..)| granted.way.clone()).collect();
        let work = move || {
            let mut transfers = Vec::new();
            let looked = (|| {
                let mut trees = Vec::new();
                for (granted, key, saveset) in open {
                    let routes = granted.routes(&ports)?;
                    let transfer = HttpTransfer::open(handle.clone(), routes, granted.ticket)?;
                    let transfer = Arc::new(transfer);
                    transfers.push(Arc::clone(&transfer));
                    trees.push(Tree::open(transfer, key, saveset).map_err(look::reading)?);
                }
                look(&trees)
            })();
            // Also where one could not be opened: one that stays open holds up collections of garbage.
            for transfer in transfers {
                if let Err(error) = transfer.close() {
                    tracing::debug!(%error, "a transfer to look into a saveset was not closed");
                }
            }
            looked
        };
        let looked = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| ServerError::Lost(error.to_string()))?;
        looked.map_err(|error| match (error.kind(), ways.first()) {
            (Kind::Unreachable, Some(way)) => {
                let why = way.blocked(&error.full_message());
                ServerError::node(&way.to, Kind::Unreachable, why)
            }
            _ => error,
        })
    }
}

/// Why the Server cannot look into a saveset, who can, and how.
pub(super) fn no_key(saveset: &Saveset, domain: &Domain) -> ServerError {
    let id = saveset.saveset.short();
    match domain.key_held_by {
        KeyHolder::Nobody => ServerError::Refused(format!(
            "nobody has brought the key of domain {}: give the recovery kit to 'simsim datastore rebuild-catalog'",
            domain.domain
        )),
        KeyHolder::Client | KeyHolder::Server => ServerError::Refused(format!(
            "saveset {id} is sealed with a key that only client '{client}' holds: it can be looked into \
             on that host, by whom its client runs as, with 'simsim ls {id}' there; or anywhere with a \
             copy of the datastore and that client's recovery kit, with 'simsim rescue'",
            client = saveset.client_name
        )),
    }
}

fn first(trees: &[Tree]) -> Result<&Tree, ServerError> {
    trees.first().ok_or_else(|| ServerError::Lost("one tree was asked for".to_owned()))
}
