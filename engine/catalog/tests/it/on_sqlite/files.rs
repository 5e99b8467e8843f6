//! The files of a catalog on SQLite: their modes, and damage to them.

use std::os::unix::fs::PermissionsExt;

use simsim_catalog::{Catalog, CatalogError};
use simsim_model::Kind;

use crate::fixture::{On, Place, furnish};

#[test]
fn only_the_owner_can_read_the_catalogs_files() {
    let place = Place::new(&On::Sqlite);
    let catalog = place.open();
    furnish(&catalog);
    let mut seen = 0;
    for entry in std::fs::read_dir(place.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{entry:?}");
        seen += 1;
    }
    assert!(seen >= 3, "database, log and lock");
}

#[test]
fn pwr04_an_empty_file_is_a_lost_catalog_and_not_a_new_one() {
    let place = Place::new(&On::Sqlite);
    furnish(&place.open());
    std::fs::write(place.file(), b"").unwrap();
    let error = Catalog::open(&place.options()).unwrap_err();
    assert!(matches!(error, CatalogError::CutOff { bytes: 0, .. }), "{error}");
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[test]
fn pwr02_what_a_death_at_the_first_opening_left_is_in_nobodys_way() {
    let place = Place::new(&On::Sqlite);
    std::fs::write(place.folder.path().join("catalog.db.new"), vec![1; 700]).unwrap();
    furnish(&place.open());
    place.open().check().unwrap();
}

#[test]
fn rot03_a_file_that_is_no_database_is_called_damaged() {
    let place = Place::new(&On::Sqlite);
    std::fs::write(place.file(), vec![0x5a; 8192]).unwrap();
    let error = Catalog::open(&place.options()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.to_string().contains("rebuild-catalog"), "{error}");
}

/// Whether anything that is done with a catalog whose file holds `bytes` notices the damage.
fn noticed(place: &Place, bytes: &[u8]) -> bool {
    std::fs::write(place.file(), bytes).unwrap();
    match Catalog::open(&place.options()) {
        Err(error) => !error.to_string().is_empty(),
        Ok(catalog) => {
            let ask = [
                catalog.clients().err(),
                catalog.tasks().err(),
                catalog.jobs(&Default::default()).err(),
            ];
            catalog.check().is_err() || ask.iter().any(Option::is_some)
        }
    }
}

#[test]
fn rot03_every_page_whose_head_is_damaged_is_noticed() {
    let place = Place::new(&On::Sqlite);
    furnish(&place.open());
    // Steps that made tables anew left pages that nothing uses: damage to them is none.
    place.raw().run("VACUUM").unwrap();
    let whole = std::fs::read(place.file()).unwrap();
    assert!(!noticed(&place, &whole));
    let pages = whole.len() / 4096;
    assert!(pages > 20, "{pages}");
    for page in 0..pages {
        let mut bytes = whole.clone();
        bytes.iter_mut().skip(page * 4096).take(8).for_each(|byte| *byte ^= 0xa5);
        assert!(noticed(&place, &bytes), "page {page}");
    }
    for cut in [0, 1, 511, 512, 4096, 4097, whole.len() - 4096] {
        assert!(noticed(&place, whole.get(..cut).unwrap_or_default()), "cut at {cut}");
    }
}

#[test]
fn rot03_damage_anywhere_is_an_error_or_harmless_and_never_a_panic() {
    let place = Place::new(&On::Sqlite);
    furnish(&place.open());
    let whole = std::fs::read(place.file()).unwrap();
    for at in (100..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes.iter_mut().skip(at).take(64).for_each(|byte| *byte ^= 0xa5);
        noticed(&place, &bytes);
    }
}
