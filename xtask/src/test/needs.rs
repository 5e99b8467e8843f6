//! What the tests need from outside, and how to get it.
//!
//! Missing parts are installed where that is possible (root, apt); elsewhere they are named, and
//! the tests that need them skip themselves.

use std::process::{Command, Stdio};

use crate::step;

struct Need {
    program: &'static str,
    package: &'static str,
    used_for: &'static str,
}

const NEEDS: [Need; 22] = [
    Need {
        program: "ssh",
        package: "openssh-client",
        used_for: "holding the control listener against OpenSSH",
    },
    Need {
        program: "ssh-audit",
        package: "ssh-audit",
        used_for: "an auditor's view of the control listener",
    },
    Need {
        program: "curl",
        package: "curl",
        used_for: "holding the data and console listeners against a stranger's client",
    },
    Need { program: "lftp", package: "lftp", used_for: "a stranger's client of FTP with TLS" },
    Need {
        program: "openssl",
        package: "openssl",
        used_for: "a stranger's client that is told every word",
    },
    Need {
        program: "python3",
        package: "python3",
        used_for: "a stranger's client that ends a stream short",
    },
    Need {
        program: "psql",
        package: "postgresql",
        used_for: "a catalog on PostgreSQL, and a database that is dumped into the suite and restored",
    },
    Need { program: "setfacl", package: "acl", used_for: "ACLs in the fixture tree" },
    Need { program: "setfattr", package: "attr", used_for: "extended attributes by a second tool" },
    Need { program: "mkfs.ext4", package: "e2fsprogs", used_for: "file systems in a loop image" },
    Need {
        program: "mkfs.vfat",
        package: "dosfstools",
        used_for: "a restore to a file system that folds names together",
    },
    Need { program: "ip", package: "iproute2", used_for: "hosts in network namespaces" },
    Need { program: "nft", package: "nftables", used_for: "firewalls with default drop" },
    Need {
        program: "iptables-restore",
        package: "iptables",
        used_for: "reading port plans in the form of iptables",
    },
    Need {
        program: "chromium",
        package: "chromium",
        used_for: "the pages of the console, in a real browser",
    },
    Need { program: "chromedriver", package: "chromium-driver", used_for: "steering that browser" },
    Need { program: "ufw", package: "ufw", used_for: "reading port plans in the form of ufw" },
    Need {
        program: "systemd-analyze",
        package: "systemd",
        used_for: "how exposed the services of the suite are",
    },
    Need {
        program: "tcpdump",
        package: "tcpdump",
        used_for: "what somebody between the hosts sees",
    },
    Need {
        program: "strace",
        package: "strace",
        used_for: "the order in which a real process flushes what it keeps",
    },
    Need {
        program: "promtool",
        package: "prometheus",
        used_for: "holding the metrics against a collector's own checks",
    },
    Need {
        program: "setpriv",
        package: "util-linux",
        used_for: "a client with the rights of its service",
    },
];

/// Readers of the OpenAPI document, a mail server and a provider of OpenID Connect, from PyPI, in a folder of their own
/// below `target`: programs, and their packages.
const PYTHON_TOOLS: [(&str, &str); 4] = [
    ("schemathesis", "schemathesis"),
    ("openapi-spec-validator", "openapi-spec-validator"),
    ("aiosmtpd", "aiosmtpd"),
    ("canaille", "canaille[front,oidc,server,sqlite]"),
];
/// A script that looks at pages as a screen reader would, from PyPI too: its package, its folder there.
const AXE: (&str, &str) = ("axe-core-python", "axe_core_python");
/// A library of Python that a test imports, and its name there: a reader of OpenMetrics.
const PYTHON_LIBRARY: (&str, &str) = ("prometheus-client", "prometheus_client");
const PYTHON_FOLDER: &str = "target/python-tools";
/// Somebody who cannot be reached holds up the tests no longer.
const PYTHON_SECONDS: &str = "400";

/// Installs what is missing. Never fails: a test that lacks its part says so itself.
pub fn bring() {
    bring_programs();
    bring_python_tools();
}

fn bring_python_tools() {
    let folder = crate::workspace::root().join(PYTHON_FOLDER);
    let is_there =
        |(name, _): &(&str, &str)| folder.join("bin").join(name).exists() || step::on_path(name);
    let has_axe = || {
        let pythons = std::fs::read_dir(folder.join("lib")).into_iter().flatten().flatten();
        let mut places = pythons.map(|one| one.path().join("site-packages").join(AXE.1));
        places.any(|place| place.exists())
    };
    let has_library = || {
        let import = format!("import {}", PYTHON_LIBRARY.1);
        quiet(Command::new(folder.join("bin/python3")).args(["-c", &import]))
    };
    if PYTHON_TOOLS.iter().all(is_there) && has_axe() && has_library() {
        return;
    }
    if step::on_path("python3") {
        println!(
            "== installing what the tests need, from PyPI: {}",
            PYTHON_TOOLS.map(|(name, _)| name).join(" ")
        );
        let make = || quiet(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        // Debian has that part of Python in a package of its own.
        let may_install = rustix::process::geteuid().is_root() && step::on_path("apt-get");
        let made = make() || may_install && install(&["python3-venv"]) && make();
        let pip = folder.join("bin/pip");
        if made && pip.exists() {
            let mut install = Command::new("timeout");
            install
                .arg(PYTHON_SECONDS)
                .arg(pip)
                .args(["install", "--quiet", AXE.0, PYTHON_LIBRARY.0])
                .args(PYTHON_TOOLS.map(|(_, package)| package));
            quiet(&mut install);
        }
    }
    if !has_axe() {
        println!(
            "missing: {} (from PyPI): pages are not held against rules for all readers",
            AXE.0
        );
    }
    for (name, _) in PYTHON_TOOLS.iter().filter(|tool| !is_there(tool)) {
        println!(
            "missing: {name} (from PyPI), used for holding the console's OpenAPI document, mail and \
             sign-in against programs of others; the tests that need it will skip themselves"
        );
    }
}

fn quiet(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn bring_programs() {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !step::on_path(need.program)).collect();
    if missing.is_empty() {
        return;
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if rustix::process::geteuid().is_root() && step::on_path("apt-get") {
        println!("== installing what the tests need: {}", packages.join(" "));
        // Package lists may be absent or old on a fresh machine: then fetch them and try again.
        if !install(&packages) && apt(&["update", "-qq"]) {
            install(&packages);
        }
    }
    for need in missing.iter().filter(|need| !step::on_path(need.program)) {
        println!(
            "missing: {} (package {}), used for {}; the tests that need it will skip themselves",
            need.program, need.package, need.used_for,
        );
    }
}

fn install(packages: &[&str]) -> bool {
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> bool {
    Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
