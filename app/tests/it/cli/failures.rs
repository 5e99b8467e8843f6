//! Errors: what, where, what to do next, and the exit status of each.

use super::house::{House, simsim};

/// Names of this run taken out of a text.
fn settled(house: &House, text: &str) -> String {
    let folder = house.scratch.path().to_str().unwrap();
    let mut settled = text.replace(folder, "FOLDER");
    for saveset in house.json(&["savesets"]).as_array().unwrap() {
        let id = saveset["saveset"].as_str().unwrap();
        settled = settled
            .replace(id, "ID")
            .replace(&id[..12], "ID------12")
            .replace(&id[..8], "ID-----8");
    }
    let own = house.json(&["status"])["own_client"].as_str().unwrap().to_owned();
    let settled = settled.replace(&own, "HOST");
    // Instants.
    let mut calm = String::new();
    for word in settled.split_inclusive(|c: char| c.is_whitespace()) {
        let end = word.trim_end().len();
        let (core, space) = word.split_at(end);
        let digits = core.chars().filter(char::is_ascii_digit).count();
        let instant = (core.len() == 10 && core.matches('-').count() == 2 && digits == 8)
            || ((core.len() == 5 || core.len() == 8)
                && core.contains(':')
                && digits + core.matches(':').count() == core.len());
        calm.push_str(if instant { "NOW" } else { core });
        calm.push_str(space);
    }
    // Columns are as wide as what stands in them.
    let narrow = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<_> = line.split_whitespace().collect();
        format!("{}{}\n", &line[..indent], words.join(" "))
    };
    calm.lines().map(narrow).collect()
}

