//! OpenSSH's own client at the listener: it connects, and finds one subsystem and nothing else.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use simsim_control::{Identity, JOIN_USER, PublicKey, SERVER_USER, Timing, smssh};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::stage::{Mode, Node, QUICK};

/// What `ssh` needs: a key file, and the node's host key in a file of known hosts.
struct Home {
    directory: TempDir,
    node: Node,
}

/// `None`, and one line that says so, on a machine without OpenSSH's client.
async fn home() -> Option<Home> {
    if std::process::Command::new("ssh").arg("-V").stderr(Stdio::null()).status().is_err() {
        eprintln!("skipped: this machine has no 'ssh'");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    // OpenSSH may start slowly on a busy machine.
    let timing = Timing { handshake: Duration::from_secs(10), ..QUICK };
    let node = Node::with_timing(Mode::Smssh, timing).await;
    let identity = Identity::load_or_create(&directory.path().join("key")).unwrap();
    *node.policy.server.lock().unwrap() = Some(identity.public());
    let known = format!("[127.0.0.1]:{} {}\n", node.address.port(), node.identity.public());
    std::fs::write(directory.path().join("known"), known).unwrap();
    Some(Home { directory, node })
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `ssh` to the node with `more` options, and the words after the host.
    fn ssh(&self, user: &str, key: &Path, more: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.path("known").display()))
            .args(["-o", "GlobalKnownHostsFile=none", "-i"])
            .arg(key)
            .args(["-p", &self.node.address.port().to_string(), "-l", user])
            .args(more)
            .arg("127.0.0.1")
            .args(words)
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, user: &str, more: &[&str], words: &[&str]) -> (Option<i32>, String) {
        output(self.ssh(user, &self.path("key"), more, words)).await
    }
}

