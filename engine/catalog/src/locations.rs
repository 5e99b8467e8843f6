//! Locations: a tree of places in which hosts stand.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::params;

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::clients::{Client, client_by_id, client_by_name};
use crate::pools::DEFAULT_POOL;
use crate::schedules::Put;
use crate::sql::Session;
use crate::uses::refuse_held;
use crate::{CatalogError, ClientId};

/// Locations above one another.
const DEPTH_MAX: usize = 16;

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub name: String,
    /// The place that it is in.
    pub parent: Option<String>,
    pub note: String,
    pub created_unix_ms: i64,
}

/// The clients that stand in each location, or in one beneath it.
pub type ClientPlaces = BTreeMap<String, Vec<String>>;

/// What is meant now by grants for a location or a media pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    pub locations: ClientPlaces,
    /// The tasks of each pool.
    pub pools: BTreeMap<String, Vec<String>>,
    /// Every task, and the client that it is of.
    pub tasks: BTreeMap<String, String>,
    /// Every client, those that were revoked among them.
    pub clients: BTreeSet<String>,
}

impl Catalog {
    /// Adds a location, or replaces all of one but its name. Errors: exists, `NotFound`, as `put` says;
    /// `NotFound` for the parent; `Invalid` for a circle and for a tree that is too deep.
    pub fn put_location(
        &self,
        put: Put,
        name: &str,
        parent: Option<&str>,
        note: &str,
        now_unix_ms: i64,
    ) -> Result<Location, CatalogError> {
        self.write("keep a location", |transaction| {
            let all = all(transaction)?;
            let is_there = all.iter().any(|one| one.name == name);
            match (put, is_there) {
                (Put::Add, true) => return Err(CatalogError::exists("location", name)),
                (Put::Change, false) => return Err(CatalogError::not_found("location", name)),
                _ => {}
            }
            check_parent(&all, name, parent)?;
            match put {
                Put::Add => transaction.execute(
                    "INSERT INTO locations (name, parent, note, created_unix_ms)
                     VALUES (?1, ?2, ?3, ?4)",
                    params![name, parent, note, now_unix_ms],
                )?,
                Put::Change => transaction.execute(
                    "UPDATE locations SET parent = ?2, note = ?3 WHERE name = ?1",
                    params![name, parent, note],
                )?,
            };
            there(transaction, name)
        })
    }

    /// All locations, by name.
    pub fn locations(&self) -> Result<Vec<Location>, CatalogError> {
        self.read("list locations", all)
    }

    /// One location. Errors: `NotFound`.
    pub fn location(&self, name: &str) -> Result<Location, CatalogError> {
        self.read("look up a location", |catalog| there(catalog, name))
    }

    /// Removes a location. `held`: who uses it besides those that the catalog knows. Errors: `NotFound`; `Busy` with
    /// all of them while hosts stand in it, or others are in it.
    pub fn delete_location(&self, name: &str, held: &[String]) -> Result<(), CatalogError> {
        self.write("remove a location", |transaction| {
            let all = all(transaction)?;
            if !all.iter().any(|one| one.name == name) {
                return Err(CatalogError::not_found("location", name));
            }
            let mut users: Vec<String> = all
                .iter()
                .filter(|one| one.parent.as_deref() == Some(name))
                .map(|one| format!("location '{}'", one.name))
                .collect();
            for (client, location) in placed(transaction)? {
                if location == name {
                    users.push(format!("client '{client}'"));
                }
            }
            users.extend(crate::uses::users(transaction, "location", name)?);
            users.extend_from_slice(held);
            refuse_held("location", name, users)?;
            transaction.execute("DELETE FROM locations WHERE name = ?1", [name])?;
            Ok(())
        })
    }

    /// Says where a host stands; `None`: nowhere. Errors: `NotFound` for either.
    pub fn place_client(
        &self,
        client: &str,
        location: Option<&str>,
    ) -> Result<Client, CatalogError> {
        self.write("place a client", |transaction| {
            let client = client_by_name(transaction, client)?;
            if let Some(location) = location {
                there(transaction, location)?;
            }
            transaction.execute(
                "UPDATE clients SET location = ?2 WHERE client = ?1",
                params![client.id.0, location],
            )?;
            client_by_id(transaction, client.id)
        })
    }

    /// Which clients stand where.
    pub fn client_places(&self) -> Result<ClientPlaces, CatalogError> {
        self.read("look where clients stand", client_places)
    }

