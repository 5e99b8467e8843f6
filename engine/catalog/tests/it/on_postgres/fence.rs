//! One Server per catalog, held by the database.

use postgres::NoTls;
use simsim_catalog::{Catalog, CatalogError};
use simsim_model::Kind;

use super::on;
use crate::fixture::{Place, backup_job, furnish, furnished};

/// Ends the writing session of the suite in the schema of a place, as a network that breaks does.
fn cut_writer(place: &Place) {
    let mut other = postgres::Client::connect(&place.text(), NoTls).unwrap();
    let ask = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
        WHERE application_name LIKE 'simsim % writes'";
    let ended: Vec<bool> = other.query(ask, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(ended, [true]);
}

#[test]
fn gc11_a_server_whose_connection_dropped_never_writes_again_once_another_one_was_there() {
    let Some(on) = on() else { return };
    let (place, first, client) = furnished(&on);
    first.queue_job(&backup_job(&client), 1).unwrap();
    cut_writer(&place);
    let second = place.open();
    let refused = |catalog: &Catalog| {
        let error = catalog.queue_job(&backup_job(&client), 1).unwrap_err();
        assert!(matches!(error, CatalogError::InUse { .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::Busy);
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    };
    refused(&first);
    assert_eq!(second.queue_job(&backup_job(&client), 1).unwrap().number, 2);
    refused(&first);
    // Also after the other one has ended: it may have written what the first does not know of.
    drop(second);
    refused(&first);
    drop(first);
    assert_eq!(place.open().queue_job(&backup_job(&client), 1).unwrap().number, 3);
}

#[test]
fn gc11_a_server_whose_connection_dropped_takes_the_fence_again_where_nobody_else_did() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    for number in 1..=3 {
        cut_writer(&place);
        assert_eq!(catalog.queue_job(&backup_job(&client), 1).unwrap().number, number);
        let error = Catalog::open(&place.options()).unwrap_err();
        assert!(matches!(error, CatalogError::InUse { .. }), "{error:?}");
    }
}

#[test]
fn catalogs_in_two_schemas_of_one_database_are_two() {
    let Some(on) = on() else { return };
    let (_one, first, _) = furnished(&on);
    let other = Place::new(&on);
    let second = other.open();
    assert!(second.clients().unwrap().is_empty());
    furnish(&second);
    assert_eq!(first.clients().unwrap(), second.clients().unwrap());
}
