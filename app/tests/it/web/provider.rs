//! A real provider of OpenID Connect, which other people wrote: Canaille, with a database, users and groups of its own, over
//! TLS by an authority that only the test knows.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use simsim_testkit::ChildProcess;

use super::browser::Browser;
use crate::console::{Port, python_tool};
use crate::hosts::simsim;

pub const THERE: &str = "correct horse battery";
const SECRET: &str = "what-only-the-two-know";

pub struct Provider {
    folder: PathBuf,
    tool: PathBuf,
    port: u16,
    _process: ChildProcess,
}

impl Provider {
    /// `None` where it is not installed: said and skipped.
    pub fn start(scratch: &Path) -> Option<Self> {
        let Some(tool) = python_tool("canaille") else {
            simsim_testkit::skip("there is no canaille (PyPI), a provider of OpenID Connect");
            return None;
        };
        let folder = scratch.join("provider");
        std::fs::create_dir_all(&folder).unwrap();
        certificates(&folder)?;
        let port = simsim_testkit::free_ports(1)[0];
        let made = Command::new(&tool).args(["jwk", "create", "rsa"]).output().unwrap();
        let key: Value = serde_json::from_slice(&made.stdout).unwrap();
        let key = key.as_object().unwrap().iter();
        let key: Vec<String> = key.map(|(name, value)| format!("{name} = {value}")).collect();
        let settings = format!(
            "SECRET_KEY = \"of a test\"\nSERVER_NAME = \"localhost:{port}\"\nPREFERRED_URL_SCHEME = \"https\"\n\
             [CANAILLE]\nDATABASE = \"sql\"\nJAVASCRIPT = false\n[CANAILLE_SQL]\nDATABASE_URI = \"sqlite:///{}/users.db\"\n\
             [CANAILLE_OIDC]\nACTIVE_JWKS = [{{ {} }}]\n",
            folder.display(),
            key.join(", ")
        );
        std::fs::write(folder.join("canaille.toml"), settings).unwrap();
        let told = |arguments: &[&str]| tell(&tool, &folder, arguments);
        told(&["install"]);
        let mut command = Command::new(&tool);
        command.args(["run", "--bind", &format!("localhost:{port}"), "--certfile"]);
        command.arg(folder.join("tls.crt")).arg("--keyfile").arg(folder.join("tls.key"));
        command.env("CANAILLE_CONFIG", folder.join("canaille.toml")).current_dir(&folder);
        let process = ChildProcess::start(&mut command);
        process.wait_for_line("Running on", Duration::from_secs(90)).unwrap();
        Some(Self { folder, tool, port, _process: process })
    }

    pub fn issuer(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    fn tell(&self, arguments: &[&str]) {
        tell(&self.tool, &self.folder, arguments);
    }

    pub fn user(&self, name: &str) {
        self.tell(&[
            "create",
            "user",
            "--user-name",
            name,
            "--family-name",
            name,
            "--given-name",
            name,
            "--emails",
            &format!("{name}@corp.test"),
            "--password",
            THERE,
        ]);
    }

    pub fn group(&self, name: &str, member: &str) {
        self.tell(&["create", "group", "--display-name", name, "--members", member]);
    }

    pub fn no_group(&self, name: &str) {
        self.tell(&["delete", "group", "--noconfirm", "--display-name", name]);
    }

    /// Both know each other: the suite is registered there, and it here. `more`: further words of the command line.
    pub fn joined(&self, port: &Port, name: &str, more: &[&str]) {
        self.registered(port, name);
        let secret = port.file("client-secret", &format!("{SECRET}\n"));
        let done = by_hand(port)
            .args(["identity-provider", "add", name, "--client-id", name])
            .args(["--issuer", &self.issuer(), "--name-claim", "sub", "--scopes", "profile,groups"])
            .arg("--authority")
            .arg(self.authority())
            .arg("--secret-file")
            .arg(secret)
            .args(more)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.contains(&port.url(&format!("/sign-in/{name}/back"))), "{said}");
        port.server.must("identity-provider.test", json!({ "name": name }));
    }

    pub fn registered(&self, port: &Port, name: &str) {
        self.tell(&[
            "create",
            "client",
            "--client-id",
            name,
            "--client-secret",
            SECRET,
            "--client-name",
            "simsim",
            "--redirect-uris",
            &port.url(&format!("/sign-in/{name}/back")),
            "--scope",
            "openid",
            "--scope",
            "profile",
            "--scope",
            "groups",
            "--grant-types",
            "authorization_code",
            "--response-types",
            "code",
            "--token-endpoint-auth-method",
            "client_secret_basic",
            "--id-token-signed-response-alg",
            "RS256",
        ]);
        // Else its ID tokens are for nobody.
        self.tell(&["set", "client", name, "--audience", name]);
    }

    /// Two tokens of one second for one person are the same there, which it does not take.
    pub fn a_second_later() {
        std::thread::sleep(Duration::from_millis(1200));
    }

    /// A person proves there who that is.
    pub fn proves(&self, browser: &Browser, user: &str) {
        browser.until_at(&self.issuer());
        browser.fill("#login", user);
        browser.click("button.primary[type=submit]");
        browser.fill("#password", THERE);
        browser.click("button.primary[type=submit]");
    }

    /// And answers there whether we may know.
    pub fn agrees(&self, browser: &Browser, agrees: bool) {
        browser.click(if agrees { "#accept" } else { "#deny" });
    }
}

/// The command line on the server's host.
pub fn by_hand(port: &Port) -> Command {
    let mut command = simsim();
    command.arg("--state").arg(&port.server.state);
    command
}

fn tell(tool: &Path, folder: &Path, arguments: &[&str]) {
    let done = Command::new(tool)
        .args(arguments)
        .env("CANAILLE_CONFIG", folder.join("canaille.toml"))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&done.stderr));
}

/// An authority, and a certificate by it for `localhost`.
fn certificates(folder: &Path) -> Option<()> {
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).current_dir(folder).output();
        done.is_ok_and(|done| done.status.success())
    };
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let own = ["-days", "9", "-subj", "/CN=a corp", "-addext", "basicConstraints=critical,CA:TRUE"];
    let first =
        [&["req", "-x509"][..], &ec, &own, &["-keyout", "ca.key", "-out", "ca.crt"]].concat();
    let ask = ["-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "tls.csr"];
    let second = [&["req"][..], &ec, &ask].concat();
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    let third = [
        "x509",
        "-req",
        "-in",
        "tls.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "9",
        "-extfile",
        "names",
        "-out",
        "tls.crt",
    ];
    if !(openssl(&first) && openssl(&second) && openssl(&third)) {
        simsim_testkit::skip("there is no openssl to make a certificate");
        return None;
    }
    Some(())
}
