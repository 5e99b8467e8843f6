//! Opening: modes, the fence, newer schemas, other people's files.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use simsim_catalog::{Catalog, CatalogError};
use simsim_model::Kind;

use crate::fixture::{Place, furnish, options};

#[test]
fn only_the_owner_can_read_the_catalogs_files() {
    let place = Place::new();
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
fn gc11_a_second_open_is_refused_while_the_first_lives_and_not_after() {
    let place = Place::new();
    let first = place.open();
    let error = Catalog::open(&options(&place.file())).unwrap_err();
    assert!(matches!(error, CatalogError::InUse { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    let clone = first.clone();
    drop(first);
    Catalog::open(&options(&place.file())).unwrap_err();
    drop(clone);
    place.open();
}

#[test]
fn gc11_a_second_process_is_refused_too() {
    // The same test is its own second process, told apart by the variable.
    if let Some(file) = std::env::var_os("SIMSIM_TEST_CATALOG") {
        match Catalog::open(&options(file.as_ref())) {
            Ok(_) => println!("OPENED"),
            Err(error) => println!("REFUSED {}", error.kind()),
        }
        return;
    }
    let place = Place::new();
    let run = || {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "opening::gc11_a_second_process_is_refused_too", "--nocapture"])
            .env("SIMSIM_TEST_CATALOG", place.file())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = place.open();
    let text = run();
    assert!(text.contains("REFUSED busy"), "{text}");
    drop(first);
    let text = run();
    assert!(text.contains("OPENED"), "{text}");
}

#[test]
fn opening_again_keeps_everything() {
    let place = Place::new();
    furnish(&place.open());
    let catalog = place.open();
    assert_eq!(catalog.client("alpha").unwrap().name, "alpha");
    assert_eq!(catalog.datastores().unwrap()[0].path, b"/srv/\xff");
    catalog.check().unwrap();
}

#[test]
fn a_newer_schema_is_refused() {
    let place = Place::new();
    drop(place.open());
    place.raw().execute("INSERT INTO schema_version VALUES (999, 'later', 'x', 1)", []).unwrap();
    let error = Catalog::open(&options(&place.file())).unwrap_err();
    assert!(matches!(error, CatalogError::Newer { found: 999, .. }), "{error}");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let place = Place::new();
    place.raw().execute_batch("CREATE TABLE theirs (x INTEGER)").unwrap();
    let error = Catalog::open(&options(&place.file())).unwrap_err();
    assert!(matches!(error, CatalogError::Foreign { .. }), "{error}");
    let tables: i64 =
        place.raw().query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn pwr04_an_empty_file_is_a_lost_catalog_and_not_a_new_one() {
    let place = Place::new();
    furnish(&place.open());
    std::fs::write(place.file(), b"").unwrap();
    let error = Catalog::open(&options(&place.file())).unwrap_err();
    assert!(matches!(error, CatalogError::CutOff { bytes: 0, .. }), "{error}");
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[test]
fn pwr02_what_a_death_at_the_first_opening_left_is_in_nobodys_way() {
    let place = Place::new();
    std::fs::write(place.folder.path().join("catalog.db.new"), vec![1; 700]).unwrap();
    furnish(&place.open());
    place.open().check().unwrap();
}

#[test]
fn rot03_a_file_that_is_no_database_is_called_damaged() {
    let place = Place::new();
    std::fs::write(place.file(), vec![0x5a; 8192]).unwrap();
    let error = Catalog::open(&options(&place.file())).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.to_string().contains("rebuild-catalog"), "{error}");
}

/// Whether anything that is done with a catalog whose file holds `bytes` notices the damage.
fn noticed(place: &Place, bytes: &[u8]) -> bool {
    std::fs::write(place.file(), bytes).unwrap();
    match Catalog::open(&options(&place.file())) {
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
    let place = Place::new();
    furnish(&place.open());
    // Steps that made tables anew left pages that nothing uses: damage to them is none.
    place.raw().execute_batch("VACUUM").unwrap();
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
    let place = Place::new();
    furnish(&place.open());
    let whole = std::fs::read(place.file()).unwrap();
    for at in (100..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes.iter_mut().skip(at).take(64).for_each(|byte| *byte ^= 0xa5);
        noticed(&place, &bytes);
    }
}
