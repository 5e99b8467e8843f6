//! Access mode CTRL with real daemons: everything that works over SMSSH works, a capture holds
//! nothing, warnings stay, and nobody gets from one mode to the other but an administrator.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use simsim_testkit::{ChildProcess, CutProxy, Direction, free_ports};

use crate::hosts::{Daemon, PATIENCE, assert_done, differences, simsim, tree, until};

/// A server, and a client "web" that listens for both modes; whatever the server says over CTRL
/// goes through a proxy.
struct Steered {
    scratch: tempfile::TempDir,
    server: Daemon,
    client: Daemon,
    proxy: CutProxy,
}

impl Steered {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let port = free_ports(1)[0];
        settings(&folder("client"), &format!("[listen]\nctrl = [\"127.0.0.1:{port}\"]\n"));
        let server = Daemon::start("server", &folder("server"));
        let client = Daemon::start("client", &folder("client"));
        assert_done(&server.join("web", &client.state, &[]));
        server.until_connected("web");
        let proxy = CutProxy::start(([127, 0, 0, 1], port).into());
        Self { scratch, server, client, proxy }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// From now on the server steers "web" over CTRL, through the proxy.
    fn steer_over_ctrl(&self) {
        let port = self.proxy.address().port();
        let set = json!({ "name": "web", "access_mode": "ctrl", "port": port });
        let view = self.server.must("client.set", set);
        assert_eq!((&view["access_mode"], &view["ctrl_port"]), (&json!("ctrl"), &json!(port)));
        self.server.until_connected("web");
        assert!(self.proxy.connections() > 0);
    }

    fn client_view(&self) -> Value {
        let clients = self.server.must("client.list", Value::Null);
        clients.as_array().unwrap().iter().find(|one| one["name"] == "web").unwrap().clone()
    }

    fn warnings(&self) -> String {
        self.server.must("status", Value::Null)["warnings"].to_string()
    }

    fn log(&self, job: &Value) -> String {
        self.server.must("job.log", json!({ "job": job["job"] })).to_string()
    }

    /// A job that runs until the file that is answered is there.
    fn waiting_job(&self) -> (Value, PathBuf) {
        let go = self.folder("go");
        let wait = format!("echo begun; while [ ! -e {} ]; do sleep 0.05; done", go.display());
        let policy = format!("[commands.wait]\nrun = [\"/bin/sh\", \"-c\", {wait:?}]\n");
        std::fs::create_dir_all(self.client.state.join("client")).unwrap();
        std::fs::write(self.client.state.join("client/policy.toml"), policy).unwrap();
        let task = json!({
            "name": "waits", "client": "web", "kind": "stream", "sources": ["/wait"],
            "options": { "stream_command": "wait" }
        });
        let _ = self.server.ask("task.add", task);
        let job = self.server.must("task.run", json!({ "task": "waits" }));
        until("the client works", || self.log(&job).contains("backup of"));
        (job, go)
    }
}

fn settings(state: &Path, text: &str) {
    std::fs::create_dir_all(state).unwrap();
    std::fs::write(state.join("simsim.toml"), text).unwrap();
}

fn holds(bytes: &[u8], marker: &[u8]) -> bool {
    bytes.windows(marker.len()).any(|window| window == marker)
}

/// Where a word can be read. Three letters turn up by chance in a key of a thousand characters of
/// base 64: a word in the middle of such a run is none.
fn readable(bytes: &[u8], word: &[u8]) -> Option<usize> {
    let of_key = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'+' || **byte == b'/';
    (0..bytes.len()).find(|at| {
        let (before, rest) = bytes.split_at(*at);
        let run =
            before.iter().rev().take_while(of_key).count() + rest.iter().take_while(of_key).count();
        rest.starts_with(word) && run < 100
    })
}

