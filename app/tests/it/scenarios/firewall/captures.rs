//! What somebody between the hosts sees of backups, looks, restores and checks by HTTP and by FTP, in
//! passive and in active mode: a packet capture of everything that goes through.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use simsim_model::port_registry::{FTP, HTTP};
use simsim_testkit::{ChildProcess, MIDDLE, has_program, skip};
use simsim_transfer::DataPorts;

use super::{FAR, Site, WEB, run};
use crate::hosts::{PATIENCE, until};

/// Nothing of this may be seen: content, names of files and tasks, patterns, where things lie.
const HIDDEN: [&str; 7] = [
    "a-line-that-nobody-may-see",
    "name-of-a-file",
    "name-of-a-folder",
    "name-of-a-link",
    "name-of-a-task",
    "pattern-of-a-task",
    "restored",
];
/// So that the capture is one, and not an empty file.
const CANARY: &str = "a-canary-that-everybody-sees";

/// tcpdump in the middle.
struct Capture {
    /// It ends with this.
    _tcpdump: ChildProcess,
    file: PathBuf,
}

impl Capture {
    fn start(site: &Site) -> Self {
        let file = site.scratch.path().join("capture");
        let mut tcpdump = Command::new("tcpdump");
        tcpdump.args(["-i", "any", "-s", "0", "-U", "-B", "65536", "-Z", "root", "-w"]).arg(&file);
        tcpdump.arg("tcp");
        let tcpdump = ChildProcess::start(&mut site.network.on(MIDDLE, &tcpdump));
        tcpdump.wait_for_line("listening on", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        Self { _tcpdump: tcpdump, file }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.file).unwrap_or_default()
    }

    /// Packets with data to or from some ports.
    fn packets(&self, ports: &str) -> usize {
        let mut read = Command::new("tcpdump");
        read.args(["-nn", "-r"]).arg(&self.file);
        read.arg(format!("tcp portrange {ports} and greater 200"));
        let output = run(&mut read);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).lines().count()
    }
}

fn holds(bytes: &[u8], what: &str) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what.as_bytes())
}

#[test]
fn a_capture_between_the_hosts_holds_no_content_no_name_and_no_path() {
    for program in ["tcpdump", "curl"] {
        if !has_program(program) {
            return skip(&format!("no {program}"));
        }
    }
    let settings = "[listen]\nhttp = [\"::\"]\nftp = [\"::\"]\n";
    let site = match Site::with_settings(settings) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let folder = site.source.join("name-of-a-folder");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!("{}\n", HIDDEN[0]).repeat(40_000);
    std::fs::write(folder.join("name-of-a-file"), text).unwrap();
    std::os::unix::fs::symlink("name-of-a-file", folder.join("name-of-a-link")).unwrap();
    let task = json!({
        "name": "name-of-a-task", "client": WEB, "sources": [site.source], "datastore": "main",
        "excludes": ["*.pattern-of-a-task"]
    });
    site.server.must("task.add", task);
    let capture = Capture::start(&site);

    let far = site.address(FAR);
    let (first, last) = DataPorts::default().range();
    let (http, ftp) = (HTTP.ports.first(), FTP.ports.first());
    let (http, ftp) = (format!("{http}-{http}"), format!("{ftp}-{ftp}"));
    let data = format!("{first}-{last}");
    for (url, ports) in [
        (format!("http://{far}"), vec![&http]),
        (format!("ftp://{far}"), vec![&ftp, &data]),
        (format!("ftp://{far}?mode=active"), vec![&ftp, &data]),
    ] {
        site.server.must("interface.set", json!({ "host": FAR, "interfaces": [url] }));
        site.apply();
        let before: Vec<usize> = ports.iter().map(|ports| capture.packets(ports)).collect();
        site.works();
        let backup = site.server.backup("name-of-a-task");
        assert_eq!(backup["state"], "finished", "{backup:#}");
        for (ports, before) in ports.iter().zip(before) {
            until("packets arrive in the capture", || capture.packets(ports) > before + 5);
        }
    }
    // In the clear, by the same way.
    let port = FTP.ports.first();
    let mut curl = Command::new("curl");
    curl.args([
        "-s",
        "--max-time",
        "10",
        "-u",
        &format!("{CANARY}:x"),
        &format!("ftp://{far}:{port}/"),
    ]);
    run(&mut site.network.on(WEB, &curl));
    until("the canary is in the capture", || holds(&capture.bytes(), CANARY).is_some());

    let bytes = capture.bytes();
    assert!(bytes.len() > 3 << 20, "{} bytes", bytes.len());
    for hidden in HIDDEN {
        let at = holds(&bytes, hidden);
        let near = at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(80)..at + 40]));
        assert!(at.is_none(), "'{hidden}' is seen: {near:?}");
    }
    let scratch = site.scratch.path().to_string_lossy().into_owned();
    assert_eq!(holds(&bytes, &scratch), None, "paths are seen");
}
