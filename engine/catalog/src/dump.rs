//! The canonical dump: everything that derives from manifests, as text, in one order.
//!
//! Two catalogs that know the same savesets have the same dump, whatever became of their rows on
//! the way. It is how a rebuilt catalog is held against the one that was lost.

use std::fmt::Write;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::savesets::from_row;

impl Catalog {
    /// One line for each saveset that is present, ordered by datastore and sequence.
    pub fn dump_savesets(&self) -> Result<String, CatalogError> {
        self.read("dump its savesets", |catalog| {
            let mut ask = catalog.prepare(
                "SELECT * FROM savesets WHERE state = 'present' ORDER BY store, sequence",
            )?;
            let mut rows = ask.query([])?;
            let mut dump = String::new();
            while let Some(row) = rows.next()? {
                let saveset = from_row(&Cells::new("savesets", row))?;
                let base = saveset.base.map_or("-".to_owned(), |base| base.to_string());
                let _ = writeln!(
                    dump,
                    "{} {} {} {} {:?} {:?} {} {base} {} {} {} {} {} {} {} {} {}",
                    saveset.store,
                    saveset.sequence,
                    saveset.saveset,
                    saveset.domain,
                    saveset.client_name,
                    saveset.task_name,
                    saveset.level.as_str(),
                    saveset.scan_started_unix_ns,
                    saveset.committed_unix_ns,
                    saveset.lock_until_unix_s,
                    saveset.files,
                    saveset.dirs,
                    saveset.bytes,
                    saveset.bytes_new,
                    saveset.bytes_stored,
                    saveset.problems,
                );
            }
            Ok(dump)
        })
    }
}
