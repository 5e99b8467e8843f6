//! A self-backup on its way back: opened with the kit, then taken into a catalog that nobody works with.

use std::io::Read;
use std::path::Path;

use simsim_catalog::{
    AuditEntry, Catalog, CatalogError, CatalogOptions, CatalogPiece, CatalogPlace,
};
use simsim_format::{RecoveryKit, SelfBackupError, SelfBackupPart, SelfBackupReader};
use simsim_model::{Kind, SavesetId, StoreId};

use super::after::{MARK, Mark};
use super::head::SelfBackupHead;
use super::kept::{self, KeptFile};
use crate::ServerError;
use crate::catalogs;
use crate::clock::now_unix_ms;
use crate::keys::MasterKey;

/// One that was opened: what it is of is known, and that the kit is its server's. Whether it is whole is
/// known at its end.
pub struct SelfBackup<R> {
    reader: SelfBackupReader<R>,
    head: SelfBackupHead,
    kept: Vec<KeptFile>,
}

/// Where a server comes back.
#[derive(Debug)]
pub struct RecoverInto<'a> {
    /// Stands for the state folder: everything is written beneath it.
    pub folder: &'a Path,
    /// A connection string; empty: a file in that folder.
    pub catalog: &'a str,
    /// Passwords for it, in PostgreSQL's form, in place of those that were backed up.
    pub passwords: Option<&'a [u8]>,
    /// The saveset that it comes from.
    pub saveset: SavesetId,
    /// Datastores of the server's own host that lie elsewhere now.
    pub moved: &'a [(StoreId, String)],
    /// Who does it, for the audit log.
    pub principal: &'a str,
}

/// What came back.
#[derive(Debug)]
pub struct Recovered {
    /// Files that were written, relative to the folder; the catalog's own is not among them.
    pub files: Vec<String>,
    pub rows: u64,
    /// The first break of the audit log's chain, if it has one.
    pub audit_break: Option<String>,
}

impl<R: Read> SelfBackup<R> {
    /// # Errors
    /// `Denied` where the kit is another server's, `Corrupt` where it is damaged, `Invalid` where it was made
    /// by a later version.
    pub fn open(from: R, kit: &RecoveryKit) -> Result<Self, ServerError> {
        let mut reader = SelfBackupReader::open(from, &kit.wrapping_key()).map_err(broken)?;
        let (Some((SelfBackupPart::Head, head)), Some((SelfBackupPart::Secrets, secrets))) =
            (reader.next().map_err(broken)?, reader.next().map_err(broken)?)
        else {
            return Err(ServerError::Key("the server's backup has no head or no keys".to_owned()));
        };
        let head = serde_json::from_slice(&head).map_err(|error| {
            ServerError::Key(format!("the head of the server's backup: {error}"))
        })?;
        let secrets = zeroize::Zeroizing::new(secrets);
        Ok(Self { reader, head, kept: kept::parse(&secrets)? })
    }

    pub fn head(&self) -> &SelfBackupHead {
        &self.head
    }

    /// The settings of the daemon, where it had a file of them.
    pub fn settings(&self) -> Option<&[u8]> {
        self.kept.iter().find(|file| file.name == kept::SETTINGS).map(|file| file.bytes.as_slice())
    }

    /// Other settings in their place; `None`: none.
    pub fn set_settings(&mut self, settings: Option<Vec<u8>>) {
        self.kept.retain(|file| file.name != kept::SETTINGS);
        if let Some(bytes) = settings {
            self.kept.push(KeptFile { name: kept::SETTINGS.to_owned(), bytes });
        }
    }

    /// Reads it to its end into a catalog in a folder that is thrown away, and writes no key anywhere.
    ///
    /// # Errors
    /// As [`SelfBackup::recover`].
    pub fn check(mut self, into: &RecoverInto<'_>) -> Result<Recovered, ServerError> {
        let master = self.master()?;
        let options = catalogs::options_in(into.folder, "", &master)?;
        let (catalog, rows) = take_in(&mut self.reader, &options, self.head.schema_step, &[])?;
        simsim_model::failpoint::hit("recovery.checked");
        catalog.check()?;
        let audit_break = catalog.verify_audit(None)?.map(|at| at.to_string());
        Ok(Recovered { files: Vec::new(), rows, audit_break })
    }