    /// How far each of these hosts stands from one: 0 is the host itself, 1 the same location, and one more for each location
    /// that one has to go up to find the other within; the last number where nothing has both.
    pub fn distances(&self, from: &str, to: &[ClientId]) -> Result<Vec<usize>, CatalogError> {
        const FAR: usize = DEPTH_MAX + 2;
        self.read("look how far hosts stand", |catalog| {
            let all = all(catalog)?;
            let way_up = |location: Option<&str>| -> Vec<String> {
                let (mut at, mut way) = (location.map(str::to_owned), Vec::new());
                while let Some(name) = at
                    && way.len() <= DEPTH_MAX
                {
                    let parent = all.iter().find(|one| one.name == name);
                    at = parent.and_then(|one| one.parent.clone());
                    way.push(name);
                }
                way
            };
            let from = client_by_name(catalog, from)?;
            let own = way_up(from.location.as_deref());
            let far = |id: &ClientId| -> Result<usize, CatalogError> {
                if *id == from.id {
                    return Ok(0);
                }
                let theirs = way_up(client_by_id(catalog, *id)?.location.as_deref());
                let shared = own.iter().position(|location| theirs.contains(location));
                Ok(shared.map_or(FAR, |steps| steps + 1))
            };
            to.iter().map(far).collect()
        })
    }

    /// What grants for locations and pools mean now.
    pub fn places(&self) -> Result<Places, CatalogError> {
        self.read("look where clients and tasks belong", places)
    }
}

fn check_parent(all: &[Location], name: &str, parent: Option<&str>) -> Result<(), CatalogError> {
    let mut above = parent;
    for _ in 0..DEPTH_MAX {
        let Some(at) = above else { return Ok(()) };
        if at == name {
            return Err(CatalogError::invalid(format!("location '{name}' would be inside itself")));
        }
        let found = all.iter().find(|one| one.name == at);
        let found = found.ok_or_else(|| CatalogError::not_found("location", at))?;
        above = found.parent.as_deref();
    }
    Err(CatalogError::invalid(format!("locations are at most {DEPTH_MAX} deep")))
}

pub(crate) fn places(catalog: &Session<'_>) -> Result<Places, CatalogError> {
    let mut places = Places { locations: client_places(catalog)?, ..Places::default() };
    let mut ask = catalog.prepare_cached("SELECT name FROM pools")?;
    let mut rows = ask.query([])?;
    while let Some(row) = rows.next()? {
        places.pools.insert(Cells::new("pools", row).get("name")?, Vec::new());
    }
    let mut ask = catalog.prepare_cached(
        "SELECT tasks.name, tasks.pool, clients.name AS client
         FROM tasks JOIN clients ON clients.client = tasks.client ORDER BY tasks.name",
    )?;
    let mut rows = ask.query([])?;
    while let Some(row) = rows.next()? {
        let cells = Cells::new("tasks", row);
        let (task, pool): (String, Option<String>) = (cells.get("name")?, cells.get("pool")?);
        let pool = pool.unwrap_or_else(|| DEFAULT_POOL.to_owned());
        places.pools.entry(pool).or_default().push(task.clone());
        places.tasks.insert(task, cells.get("client")?);
    }
    places.pools.entry(DEFAULT_POOL.to_owned()).or_default();
    let mut ask = catalog.prepare_cached("SELECT name FROM clients")?;
    places.clients = ask.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(places)
}

fn client_places(catalog: &Session<'_>) -> Result<ClientPlaces, CatalogError> {
    let all = all(catalog)?;
    let parents: BTreeMap<&str, Option<&str>> =
        all.iter().map(|one| (one.name.as_str(), one.parent.as_deref())).collect();
    let mut places: ClientPlaces = all.iter().map(|one| (one.name.clone(), Vec::new())).collect();
    for (client, location) in placed(catalog)? {
        let mut at = Some(location.as_str());
        // The tree was checked when it was written; a damaged one ends here all the same.
        for _ in 0..=DEPTH_MAX {
            let Some(name) = at else { break };
            if let Some(clients) = places.get_mut(name) {
                clients.push(client.clone());
            }
            at = parents.get(name).copied().flatten();
        }
    }
    Ok(places)
}

fn placed(catalog: &Session<'_>) -> Result<Vec<(String, String)>, CatalogError> {
    let mut ask = catalog.prepare_cached(
        "SELECT name, location FROM clients WHERE location IS NOT NULL ORDER BY name",
    )?;
    let mut rows = ask.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = Cells::new("clients", row);
        found.push((cells.get("name")?, cells.get("location")?));
    }
    Ok(found)
}

fn all(catalog: &Session<'_>) -> Result<Vec<Location>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM locations ORDER BY name")?;
    let mut rows = ask.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_row(&Cells::new("locations", row))?);
    }
    Ok(found)
}

fn there(catalog: &Session<'_>, name: &str) -> Result<Location, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM locations WHERE name = ?1")?;
    let mut rows = ask.query([name])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("locations", row)),
        None => Err(CatalogError::not_found("location", name)),
    }
}

fn from_row(cells: &Cells<'_>) -> Result<Location, CatalogError> {
    Ok(Location {
        name: cells.get("name")?,
        parent: cells.get("parent")?,
        note: cells.get("note")?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