#[test]
fn every_job_works_over_ctrl_and_a_capture_holds_no_name_path_ticket_or_key() {
    let world = Steered::new();
    let folder = |name: &str| world.folder(name);
    let tree = tree(world.scratch.path());
    std::fs::write(tree.join("a/name-of-a-file"), "content-of-a-file").unwrap();
    std::fs::set_permissions(tree.join("a/b"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    let server = &world.server;
    server.must("datastore.create", json!({ "name": "name-of-store", "path": folder("store") }));
    world.proxy.record();
    world.steer_over_ctrl();
    let task = json!({
        "name": "name-of-task", "client": "web", "sources": [tree],
        "excludes": ["*.pattern-of-task"]
    });
    server.must("task.add", task);
    let backup = server.backup("name-of-task");
    assert_eq!(backup["state"], "finished", "{backup:#}");
    let target = folder("restored");
    let request =
        json!({ "task": "name-of-task", "client": "web", "target": target, "specials": true });
    let restore = server.ended(&server.must("restore", request));
    assert_eq!(restore["state"], "finished", "{restore:#}");
    assert_eq!(differences(&tree, &target), Vec::<String>::new());

    // A cut in the middle of a job: the server comes back and follows it to its end.
    let (job, go) = world.waiting_job();
    let connections = world.proxy.connections();
    let up = || world.proxy.recorded(Direction::Up);
    world.proxy.cut_now();
    until("the server dials again", || world.proxy.connections() > connections);
    until("the job is followed again", || holds(&up(), b":follow-job"));
    std::fs::write(&go, "").unwrap();
    let ended = server.ended(&job);
    assert_eq!(ended["state"], "finished", "{ended:#}");
    std::fs::remove_file(&go).unwrap();
    // A job that is cancelled over CTRL.
    let (job, _) = world.waiting_job();
    server.must("job.cancel", json!({ "job": job["job"] }));
    let ended = server.ended(&job);
    assert_eq!(ended["state"], "cancelled", "{ended:#}");

    let said = [Direction::Up, Direction::Down].map(|way| world.proxy.recorded(way));
    let hidden = [
        "name-of",
        "content-of",
        "pattern-of",
        "web",
        "restored",
        "a line of text",
        "wait\n",
        "http://",
        "tree",
        "saveset",
        "/a/b",
        "127.0.0.1",
        "ed25519",
    ];
    for marker in hidden {
        for bytes in &said {
            let at = readable(bytes, marker.as_bytes());
            let near = at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(60)..at + 30]));
            assert!(at.is_none(), "'{marker}' is readable: {near:?}");
        }
    }
    let [up, down] = said;
    for visible in ["simsim-ctrl 1 call ", "20:start-backup", "21:start-restore", "10:cancel-job"] {
        assert!(holds(&up, visible.as_bytes()), "'{visible}' is not readable");
    }
    assert!(holds(&down, b":progress"));
    // All that was captured, once more.
    let mut stream = std::net::TcpStream::connect(world.proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    use std::io::{Read, Write};
    let _ = stream.write_all(&up);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!holds(&answer, b"simsim-ctrl 1 welcome"));
}

#[test]
fn the_warnings_stay_for_as_long_as_ctrl_is_enabled_and_every_change_is_in_the_audit_log() {
    let mut world = Steered::new();
    assert!(world.client.process.output().contains("CTRL is enabled"));
    assert!(!world.server.process.output().contains("CTRL is enabled"));
    // Enabled there and not used here.
    let listens = "listens for CTRL, which is not encrypted";
    assert!(world.warnings().contains(listens), "{}", world.warnings());
    assert_eq!(world.client_view()["listens_for_ctrl"], true);
    assert!(world.client_view()["warning"].as_str().unwrap().contains(listens));
    world.steer_over_ctrl();
    let steered = "client 'web' is steered over CTRL, which is not encrypted";
    let warned = |world: &Steered| {
        assert!(world.warnings().contains(steered), "{}", world.warnings());
        let state = world.server.state.to_str().unwrap();
        let output = simsim().args(["client", "list", "--state", state]).output().unwrap();
        assert_done(&output);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("ctrl, not encrypted") && said.contains(steered), "{said}");
    };
    warned(&world);
    // Also when nobody is there, and after the server has started again.
    world.client.stop();
    until("the client is away", || !world.server.is_connected("web"));
    warned(&world);
    world.server.stop();
    world.server.again();
    warned(&world);

    let state = world.server.state.to_str().unwrap().to_owned();
    let set = ["client", "set", "web", "--access-mode", "smssh", "--state", &state];
    assert_done(&simsim().args(set).output().unwrap());
    world.client.again();
    world.server.until_connected("web");
    assert!(!world.warnings().contains(steered));
    let audit = world.server.must("audit.list", json!({})).to_string();
    assert!(audit.contains("client.set") && audit.contains("access mode ctrl"), "{audit}");
    assert!(audit.contains("access mode smssh"), "{audit}");
}

