//! Who uses what: all of them are named when something is not removed.

use simsim_catalog::{Datastore, DatastoreState, NewEvent, Put, Replication, Use};
use simsim_model::{Kind, StoreId};

use super::on;
use crate::fixture::{STORE, backup_job, furnished, task_settings};

#[test]
fn whoever_uses_it_is_named_at_once_when_something_is_not_removed() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let main = catalog.datastore("main").unwrap();
    let held = ["user 'kim'".to_owned(), "notification 'ops'".to_owned()];
    let uses = vec![
        Use::new("subject", "task", "home"),
        Use::new("place", "drive", "1"),
        Use::new("subject", "datastore", "main"),
    ];
    let event = NewEvent {
        name: "night".to_owned(),
        kind: "backup".to_owned(),
        schedule: None,
        own_schedule: None,
        enabled: true,
        document: "{}".to_owned(),
        uses,
        considered: None,
    };
    let task = catalog.add_task(&task_settings("home"), 1).unwrap();
    catalog.put_event(Put::Add, &event, 1).unwrap();
    catalog.put_task_group(Put::Add, "all", &["home".to_owned()], 1).unwrap();
    let other = Datastore { store: StoreId([77; 16]), name: "other".to_owned(), ..main.clone() };
    catalog.add_datastore(&other).unwrap();
    let replication = Replication {
        name: "away".to_owned(),
        source: STORE,
        target: other.store,
        pull: true,
        drive: 1,
        client_name: None,
        task_name: Some("home".to_owned()),
        rates: Vec::new(),
        created_unix_ms: 1,
    };
    catalog.put_replication(Put::Add, &replication).unwrap();
    let mut new = backup_job(&client);
    (new.task, new.drive) = (Some(task.id), Some(1));
    let job = catalog.queue_job(&new, 1).unwrap().number;
    let refused = |error: simsim_catalog::CatalogError| {
        assert_eq!(error.kind(), Kind::Busy, "{error}");
        error.to_string()
    };

    let open = format!("job {job}, which has not ended (cancel it or wait)");
    let said = refused(catalog.delete_task("home", &held).unwrap_err());
    let all = format!(
        "task 'home' is still used by event 'night', task group 'all', replication 'away', user 'kim', notification \
         'ops', {open}"
    );
    assert_eq!(said, all);
    catalog.add_drive(STORE, Some(7), 1).unwrap();
    let said = refused(catalog.remove_drive(1, 5).unwrap_err());
    let all = format!(
        "drive '1' is still used by event 'night', task 'home', replication 'away', {open}"
    );
    assert_eq!(said, all);
    let named = ["event 'night'", "task 'home'", "replication 'away'"];
    assert_eq!(catalog.users_of_datastore("main").unwrap(), named);
    catalog.move_datastore(STORE, client.id, &main.path, DatastoreState::Detached).unwrap();
    let said = refused(catalog.remove_datastore("main", 5).unwrap_err());
    assert_eq!(said, format!("datastore 'main' is still used by {}, {open}", named.join(", ")));
    catalog.put_location(Put::Add, "berlin", None, "", 1).unwrap();
    catalog.place_client(&client.name, Some("berlin")).unwrap();
    let said = refused(catalog.delete_location("berlin", &held).unwrap_err());
    let all = format!("client '{}', user 'kim', notification 'ops'", client.name);
    assert_eq!(said, format!("location 'berlin' is still used by {all}"));
}
