//! What of a list is wanted, and one thing of it with what uses it.

use super::house::House;

#[test]
fn one_thing_is_shown_with_what_uses_it_and_as_the_element_of_its_list() {
    let house = House::with_saveset();
    let own = house.json(&["status"])["own_client"].as_str().unwrap().to_owned();
    house.good(&["task", "add", "dump", "--external"]);
    house.good(&["task-group", "add", "all", "home"]);
    house.good(&["calendar", "add", "holidays", "day 25 of dec"]);
    house.good(&["schedule", "add", "late", "daily 22:00 except calendar:holidays"]);
    house.good(&["event", "add", "night", "--task-group", "all", "--schedule", "late"]);
    house.good(&["command", "add", "sweep"]);
    house.good(&["interface", "set", &own, "http://127.0.0.1"]);
    house.good(&["task", "add", "fixed", "/etc/hostname", "--drive", "1"]);
    house.good(&["token", "create", "tool", "--task", "dump"]);
    house.good(&["api-token", "create", "ci", "--role", "backup:task/home"]);
    for (list, show, key, words) in [
        (vec!["client", "list"], vec!["client", "show", &own], own.as_str(), "home"),
        (vec!["client", "list"], vec!["client", "show", &own], &own, "sweep"),
        (vec!["schedule", "list"], vec!["schedule", "show", "late"], "late", "event 'night'"),
        (
            vec!["calendar", "list"],
            vec!["calendar", "show", "holidays"],
            "holidays",
            "schedule 'late'",
        ),
        (vec!["task-group", "list"], vec!["task-group", "show", "all"], "all", "event 'night'"),
        (vec!["token", "list"], vec!["token", "show", "tool"], "tool", "dump"),
        (vec!["api-token", "list"], vec!["api-token", "show", "ci"], "ci", "task home"),
        (vec!["interface", "list"], vec!["interface", "show", &own], &own, "http://"),
        (vec!["datastore", "drives"], vec!["datastore", "show-drive", "1"], "1", "fixed"),
    ] {
        let text = house.good(&show);
        assert!(text.contains(key) && text.contains(words), "{show:?}\n{text}");
        let all = house.json(&list);
        let one = house.json(&show);
        let named = |one: &serde_json::Value| {
            let keys = ["name", "host", "number"];
            let found = keys.iter().find_map(|key| one.get(key));
            found.map(|found| found.as_str().map_or(found.to_string(), str::to_owned))
        };
        let listed = all.as_array().unwrap().iter().find(|one| named(one) == Some(key.to_owned()));
        let mut listed = listed.unwrap_or_else(|| panic!("{key} is not in {all:#}")).clone();
        // A host may be seen again between the two.
        if one.get("last_seen_unix_ms").is_some() {
            listed["last_seen_unix_ms"] = one["last_seen_unix_ms"].clone();
        }
        assert_eq!(one, listed, "{show:?}");
    }
    for show in [
        ["client", "show", "nobody"],
        ["schedule", "show", "nothing"],
        ["calendar", "show", "nothing"],
        ["task-group", "show", "nothing"],
        ["token", "show", "nothing"],
        ["api-token", "show", "nothing"],
        ["interface", "show", "nobody"],
        ["datastore", "show-drive", "77"],
    ] {
        let (_, error) = house.ends_with(5, &show);
        assert!(error.contains("there is no"), "{show:?}: {error}");
    }
}

#[test]
fn a_list_has_what_is_asked_for() {
    let house = House::with_saveset();
    let own = house.json(&["status"])["own_client"].as_str().unwrap().to_owned();
    house.good(&["location", "add", "germany"]);
    house.good(&["location", "add", "berlin", "--in", "germany"]);
    house.good(&["location", "add", "lima"]);
    house.good(&["client", "place", &own, "berlin"]);
    house.good(&["pool", "add", "gold", "--policy", "last 3"]);
    house.good(&["task", "add", "web-1", "/etc/hostname", "--pool", "gold"]);
    house.good(&["event", "add", "night", "home"]);
    house.good(&["event", "add", "tests", "web-1", "--kind", "restore-drill", "--disabled"]);
    let names = |arguments: &[&str]| {
        let list = house.json(arguments);
        let names = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap());
        names.collect::<Vec<_>>().join(" ")
    };
    let upper = own.to_uppercase();
    for (arguments, wanted) in [
        (vec!["client", "list", "--name", &upper], own.as_str()),
        (vec!["client", "list", "--location", "germany", "--is", "enrolled"], &own),
        (vec!["client", "list", "--location", "lima"], ""),
        (vec!["client", "list", "--is", "revoked"], ""),
        (vec!["task", "list", "--name", "web*"], "web-1"),
        (vec!["task", "list", "--pool", "gold"], "web-1"),
        (vec!["task", "list", "--pool", "default", "--kind", "path"], "home"),
        (vec!["event", "list", "--task", "home"], "night"),
        (vec!["event", "list", "--enabled=false", "--kind", "restore-drill"], "tests"),
        (vec!["location", "list", "--in", "germany"], "berlin"),
        (vec!["pool", "list", "--name", "go"], "gold"),
        (vec!["datastore", "list", "--node", &own], "main"),
        (vec!["datastore", "list", "--node", "elsewhere"], ""),
    ] {
        assert_eq!(names(&arguments), wanted, "{arguments:?}");
    }
    let kinds = |kind: &str| house.json(&["jobs", "--kind", kind]).as_array().unwrap().len();
    assert_eq!((kinds("backup"), kinds("restore")), (1, 0));
    // One that stands in a location that is not shown stands at the top.
    let tree = house.good(&["location", "list", "--name", "berlin"]);
    assert!(tree.lines().any(|line| line.starts_with("berlin")), "{tree}");
    let (_, told) = house.ends_with(0, &["task", "list", "--name", "nothing"]);
    assert!(told.contains("nothing fits"), "{told}");
    let (_, told) = house.ends_with(0, &["schedule", "list"]);
    assert!(told.contains("no schedules"), "{told}");
    let (_, wrong) = house.ends_with(2, &["client", "list", "--is", "gone"]);
    assert!(wrong.contains("revoked"), "{wrong}");
    let (_, wrong) = house.ends_with(5, &["client", "list", "--location", "paris"]);
    assert!(wrong.contains("no location 'paris'"), "{wrong}");
    let (_, wrong) = house.ends_with(2, &["task", "list", "--name", "[a"]);
    assert!(wrong.contains("pattern"), "{wrong}");
}
