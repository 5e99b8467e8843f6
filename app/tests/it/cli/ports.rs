//! `simsim ports` on one host.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use super::house::{House, simsim, text};

fn finding<'a>(found: &'a Value, about: &str, begins: &str) -> &'a Value {
    let all = found["findings"].as_array().unwrap();
    let one = all
        .iter()
        .find(|one| one["about"] == about && one["what"].as_str().unwrap().starts_with(begins));
    one.unwrap_or_else(|| panic!("no finding about {about} {begins}: {found:#}"))
}

/// Before any daemon was started, on a host whose settings name a port that somebody has.
#[test]
fn a_check_before_the_start_names_who_has_a_port_and_what_to_do() {
    let scratch = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = simsim_testkit::free_ports(1)[0];
    let settings = format!(
        "[listen]\nsmssh = [\"{}\"]\nhttp = [\"127.0.0.1:{free}\"]\nconsole = [\"127.0.0.1:0\"]\n",
        taken.local_addr().unwrap()
    );
    std::fs::write(scratch.path().join("simsim.toml"), settings).unwrap();
    let check = |role: &str| {
        let arguments = ["ports", "check", "--role", role, "--json"];
        let output = simsim(scratch.path()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let found = check("server");
    let port = finding(&found, "port", "smssh");
    assert_eq!(port["grade"], "bad");
    let me = format!("process {}", std::process::id());
    assert!(port["message"].as_str().unwrap().contains(&me), "{port:#}");
    assert!(port["next"].as_str().unwrap().contains("--listen"), "{port:#}");
    assert_eq!(finding(&found, "port", "http")["grade"], "good");
    assert_eq!(finding(&found, "key", "")["grade"], "good");
    // A client has neither a data port nor a console, and obeys nobody yet. In active mode of FTP a
    // device dials it.
    let found = check("client");
    let rows: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["about"] == "port")
        .map(|one| one["what"].as_str().unwrap().split(' ').next().unwrap())
        .collect();
    assert_eq!(rows, ["smssh", "ftp-data"]);
    assert!(!scratch.path().join("identity").exists(), "a check makes nothing");
}

#[test]
fn a_key_that_others_can_read_is_found() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::start();
    let file = house.state().join("server/identity");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (out, _) = house.ends_with(3, &["ports", "check", "--json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    let key = finding(&found, "key", "");
    assert!(key["grade"] == "bad" && key["message"].as_str().unwrap().contains("chmod"), "{key:#}");
}

#[test]
fn a_plan_is_shown_written_and_refused_in_words() {
    let house = House::with_saveset();
    let own = house.json(&["status"])["own_client"].as_str().unwrap().to_owned();
    let table = house.good(&["ports", "plan"]);
    assert!(table.contains("smssh") && table.contains("task 'home'"), "{table}");
    let rules =
        house.good(&["ports", "plan", "--format", "ufw", "--host", &own, "--also", "in:22"]);
    assert!(rules.contains("default deny incoming") && rules.contains("port 22 "), "{rules}");
    let (_, said) = house.ends_with(5, &["ports", "plan", "--host", "nobody"]);
    assert!(said.contains(&own), "{said}");
    let (_, said) = house.ends_with(2, &["ports", "plan", "--format", "windows"]);
    assert!(said.contains("for one host") && said.contains(&own), "{said}");
    house.ends_with(2, &["ports", "plan", "--format", "nft", "--host", &own, "--also", "22"]);
    let nobody = simsim(Path::new("/nowhere")).args(["ports", "plan"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(8), "{}", text(&nobody.stderr));
}