#[test]
fn ret05_errors_say_what_where_and_what_next_with_their_status() {
    let house = House::with_saveset();
    let saveset = house.json(&["savesets"])[0]["saveset"].as_str().unwrap().to_owned();
    // A task with a name that is the beginning of a saveset's id: ambiguous.
    let twin = &saveset[..8];
    let tree = house.path("tree");
    house.good(&["task", "add", twin, &tree]);
    house.good(&["backup", twin]);
    let missing = house.path("missing");
    let cases: &[(i32, &[&str])] = &[
        (2, &["restore", "home"]),
        (2, &["restore", "--to", "x"]),
        (2, &["backup"]),
        (2, &["backup", "--client", "web", "relative"]),
        (2, &["task", "add", "a b", "/etc"]),
        (2, &["ls", twin]),
        (2, &["find", "[", "home"]),
        (2, &["datastore", "create", "tiny", "/nowhere", "--chunk-size", "3"]),
        (5, &["ls", "hom"]),
        (5, &["ls", "latest:hom"]),
        (5, &["ls", "home", "/not/there"]),
        (5, &["backup", "homer"]),
        (5, &["task", "show", "nope"]),
        (5, &["job", "show", "999"]),
        (5, &["datastore", "detach", "nope"]),
        (5, &["client", "revoke", "nope"]),
        (5, &["man", "nope"]),
        (5, &["backup", &missing]),
    ];
    let mut all = String::new();
    for (status, arguments) in cases {
        let (_, told) = house.ends_with(*status, arguments);
        let asked = arguments.join(" ");
        all.push_str(&settled(&house, &format!("$ simsim {asked}   [{status}]\n{told}\n")));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn what_would_be_lost_or_cannot_be_is_refused_and_not_passed_over() {
    let house = House::with_saveset();
    // A lock that was asked for and is not set is found out too late.
    let jobs = house.json(&["jobs"]);
    for option in [
        ["--keep-days", "30"],
        ["--exclude", "*.tmp"],
        ["--max-file-size", "1MB"],
        ["--datastore", "main"],
        ["--drive", "1"],
    ] {
        let (_, told) = house.ends_with(2, &["backup", "home", option[0], option[1]]);
        assert!(told.contains(option[0]) && told.contains("task change home"), "{told}");
    }
    house.ends_with(2, &["backup", "home", "--one-file-system"]);
    assert_eq!(house.json(&["jobs"]), jobs, "nothing was queued");

    let file = house.path("tree/hello.txt");
    let (_, told) = house.ends_with(2, &["restore", "home", "--to", &file]);
    assert!(told.contains("is not a folder"), "{told}");
    let (_, told) = house.ends_with(5, &["savesets", "--client", "nope"]);
    assert!(told.contains("simsim client list"), "{told}");

    house.ends_with(2, &["audit", "list", "-n", "0"]);
    let all = house.json(&["audit", "list"])["rows"].as_array().unwrap().clone();
    let two = house.json(&["audit", "list", "-n", "2"])["rows"].as_array().unwrap().clone();
    assert_eq!(two, all[all.len() - 2..], "the newest");
    let first = house.json(&["audit", "list", "-n", "2", "--after", "0"]);
    assert_eq!(first["rows"].as_array().unwrap()[..], all[..2], "page by page");
    let (_, aside) = house.ends_with(0, &["audit", "list", "-n", "2"]);
    assert!(aside.contains("more: -n"), "{aside}");

    let checked = house.good(&["verify", "home"]);
    assert!(checked.contains("checked ") && checked.contains("nothing is damaged"), "{checked}");
    let checked = house.json(&["verify"])["checked"].clone();
    assert!(checked["packs"].as_u64() > Some(0) && checked["damaged"] == 0, "{checked}");
}

#[test]
fn what_may_stand_there_is_said_where_something_else_does() {
    let house = House::with_saveset();
    for (status, arguments, words) in [
        (
            2,
            &["jobs", "--outcome", "bogus"][..],
            "finished, finished_with_errors, failed, cancelled",
        ),
        (2, &["event", "add", "x", "home", "--timeout", "-5"], "-5 is not in 0.."),
        (2, &["task", "add", "x", "/etc", "--keep-days", "-1"], "-1 is not in 0.."),
        (5, &["jobs", "--task", "hoem"], "there is no task 'hoem'; did you mean 'home'?"),
        (5, &["jobs", "--task", "hoem"], "simsim task list"),
        (5, &["jobs", "--event", "nix"], "simsim event list"),
        (5, &["savesets", "--task", "nix"], "there is no task 'nix'"),
        (5, &["schedule", "preview", "--event", "nix"], "there is no event 'nix'"),
        (5, &["task-group", "remove", "nix"], "simsim task-group list"),
        (5, &["drive-group", "remove", "nix"], "simsim drive-group list"),
        (5, &["event", "show", "nix"], "simsim event list"),
        (5, &["event", "add", "b", "home", "--blocking", "true"], "--all=true"),
        (
            2,
            &["saveset", "lock", "home", "--until", "2020-01-01"],
            "has passed: nothing was locked",
        ),
        (
            2,
            &["saveset", "lock", "home", "--until", "9999-01-01"],
            "100 years (36525 days) at most",
        ),
        (2, &["calendar", "add", "none", ""], "would have no day"),
    ] {
        let (_, told) = house.ends_with(status, arguments);
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}

#[test]
fn a_command_line_that_is_not_understood_is_a_document_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        vec!["ls", "home", "--json", "--nope"],
        vec!["--json", "restor"],
        vec!["--json", "audit", "list", "-n", "0"],
        vec!["task", "--json"],
    ] {
        let output = simsim(folder.path()).args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        super::documents::check("Error", &told["error"]);
        let message = told["error"]["message"].as_str().unwrap();
        assert!(!message.is_empty() && !message.contains('\n'), "{told}");
    }
    // For people as ever; and help is no error.
    let output = simsim(folder.path()).args(["ls", "--nope"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage"), "{output:?}");
    let output = simsim(folder.path()).args(["ls", "--json", "--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn without_a_server_it_is_said_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let output = simsim(folder.path()).arg("status").output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    let told = String::from_utf8_lossy(&output.stderr);
    let told = told.replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(told, @r"
    simsim: no server answers at FOLDER/console.sock: there is no such socket
      → start it on this host: simsim server
      → if its state lies elsewhere, name the folder: --state DIR
    ");
    // A socket that a server left behind.
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("console.sock")).unwrap());
    let output = simsim(folder.path()).args(["status", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(told["error"]["message"].as_str().unwrap().contains("nobody listens there"), "{told}");
}
