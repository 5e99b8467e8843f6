//! The quickstart, end to end, through real ports.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hosts::{Daemon, PATIENCE};

fn simsim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simsim")).args(arguments).output().unwrap()
}

fn quickstart(folder: &Path, state: &Path) -> Value {
    let (folder, state) = (folder.to_str().unwrap(), state.to_str().unwrap());
    let output = simsim(&["quickstart", folder, "--state", state, "--json"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let document = serde_json::from_slice(&output.stdout).unwrap();
    crate::cli::documents::check("Quickstart", &document);
    document
}

fn sample(root: &Path) {
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::write(root.join("a/text"), "a line of text\n".repeat(20_000)).unwrap();
    std::fs::write(root.join("a/b/small"), "small").unwrap();
    std::fs::write(root.join("a/b/secret-name"), "secret content, secret content".repeat(50))
        .unwrap();
    std::os::unix::fs::symlink("../text", root.join("a/b/link")).unwrap();
    std::fs::hard_link(root.join("a/text"), root.join("a/hard")).unwrap();
    // Past the margin within which files count as too new to be trusted next time.
    std::thread::sleep(std::time::Duration::from_millis(80));
}

#[test]
fn the_main_job_runs_twice_and_the_second_time_stores_nothing_new() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, state) = (scratch.path().join("folder"), scratch.path().join("state"));
    sample(&folder);
    let first = quickstart(&folder, &state);
    assert_eq!(first["outcome"], "finished");
    assert_eq!(first["differences"], serde_json::json!([]));
    assert!(first["backup"]["counters"]["bytes_new"].as_u64().unwrap() > 10_000);
    let second = quickstart(&folder, &state);
    assert_eq!(second["outcome"], "finished");
    assert_eq!(second["backup"]["counters"]["bytes_new"], 0);
    assert_ne!(first["saveset"], second["saveset"]);
    assert_eq!(second["backup"]["counters"]["bytes_read"], 0);

    // Nothing readable lies in the datastore.
    let mut open = vec![state.join("datastore-main")];
    let mut files = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        // Room that is kept for bad times: nothing was ever written to it.
        if path.file_name().is_some_and(|name| name == "reserve") {
            continue;
        }
        files += 1;
        let bytes = std::fs::read(&path).unwrap();
        for secret in [&b"secret content"[..], b"secret-name", b"a line of text"] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{}", path.display());
        }
    }
    assert!(files > 5);
}