#[test]
fn a_client_is_dialled_in_its_own_mode_and_in_no_other_whatever_fails() {
    let mut world = Steered::new();
    // Its mode is SMSSH: closing that way does not open the other one.
    let smssh = world.client.port;
    world.client.process.kill();
    let only_ctrl = |world: &Steered| -> ChildProcess {
        // As its settings say, but that nobody is listened to over SMSSH.
        let text = std::fs::read_to_string(world.client.state.join("simsim.toml")).unwrap();
        settings(&world.client.state, &format!("{text}smssh = []\n"));
        let mut command: Command = simsim();
        command.arg("--state").arg(&world.client.state).arg("client");
        let process = ChildProcess::start(&mut command);
        process.wait_for_line("is ready", PATIENCE).unwrap();
        process
    };
    let process = only_ctrl(&world);
    assert!(process.output().contains("simsim client set web --access-mode ctrl"));
    let trouble = |world: &Steered| -> String {
        world.client_view()["trouble"].as_str().unwrap_or_default().to_owned()
    };
    let port = smssh.to_string();
    until("the server finds nobody", || trouble(&world).contains(&format!("TCP port {port} ")));
    let said = trouble(&world);
    let server = world.server.own_name();
    let way = format!("'{server}' does not reach 'web' on TCP port {port} (smssh)");
    for part in ["access mode of 'web' is SMSSH", "listen.smssh", &way, "refused"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(world.proxy.connections(), 0, "the server tried the other mode");
    assert!(!world.server.is_connected("web"));
    // An administrator steers it so: it is reached, and obeys.
    world.steer_over_ctrl();
    drop(process);

    // Its mode is CTRL: a host that listens for SMSSH only is not reached.
    until("it is away", || !world.server.is_connected("web"));
    settings(&world.client.state, "");
    world.client.again();
    let port = world.proxy.address().port();
    until("the server finds nobody", || {
        let said = trouble(&world);
        said.contains("access mode of 'web' is CTRL") && said.contains(&format!("port {port}"))
    });
    let said = trouble(&world);
    let way = format!("'{server}' does not reach 'web' on TCP port {port} (ctrl)");
    let plan = world.server.must("ports.plan", Value::Null).to_string();
    assert!(plan.contains("prefer access mode") && plan.contains(&port.to_string()), "{plan}");
    for part in ["listen.ctrl = [\"::\"]", "--access-mode smssh", "127.0.0.1", &way] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!world.server.is_connected("web"));
    // What needs it says so at once, or after its patience, and does not go another way.
    world.server.must("client.set", json!({ "name": "web", "access_mode": "smssh" }));
    world.server.until_connected("web");
}

#[test]
fn over_ctrl_a_revoked_server_is_shut_out_and_a_server_itself_may_be_steered_so() {
    let world = Steered::new();
    world.steer_over_ctrl();
    // The client obeys another server from now on: the session is cut when it looks again.
    let other = Daemon::start("server", &world.folder("other"));
    assert_done(&other.join("web", &world.client.state, &["--replace"]));
    let begun = std::time::Instant::now();
    until("the first server is shut out", || !world.server.is_connected("web"));
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    until("it is told why", || {
        let said = world.client_view()["trouble"].as_str().unwrap_or_default().to_owned();
        said.contains("refused the log-in")
    });

    // A server's own host, with a device, in the same way.
    let state = world.folder("whole");
    let port = free_ports(1)[0];
    settings(&state, &format!("[listen]\nctrl = [\"127.0.0.1:{port}\"]\n"));
    let whole = Daemon::start("server", &state);
    assert!(whole.process.output().contains("CTRL is enabled"));
    let own = whole.own_name();
    let set = json!({ "name": own, "access_mode": "ctrl", "port": port });
    whole.must("client.set", set);
    whole.until_connected(&own);
    whole.must("datastore.create", json!({ "name": "main", "path": world.folder("store") }));
    let tree = tree(world.scratch.path());
    whole.add_task("home", &own, &tree);
    let backup = whole.backup("home");
    assert_eq!(backup["state"], "finished", "{backup:#}");
    // No server without SMSSH: hosts join there.
    settings(&world.folder("deaf"), "[listen]\nsmssh = []\nctrl = [\"127.0.0.1:0\"]\n");
    let mut command = simsim();
    command.arg("--state").arg(world.folder("deaf")).arg("server");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("listen.smssh"), "{output:?}");
}
