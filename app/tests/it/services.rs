//! The systemd units: that they are well written, how exposed they leave a host, and that what
//! they leave is enough.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;
use simsim_testkit::{ChildProcess, has_program, is_root, skip};

use crate::hosts::{Daemon, PATIENCE, assert_done, differences};

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

fn text(unit: &str) -> String {
    std::fs::read_to_string(units().join(unit)).unwrap()
}

/// "Overall exposure level" of a unit with this text.
fn exposure(name: &str, text: &str) -> f64 {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join(name);
    std::fs::write(&file, text).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = said.lines().find_map(|line| {
        line.split_once("exposure level")?.1.split_once(": ")?.1.split(' ').next()?.parse().ok()
    });
    figure.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn services_leave_a_host_no_more_exposed_than_promised() {
    if !has_program("systemd-analyze") {
        return skip("systemd-analyze is not installed");
    }
    for (unit, most) in [
        ("simsim-server.service", 1.5),
        ("simsim-rds.service", 1.5),
        ("simsim-client.service", 3.0),
    ] {
        let found = exposure(unit, &text(unit));
        assert!(found <= most, "{unit}: {found}");
    }
    // With the drop-in a server is what a client is.
    let whole = text("simsim-server.service").replace("[Install]\nWantedBy=multi-user.target", "");
    let found = exposure("simsim-server.service", &(whole + &text("whole-host.conf")));
    assert!(found <= 3.0, "whole-host.conf: {found}");
}

#[test]
fn services_are_well_written() {
    if !has_program("systemd-analyze") {
        return skip("systemd-analyze is not installed");
    }
    let scratch = tempfile::tempdir().unwrap();
    for role in ["server", "rds", "client"] {
        let unit = format!("simsim-{role}.service");
        let text = text(&unit);
        let line = format!("ExecStart=/usr/bin/simsim --state /var/lib/simsim {role}\n");
        assert!(text.contains(&line), "{unit}");
        let file = scratch.path().join(&unit);
        let here = format!("ExecStart={} --state", env!("CARGO_BIN_EXE_simsim"));
        std::fs::write(&file, text.replace("ExecStart=/usr/bin/simsim --state", &here)).unwrap();
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains(&unit), "{said}");
    }
}

/// Files that only root may read, and that only root may make.
fn roots_tree(root: &Path) -> PathBuf {
    let tree = root.join("tree");
    std::fs::create_dir_all(tree.join("closed")).unwrap();
    std::fs::write(tree.join("closed/secret"), "for root only").unwrap();
    std::fs::write(tree.join("setuid"), "#!/bin/sh\n").unwrap();
    std::fs::write(tree.join("foreign"), "of somebody else").unwrap();
    chown(tree.join("foreign"), Some(1), Some(2)).unwrap();
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(tree.join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("setuid", 0o4755);
    mode("foreign", 0o000);
    mode("closed/secret", 0o400);
    mode("closed", 0o700);
    mknodat(CWD, tree.join("null"), FileType::CharacterDevice, Mode::RUSR, makedev(1, 3)).unwrap();
    tree
}

#[test]
fn the_rights_of_the_client_service_are_enough_to_read_and_write_back_every_file() {
    if !is_root() || !has_program("setpriv") {
        return skip("needs root and setpriv");
    }
    let scratch = tempfile::tempdir().unwrap();
    let open = PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(scratch.path(), open).unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let tree = roots_tree(scratch.path());
    let server = Daemon::start("server", &folder("server"));
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));

    let unit = text("simsim-client.service");
    let granted = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).unwrap();
    let bounds = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    assert_eq!(Some(granted), bounds);
    let rights: String = granted
        .split(' ')
        .map(|right| format!(",+{}", right.strip_prefix("CAP_").unwrap().to_lowercase()))
        .collect();
    let rights = format!("-all{rights}");
    let (state, binary) = (folder("client"), folder("simsim"));
    std::fs::copy(env!("CARGO_BIN_EXE_simsim"), &binary).unwrap();
    std::fs::create_dir(&state).unwrap();
    chown(&state, Some(65534), Some(65534)).unwrap();
    let as_service = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
        for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
            command.arg(format!("{set}={rights}"));
        }
        command.arg(&binary).arg("--state").arg(&state).args(arguments);
        command
    };
    let client = ChildProcess::start(&mut as_service(&["client", "--listen", "127.0.0.1:0"]));
    client.wait_for_line("is ready", PATIENCE).unwrap();
    // Root joins for the service: what it writes is the service's.
    assert_done(&server.join("web", &state, &[]));
    for file in ["identity", "enrolment.json"] {
        assert_eq!(std::fs::metadata(state.join(file)).unwrap().uid(), 65534, "{file}");
    }
    server.until_connected("web");
    let refused = crate::hosts::simsim().arg("--state").arg(&state).arg("client").output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");

    server.add_task("all", "web", &tree);
    let backup = server.backup("all");
    assert_eq!(backup["state"], "finished", "{backup:#}");
    let target = folder("restored");
    let request = json!({ "task": "all", "target": target, "specials": true, "owners": true });
    let restore = server.ended(&server.must("restore", request));
    assert_eq!(restore["state"], "finished", "{restore:#}");
    assert_eq!(differences(&tree, &target), Vec::<String>::new());
}
