//! Where the catalog lies: a file of the state folder, or PostgreSQL. And moving it between the two.

use std::path::Path;

use serde::Serialize;
use simsim_catalog::{AuditEntry, Catalog, CatalogOptions, CatalogPlace, PostgresPlace, TableDump};

use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::keys::MasterKey;

const FILE: &str = "catalog.db";
/// Passwords for PostgreSQL, in the form of its own password file.
const PASSWORDS: &str = "catalog.passwords";

/// What a move did.
#[derive(Debug, Clone, Serialize)]
pub struct CatalogMoved {
    pub from: String,
    pub to: String,
    pub tables: Vec<TableDump>,
}

/// The place that a setting names; empty: the file.
fn place(folder: &Path, setting: &str) -> Result<CatalogPlace, ServerError> {
    if setting.is_empty() {
        return Ok(CatalogPlace::File(folder.join(FILE)));
    }
    let place = PostgresPlace::parse(setting, &folder.join(PASSWORDS))?;
    Ok(CatalogPlace::Postgres(place))
}

/// Opens the master key and the catalog, both made at the first start. `folder` is the Server's.
pub(crate) fn open(folder: &Path, setting: &str) -> Result<(MasterKey, Catalog), ServerError> {
    let place = place(folder, setting)?;
    let is_made = place.is_made()?;
    if !is_made && !setting.is_empty() && folder.join(FILE).exists() {
        return Err(ServerError::Refused(format!(
            "the settings name {place}, which holds no catalog, and this server has one in {}: move it with 'simsim catalog move --to' and the connection string, while the settings do not name it yet",
            folder.join(FILE).display()
        )));
    }
    let master = MasterKey::open(folder, !is_made)?;
    let catalog = Catalog::open(&options(place, &master))?;
    Ok((master, catalog))
}

/// How to open the catalog that a setting names, in this Server's folder.
pub(crate) fn options_in(
    folder: &Path,
    setting: &str,
    master: &MasterKey,
) -> Result<CatalogOptions, ServerError> {
    Ok(options(place(folder, setting)?, master))
}

fn options(place: CatalogPlace, master: &MasterKey) -> CatalogOptions {
    CatalogOptions { place, audit_key: master.audit_key(), now_unix_ms: now_unix_ms() }
}

/// Moves the catalog of a server that does not run from where its setting says to another place, a
/// connection string or empty for the file, and writes that down first. `state` is the state folder
/// of the whole suite.
///
/// Errors: `Busy` while a server runs on either; `Invalid` for a target that is not empty or is the
/// source; `NotFound` where there is no catalog; `Corrupt` where the copy is not the same.
pub fn move_catalog(
    state: &Path,
    from: &str,
    to: &str,
    principal: &str,
) -> Result<CatalogMoved, ServerError> {
    let folder = state.join("server");
    let (source, target) = (place(&folder, from)?, place(&folder, to)?);
    let (from, to) = (source.to_string(), target.to_string());
    if from == to {
        return Err(ServerError::Invalid(format!("the catalog is in {to} already")));
    }
    if !source.is_made()? {
        return Err(ServerError::NotFound { noun: "catalog", name: from });
    }
    let master = MasterKey::open(&folder, false)?;
    let catalog = Catalog::open(&options(source, &master))?;
    let act = AuditEntry {
        principal: principal.to_owned(),
        verb: "catalog.move".to_owned(),
        object: to.clone(),
        allowed: true,
        detail: String::new(),
    };
    catalog.add_audit(&act, now_unix_ms())?;
    let tables = catalog.move_to(&options(target, &master))?;
    Ok(CatalogMoved { from, to, tables })
}
