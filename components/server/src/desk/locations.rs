//! Locations, where hosts stand, and how they are woken.

use simsim_catalog::{Catalog, CatalogError, Location, Put};

use super::datastores::check_name;
use crate::api::{
    ClientPlaceRequest, ClientRequest, ClientView, ClientWakeRequest, LocationRequest,
    LocationView, NameRequest,
};
use crate::clock::now_unix_ms;
use crate::people::{Scope, granted_for};
use crate::rights::{Grant, Object, Principal, Right};
use crate::scheduler::EventDocument;
use crate::wake::{self, Waking};
use crate::{Server, ServerError};

const NOTE_BYTES_MAX: usize = 1024;

/// What is brought to another location.
#[derive(Debug, Clone, Copy)]
enum Moved<'a> {
    Client(&'a str),
    /// With all that stands in it.
    Location(&'a str),
}

impl Server {
    /// Adds a location.
    pub async fn add_location(
        &self,
        who: &Principal,
        request: LocationRequest,
    ) -> Result<LocationView, ServerError> {
        check_name(&request.name)?;
        self.put_location(who, "location.add", Put::Add, request).await
    }

    /// Replaces all of a location but its name. Who holds rights on a location holds them at once for what is
    /// within it then.
    pub async fn change_location(
        &self,
        who: &Principal,
        request: LocationRequest,
    ) -> Result<LocationView, ServerError> {
        self.put_location(who, "location.change", Put::Change, request).await
    }

    async fn put_location(
        &self,
        who: &Principal,
        verb: &'static str,
        put: Put,
        request: LocationRequest,
    ) -> Result<LocationView, ServerError> {
        if request.note.len() > NOTE_BYTES_MAX {
            return Err(ServerError::invalid(format!("a note has at most {NOTE_BYTES_MAX} bytes")));
        }
        let within = request.parent.as_deref().map(|parent| format!(" in '{parent}'"));
        let detail = format!("'{}'{}", request.name, within.unwrap_or_default());
        self.may_see(who, Right::Administer, verb, Object::Suite).await?;
        self.stands_for_no_gain(
            who,
            verb,
            Moved::Location(&request.name),
            request.parent.as_deref(),
        )
        .await?;
        self.may_do(who, Right::Administer, verb, Object::Suite, detail).await?;
        self.house
            .books
            .run(move |catalog| {
                let LocationRequest { name, parent, note } = &request;
                let there =
                    catalog.put_location(put, name, parent.as_deref(), note, now_unix_ms())?;
                view(catalog, there)
            })
            .await
    }

    /// All locations, by name.
    pub async fn locations(&self, who: &Principal) -> Result<Vec<LocationView>, ServerError> {
        self.may_see(who, Right::View, "list locations", Object::Suite).await?;
        let all = |catalog: &Catalog| -> Result<_, CatalogError> {
            catalog.locations()?.into_iter().map(|one| view(catalog, one)).collect()
        };
        self.house.books.run(all).await
    }

    /// One location.
    pub async fn location(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<LocationView, ServerError> {
        self.may_see(who, Right::View, "see a location", Object::Suite).await?;
        let one = move |catalog: &Catalog| view(catalog, catalog.location(&request.name)?);
        self.house.books.run(one).await
    }

    /// Removes a location. `Busy` while hosts stand in it, others are in it, or somebody holds rights on it.
    pub async fn delete_location(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<(), ServerError> {
        let name = request.name;
        self.may_do(who, Right::Administer, "location.remove", Object::Suite, name.clone()).await?;
        self.house
            .books
            .run(move |catalog| {
                let held = granted_for(catalog, Scope::Location(&name))?;
                catalog.delete_location(&name, &held)
            })
            .await
    }

    /// Refuses to move hosts to where whoever does it would get rights for them.
    async fn stands_for_no_gain(
        &self,
        who: &Principal,
        verb: &'static str,
        moved: Moved<'_>,
        to: Option<&str>,
    ) -> Result<(), ServerError> {
        let Some(to) = to else { return Ok(()) };
        let all = |catalog: &Catalog| Ok((catalog.locations()?, catalog.client_places()?));
        let (locations, places) = self.house.books.run(all).await?;
        let clients = match moved {
            Moved::Client(name) => vec![name.to_owned()],
            Moved::Location(name) => places.get(name).cloned().unwrap_or_default(),
        };
        let (mut at, mut steps) = (Some(to), 0..=locations.len());
        let mut above: Vec<String> = Vec::new();
        while let Some(location) = at
            && steps.next().is_some()
        {
            for client in &clients {
                let place = Grant::of_location(location);
                self.gains_nothing(who, verb, &place, Object::Client(client)).await?;
            }
            above.push(location.to_owned());
            at = locations
                .iter()
                .find(|one| one.name == location)
                .and_then(|one| one.parent.as_deref());
        }
        let drilled = move |document: &EventDocument| {
            document.locations.iter().any(|location| above.contains(location))
        };
        self.drills_nothing_new(who, drilled).await
    }

    /// Says where a host stands. Rights on locations follow.
    pub async fn place_client(
        &self,
        who: &Principal,
        request: ClientPlaceRequest,
    ) -> Result<ClientView, ServerError> {
        let place = request.location.as_deref().unwrap_or("none");
        let detail = format!("client '{}', location {place}", request.name);
        // Of the whole suite: it moves what others may do.
        self.may_see(who, Right::Administer, "client.place", Object::Suite).await?;
        let (moved, to) = (Moved::Client(&request.name), request.location.as_deref());
        self.stands_for_no_gain(who, "client.place", moved, to).await?;
        self.may_do(who, Right::Administer, "client.place", Object::Suite, detail).await?;
        let client = self
            .house
            .books
            .run(move |catalog| catalog.place_client(&request.name, request.location.as_deref()))
            .await?;
        Ok(self.client_view(&client))
    }

    /// Says how a host that sleeps is woken when a job waits for it.
    pub async fn set_client_wake(
        &self,
        who: &Principal,
        request: ClientWakeRequest,
    ) -> Result<ClientView, ServerError> {
        let waking = request.wake.map(|wake| Waking::of(&wake)).transpose()?;
        let object = Object::Client(&request.name);
        let detail = waking.as_ref().map_or("never".to_owned(), |waking| waking.card.to_string());
        self.may_do(who, Right::Administer, "client.set-wake", object, detail).await?;
        let kept = waking.map(|waking| waking.to_text()).transpose()?;
        let client = self
            .house
            .books
            .run(move |catalog| catalog.set_client_wake(&request.name, kept.as_deref()))
            .await?;
        self.house.jobs.wake();
        Ok(self.client_view(&client))
    }

    /// Wakes a host now. That the packet was sent says nothing about who wakes.
    pub async fn wake_client(
        &self,
        who: &Principal,
        request: ClientRequest,
    ) -> Result<ClientView, ServerError> {
        let object = Object::Client(&request.name);
        self.may_do(who, Right::Backup, "client.wake", object, "").await?;
        let name = request.name;
        let client = self.house.books.run(move |catalog| catalog.client(&name)).await?;
        let Some(waking) = wake::of_client(&client) else {
            return Err(ServerError::invalid(format!(
                "nobody said how '{0}' is woken: simsim client wake {0} --card 00:1b:44:11:3a:b7",
                client.name
            )));
        };
        waking
            .send()
            .map_err(|error| ServerError::Refused(format!("client '{}': {error}", client.name)))?;
        Ok(self.client_view(&client))
    }
}

fn view(catalog: &Catalog, location: Location) -> Result<LocationView, CatalogError> {
    let places = catalog.client_places()?;
    let clients = catalog.clients()?.into_iter();
    let here = clients.filter(|client| client.location.as_ref() == Some(&location.name));
    Ok(LocationView {
        clients: here.map(|client| client.name).collect(),
        clients_in_all: places.get(&location.name).map_or(0, |all| all.len() as u64),
        name: location.name,
        parent: location.parent,
        note: location.note,
        created_unix_ms: location.created_unix_ms,
    })
}
