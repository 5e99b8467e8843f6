//! Opening: the fence, newer schemas, other people's databases.

use std::process::Command;

use simsim_catalog::{Catalog, CatalogError};
use simsim_model::Kind;

use super::on;
use crate::fixture::{Place, furnish, options_of, test_name};

#[test]
fn gc11_a_second_open_is_refused_while_the_first_lives_and_not_after() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let first = place.open();
    let error = Catalog::open(&place.options()).unwrap_err();
    assert!(matches!(error, CatalogError::InUse { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    let clone = first.clone();
    drop(first);
    Catalog::open(&place.options()).unwrap_err();
    drop(clone);
    place.open();
}

#[test]
fn gc11_a_second_process_is_refused_too() {
    // The same test is its own second process, told apart by the variable.
    if let Ok(place) = std::env::var("SIMSIM_TEST_CATALOG") {
        match Catalog::open(&options_of(&place)) {
            Ok(_) => println!("OPENED"),
            Err(error) => println!("REFUSED {}", error.kind()),
        }
        return;
    }
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let run = || {
        let test = test_name(module_path!(), "gc11_a_second_process_is_refused_too");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &test, "--nocapture"])
            .env("SIMSIM_TEST_CATALOG", place.text())
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
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    furnish(&place.open());
    let catalog = place.open();
    assert_eq!(catalog.client("alpha").unwrap().name, "alpha");
    assert_eq!(catalog.datastores().unwrap()[0].path, b"/srv/\xff");
    catalog.check().unwrap();
}

#[test]
fn a_newer_schema_is_refused() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    drop(place.open());
    place.raw().run("INSERT INTO schema_version VALUES (999, 'later', 'x', 1)").unwrap();
    let error = Catalog::open(&place.options()).unwrap_err();
    assert!(matches!(error, CatalogError::Newer { found: 999, .. }), "{error}");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    place.raw().run("CREATE TABLE theirs (x INTEGER)").unwrap();
    let error = Catalog::open(&place.options()).unwrap_err();
    assert!(matches!(error, CatalogError::Foreign { .. }), "{error}");
    let ask = match on.is_sqlite() {
        true => "SELECT COUNT(*) FROM sqlite_schema",
        false => "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()",
    };
    let tables = place.raw().number(ask);
    assert_eq!(tables, 1);
}