    fn master(&self) -> Result<MasterKey, ServerError> {
        let master = self.kept.iter().find(|file| file.name == kept::MASTER);
        master.and_then(|file| MasterKey::of_file(&file.bytes)).ok_or_else(|| {
            ServerError::Key("the master key in the server's backup is damaged".to_owned())
        })
    }

    /// Writes keys and settings, takes the catalog in, and leaves it so that a server which is started on
    /// it does nothing that could do harm. Blocks. A database that took the same saveset in before is only
    /// looked at again.
    ///
    /// # Errors
    /// As the stream, the disk and the database say. Then what lies in the folder is to be thrown away, and
    /// a database has no row of it.
    pub fn recover(mut self, into: &RecoverInto<'_>) -> Result<Recovered, ServerError> {
        if let Some(passwords) = into.passwords {
            self.kept.retain(|file| file.name != kept::PASSWORDS);
            let (name, bytes) = (kept::PASSWORDS.to_owned(), passwords.to_vec());
            self.kept.push(KeptFile { name, bytes });
        }
        let files = kept::write(&self.kept, into.folder)?;
        let server = into.folder.join("server");
        let master = self.master()?;
        let options = catalogs::options_in(&server, into.catalog, &master)?;
        let mark = Mark {
            saveset: into.saveset,
            made_unix_ms: self.head.made_unix_ms,
            recovered_unix_ms: now_unix_ms(),
        };
        let taken_before = match &options.place {
            CatalogPlace::File(_) => None,
            place if place.is_made()? => {
                let catalog = Catalog::open(&options)?;
                Mark::read(&catalog)?.filter(|kept| kept.saveset == into.saveset).map(|_| catalog)
            }
            CatalogPlace::Postgres(_) => None,
        };
        let (catalog, rows) = match taken_before {
            Some(catalog) => (catalog, 0),
            None => {
                let marked = [(MARK, mark.encode()?)];
                take_in(&mut self.reader, &options, self.head.schema_step, &marked)?
            }
        };
        simsim_model::failpoint::hit("recovery.catalog_taken");
        super::after::quieten(&catalog, &mark, into.moved)?;
        let entry = AuditEntry {
            principal: into.principal.to_owned(),
            verb: "server.recover".to_owned(),
            object: self.head.server.clone(),
            allowed: true,
            detail: format!("from saveset {}", into.saveset),
        };
        let broken = catalog.verify_audit(None)?;
        catalog.add_audit(&entry, now_unix_ms())?;
        catalog.check()?;
        Ok(Recovered { files, rows, audit_break: broken.map(|at| at.to_string()) })
    }
}

/// The catalog of the stream, where the stream was whole and right.
fn take_in<R: Read>(
    reader: &mut SelfBackupReader<R>,
    options: &CatalogOptions,
    step: i64,
    settings: &[(&str, Vec<u8>)],
) -> Result<(Catalog, u64), ServerError> {
    let mut failed = None;
    let taken = Catalog::carry_in(options, step, settings, &mut || {
        piece(reader).map_err(|error| {
            let message = error.full_message();
            failed = Some(error);
            CatalogError::Invalid { message }
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(taken?),
    }
}

fn piece<R: Read>(reader: &mut SelfBackupReader<R>) -> Result<Option<CatalogPiece>, ServerError> {
    match reader.next().map_err(broken)? {
        None => Ok(None),
        Some((SelfBackupPart::Table, content)) => Ok(Some(CatalogPiece::Table(content))),
        Some((SelfBackupPart::Rows, content)) => Ok(Some(CatalogPiece::Rows(content))),
        Some(_) => Err(ServerError::Key("the server's backup has a second head".to_owned())),
    }
}

fn broken(error: SelfBackupError) -> ServerError {
    match error {
        SelfBackupError::Format(error) => error.into(),
        // The stream comes from a datastore: what it lost is damage.
        SelfBackupError::Io(error) => ServerError::Node {
            node: "the datastore".to_owned(),
            kind: Kind::Corrupt,
            message: error.to_string(),
        },
    }
}