#[test]
fn what_it_made_is_served_by_a_server_and_its_page_answers_while_it_runs() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, state) = (scratch.path().join("folder"), scratch.path().join("state"));
    sample(&folder);
    let made = quickstart(&folder, &state);
    assert_eq!(made["skipped"].as_array().unwrap().len(), 1, "{made:#}");
    for kit in ["recovery-kit.txt", "recovery-kit.html"] {
        assert!(std::fs::read_to_string(state.join(kit)).unwrap().contains("Server"));
    }
    let server = Daemon::start("server", &state);
    let savesets = server.must("saveset.list", serde_json::json!({}));
    assert_eq!(savesets[0]["saveset"], made["saveset"]);
    let again = server.backup(made["task"].as_str().unwrap());
    assert_eq!(again["state"], "finished", "{again:#}");
    assert_eq!(again["progress"]["bytes_read"], 0, "{again:#}");
    // While the server has the state, the quickstart is told so.
    let (folder, state) = (folder.to_str().unwrap(), state.to_str().unwrap());
    let refused = simsim(&["quickstart", folder, "--state", state]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    let port = server.process.wait_for_line("console", PATIENCE).unwrap();
    let address = port.rsplit_once("address=").unwrap().1.to_owned();
    if !simsim_testkit::has_program("curl") {
        return simsim_testkit::skip("curl is not installed: the page is not looked at");
    }
    let curl = |path: &str| {
        let url = format!("https://{address}{path}");
        let output = Command::new("curl").args(["-skL", &url]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // Nobody has become the first user yet.
    assert!(curl("/").contains("Welcome to"), "{}", curl("/"));
    assert!(curl("/health").contains("ok"));
}

#[test]
fn files_that_cannot_be_read_make_it_finished_with_errors() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, state) = (scratch.path().join("folder"), scratch.path().join("state"));
    sample(&folder);
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(folder.join("a/b/small"), closed).unwrap();
    let arguments =
        ["quickstart", folder.to_str().unwrap(), "--state", state.to_str().unwrap(), "--yes"];
    let output = match (simsim_testkit::is_root(), simsim_testkit::has_program("setpriv")) {
        (false, _) => simsim(&arguments),
        (true, false) => return simsim_testkit::skip("root reads everything, and no setpriv"),
        (true, true) => {
            let binary = scratch.path().join("simsim");
            std::fs::copy(env!("CARGO_BIN_EXE_simsim"), &binary).unwrap();
            let owner = Command::new("chown")
                .args(["-R", "65534:65534"])
                .arg(scratch.path())
                .output()
                .unwrap();
            assert!(owner.status.success(), "{owner:?}");
            Command::new("setpriv")
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"])
                .arg(&binary)
                .args(arguments)
                .output()
                .unwrap()
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}{output:?}");
    assert!(text.contains("a/b/small: Permission denied"), "{text}");
    assert!(text.contains("a/b/small: is missing") && text.contains("1 differences"), "{text}");
    assert!(text.contains("skipped: proof"), "{text}");
    assert!(text.contains("savesets"), "what to type next: {text}");
}

#[test]
fn a_reader_that_goes_away_or_a_full_disk_ends_it_in_order_and_what_is_next_can_be_typed() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, state) = (scratch.path().join("folder"), scratch.path().join("state"));
    sample(&folder);
    let quickstart = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simsim"));
        // Nowhere to find the program by its name.
        command.env("PATH", scratch.path()).stdin(std::process::Stdio::null());
        command.arg("quickstart").arg(&folder).arg("--state").arg(&state).arg("--yes");
        command
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let gone = quickstart().stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&gone.stderr);
    assert_eq!((gone.status.code(), said.contains("panicked")), (Some(141), false), "{said}");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let full = quickstart().stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&full.stderr);
    assert_eq!((full.status.code(), said.contains("panicked")), (Some(7), false), "{said}");

    let mut text = String::new();
    for _ in 0..2 {
        let output = quickstart().output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    let program = format!("{} --state {}", env!("CARGO_BIN_EXE_simsim"), state.display());
    for verb in ["key kit prove", "savesets", "server"] {
        assert!(text.contains(&format!("{program} {verb}")), "{verb}: {text}");
    }
}

/// Holds one of the suite's own ports. Other tests that run beside this one may have it for a moment:
/// what is refused once is asked again, since whoever has it may be gone when it matters.
fn held(port: u16) -> TcpListener {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < until, "port {port}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ports_that_are_taken_are_named_with_their_holder_and_free_ones_are_used() {
    let ports = [
        simsim_model::port_registry::SMSSH.ports.first(),
        simsim_model::port_registry::HTTP.ports.first(),
    ];
    let _held = ports.map(held);
    let scratch = tempfile::tempdir().unwrap();
    let (folder, state) = (scratch.path().join("folder"), scratch.path().join("state"));
    sample(&folder);
    let (folder, state) = (folder.to_str().unwrap(), state.to_str().unwrap());
    let output = simsim(&["quickstart", folder, "--state", state, "--yes"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{output:?}");
    for port in ports {
        let line = text.lines().find(|line| line.contains(&format!("port {port} is taken by")));
        let line = line.unwrap_or_else(|| panic!("{port}: {text}"));
        assert!(line.contains(&std::process::id().to_string()), "its holder: {text}");
        assert!(line.contains("free port"), "{text}");
    }
    assert!(text.contains("identical"), "{text}");
    // Sizes and rates have one kind of unit.
    assert!(!text.contains("iB"), "{text}");
}

#[test]
fn bad_requests_have_their_status_and_a_sentence() {
    let scratch = tempfile::tempdir().unwrap();
    let missing = scratch.path().join("missing");
    let output = simsim(&["quickstart", missing.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing"));
    let inside = scratch.path().join("state");
    let folder = scratch.path().to_str().unwrap();
    let output = simsim(&["quickstart", folder, "--state", inside.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(simsim(&["no-such-verb"]).status.code(), Some(2));
}