async fn output(mut command: Command) -> (Option<i32>, String) {
    let output = tokio::time::timeout(Duration::from_secs(30), command.output());
    let Output { status, stdout, stderr } = output.await.unwrap().unwrap();
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[tokio::test]
async fn a_person_reads_one_polite_sentence() {
    let Some(home) = home().await else { return };
    for (more, words) in [
        (&[][..], &[][..]),
        (&["-tt"], &[]),
        (&[], &["id"]),
        (&["-A", "-X", "-o", "SendEnv=LANG"], &["sh", "-c", "id"]),
    ] {
        let (status, text) = home.run(SERVER_USER, more, words).await;
        assert_eq!(status, Some(1), "{more:?} {words:?}: {text}");
        assert!(text.contains(smssh::NO_SHELL), "{more:?} {words:?}: {text}");
        assert_eq!(text.matches("simsim:").count(), 1, "{more:?} {words:?}: {text}");
    }
}

#[tokio::test]
async fn only_the_enrolled_ed25519_key_comes_in() {
    let Some(home) = home().await else { return };
    let denied = |(status, text): (Option<i32>, String)| {
        assert_eq!(status, Some(255), "{text}");
        assert!(text.contains("Permission denied (publickey)"), "{text}");
    };
    let passwords = ["-o", "PubkeyAuthentication=no"];
    denied(home.run(SERVER_USER, &passwords, &["id"]).await);
    let passwords = ["-o", "PreferredAuthentications=password,keyboard-interactive,hostbased,none"];
    denied(home.run(SERVER_USER, &passwords, &["id"]).await);
    denied(home.run("root", &[], &["id"]).await);
    denied(home.run(JOIN_USER, &[], &["id"]).await);
    Identity::load_or_create(&home.path("other")).unwrap();
    denied(output(home.ssh(SERVER_USER, &home.path("other"), &[], &["id"])).await);
    for kind in ["rsa", "ecdsa"] {
        let key = home.path(kind);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-t", kind, "-f"])
            .arg(&key)
            .status()
            .await;
        assert!(made.unwrap().success());
        denied(output(home.ssh(SERVER_USER, &key, &[], &["id"])).await);
    }
}

#[tokio::test]
async fn another_host_key_is_noticed_by_openssh_too() {
    let Some(home) = home().await else { return };
    let other = Identity::generate().public();
    let known = format!("[127.0.0.1]:{} {other}\n", home.node.address.port());
    std::fs::write(home.path("known"), known).unwrap();
    let (status, text) = home.run(SERVER_USER, &[], &["id"]).await;
    assert_eq!(status, Some(255));
    assert!(text.contains(&home.node.identity.fingerprint()), "{text}");
    assert!(text.contains("Host key verification failed"), "{text}");
}

#[tokio::test]
async fn forwards_and_other_subsystems_are_refused() {
    let Some(home) = home().await else { return };
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target_address = target.local_addr().unwrap().to_string();
    let (status, text) = home.run(SERVER_USER, &["-W", &target_address], &[]).await;
    assert_eq!(status, Some(255), "{text}");
    assert!(text.contains("open failed") || text.contains("forwarding failed"), "{text}");
    let accepted = tokio::time::timeout(Duration::from_millis(100), target.accept()).await;
    assert!(accepted.is_err(), "nothing was dialled for a stranger");

    let remote = format!("127.0.0.1:0:{target_address}");
    let more = ["-N", "-o", "ExitOnForwardFailure=yes", "-R", &remote];
    let (status, text) = home.run(SERVER_USER, &more, &[]).await;
    assert_eq!(status, Some(255), "{text}");
    assert!(text.contains("remote port forwarding failed"), "{text}");

    for subsystem in ["sftp", "netconf"] {
        let (status, text) = home.run(SERVER_USER, &["-s"], &[subsystem]).await;
        assert!(status.is_some_and(|status| status != 0), "{subsystem}: {text}");
        assert!(!text.contains(smssh::NO_SHELL), "{subsystem}: {text}");
    }
}

/// Not to a socket of this host either (direct-streamlocal), and none is opened here.
#[tokio::test]
async fn sockets_of_the_host_are_reached_by_nobody() {
    let Some(home) = home().await else { return };
    let (near, far) = (home.path("near.sock"), home.path("far.sock"));
    let target = tokio::net::UnixListener::bind(&far).unwrap();
    let forward = format!("{}:{}", near.display(), far.display());
    let more = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", &forward];
    let mut command = home.ssh(SERVER_USER, &home.path("key"), &more, &[]);
    let mut child = command.spawn().unwrap();
    // OpenSSH listens here; each connection asks the node for the way on.
    let mut asked = connected(&near).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), asked.read_to_end(&mut rest)).await;
    ended.expect("it is refused").ok();
    assert!(rest.is_empty(), "{rest:?}");
    let accepted = tokio::time::timeout(Duration::from_millis(100), target.accept()).await;
    assert!(accepted.is_err(), "a socket of the host was dialled");
    child.start_kill().unwrap();
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
    let text = String::from_utf8_lossy(&output.unwrap().unwrap().stderr).into_owned();
    assert!(text.contains("open failed"), "{text}");

    let remote = format!("{}:{}", home.path("there.sock").display(), far.display());
    let more = ["-N", "-o", "ExitOnForwardFailure=yes", "-R", &remote];
    let (status, text) = home.run(SERVER_USER, &more, &[]).await;
    assert_eq!(status, Some(255), "{text}");
    assert!(text.contains("remote port forwarding failed"), "{text}");
    assert!(!home.path("there.sock").exists());
}

/// A connection to a socket that is there soon.
async fn connected(socket: &Path) -> tokio::net::UnixStream {
    let waiting = async {
        loop {
            if let Ok(stream) = tokio::net::UnixStream::connect(socket).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("nobody listens")
}

/// One session channel in the life of a connection: a second one on the same connection (OpenSSH's
/// master does that for others) is refused, and the first goes on.
#[tokio::test]
async fn a_second_session_on_one_connection_is_refused() {
    let Some(home) = home().await else { return };
    let control = home.path("master.sock");
    let path = format!("ControlPath={}", control.display());
    let key = home.path("key");
    let more = ["-o", "ControlMaster=yes", "-o", &path, "-s"];
    let mut master = home.ssh(SERVER_USER, &key, &more, &[smssh::SUBSYSTEM]);
    let mut master = master.stdin(Stdio::piped()).spawn().unwrap();
    drop(connected(&control).await);
    // What the master says first comes once its own session is there.
    let from = master.stdout.as_mut().unwrap();
    let mut to = master.stdin.take().unwrap();
    to.write_all(&HELLO).await.unwrap();
    to.flush().await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(20), from.read_u32()).await;
    heard.unwrap().unwrap();
    // Where it is refused OpenSSH would make a connection of its own: it gets no way.
    let more = ["-o", &path, "-o", "ProxyCommand=false", "-s"];
    let (status, text) = home.run(SERVER_USER, &more, &[smssh::SUBSYSTEM]).await;
    assert_eq!(status, Some(255), "{text}");
    assert!(text.contains("session request failed"), "{text}");
    let there = tokio::time::timeout(Duration::from_millis(100), master.wait()).await;
    assert!(there.is_err(), "the first session ended");
}

/// A hello of protocol 1.0 by hand: {0: 0, 1: 0, 3: h'{0: {0: 1, 1: 0}}'}, 15 bytes. The body has seven
/// bytes; the eighth is behind the map and belongs to nobody.
const HELLO: [u8; 19] = [
    0, 0, 0, 15, 0xa3, 0x00, 0x00, 0x01, 0x00, 0x03, 0x48, 0xa1, 0x00, 0xa2, 0x00, 0x01, 0x01,
    0x00, 0x00,
];

#[tokio::test]
async fn the_subsystem_is_reached_through_openssh() {
    let Some(home) = home().await else { return };
    let mut command = home.ssh(SERVER_USER, &home.path("key"), &["-s"], &[smssh::SUBSYSTEM]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    to.write_all(&HELLO).await.unwrap();
    to.flush().await.unwrap();
    let said = tokio::time::timeout(Duration::from_secs(20), async {
        let length = from.read_u32().await.unwrap();
        let mut frame = vec![0; length as usize];
        from.read_exact(&mut frame).await.unwrap();
        frame
    });
    let said = said.await.unwrap();
    assert!(said.windows(4).any(|window| window == b"node"), "{said:?}");
    // The end of what we say is the end of the session, and of the connection.
    drop(to);
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
    status.unwrap().unwrap();
}

#[tokio::test]
async fn openssh_reads_identity_files_and_shows_the_same_fingerprint() {
    let Some(home) = home().await else { return };
    let identity = Identity::load(&home.path("key")).unwrap();
    let shown = Command::new("ssh-keygen").arg("-lf").arg(home.path("key")).output().await;
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    assert!(shown.contains(&identity.fingerprint()), "{shown}");
    let public = Command::new("ssh-keygen").arg("-yf").arg(home.path("key")).output().await;
    let public = String::from_utf8(public.unwrap().stdout).unwrap();
    assert_eq!(public.parse::<PublicKey>(), Ok(identity.public()), "{public}");
}

/// What an auditor of SSH servers says: nothing fails, and what it warns of is either newer than it
/// knows, or the key exchange for peers that know no newer one.
#[tokio::test]
async fn an_auditor_of_ssh_servers_finds_nothing_that_fails() {
    let Some(home) = home().await else { return };
    let port = home.node.address.port().to_string();
    let mut audit = Command::new("ssh-audit");
    audit.args(["-n", "-b", "-l", "warn", "-t", "30", "-p", &port, "127.0.0.1"]);
    let Ok(output) = audit.output().await else {
        eprintln!("skipped: this machine has no 'ssh-audit'");
        return;
    };
    let said = String::from_utf8(output.stdout).unwrap();
    // 0: nothing at all, 2: warnings; 1 is an error, 3 a failure.
    assert!(matches!(output.status.code(), Some(0 | 2)), "{:?}: {said}", output.status);
    let harmless = |line: &str| {
        line.contains("unknown algorithm")
            || line.contains("curve25519-sha256") && line.contains("post-quantum")
            || line.contains("connection throttling")
    };
    let found: Vec<&str> = said
        .lines()
        .filter(|line| (line.contains("[warn]") || line.contains("[fail]")) && !harmless(line))
        .collect();
    assert_eq!(found, [""; 0], "{said}");
}
