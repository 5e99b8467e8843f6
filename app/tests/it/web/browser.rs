//! A real Chromium, by the W3C WebDriver protocol: as much of it as the tests need. (The client crate
//! for it stands on one whose licence the suite does not take.)

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simsim_testkit::ChildProcess;

/// Loaded machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// The key under which an element stands in answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser window, of its own profile.
pub struct Browser {
    port: u16,
    session: String,
    _driver: ChildProcess,
    _profile: tempfile::TempDir,
    /// Where its pages are.
    pub base: String,
}

impl Browser {
    /// Whether there is one here; else the test is skipped.
    pub fn is_there() -> bool {
        let there =
            ["chromedriver", "chromium"].iter().all(|name| simsim_testkit::has_program(name));
        if !there {
            simsim_testkit::skip("chromium and chromedriver are not installed");
        }
        there
    }

    /// A window of 1,280 by 900 that opens nothing yet.
    pub fn start(base: &str) -> Self {
        Self::start_as(base, &[])
    }

    pub fn start_as(base: &str, more: &[&str]) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("HOME", profile.path());
        let driver = ChildProcess::start(&mut command);
        let line = driver.wait_for_line("started successfully on port", PATIENCE).unwrap();
        let port = line.rsplit("port ").next().unwrap().trim_end_matches('.').parse().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().join("profile").display());
        let mut arguments = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            folder.as_str(),
        ];
        arguments.extend(more);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "unhandledPromptBehavior": "accept",
            "goog:chromeOptions": { "args": arguments },
        } } });
        let mut browser = Self {
            port,
            session: String::new(),
            _driver: driver,
            _profile: profile,
            base: base.to_owned(),
        };
        let begun = browser.call("POST", "", &wanted);
        browser.session = begun["sessionId"].as_str().unwrap().to_owned();
        browser.view(1280, 900);
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        match self.try_call(method, path, body) {
            Ok(value) => value,
            Err(error) => panic!("{method} {path} {body}: {error}"),
        }
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let text = if method == "POST" { body.to_string() } else { String::new() };
        let whole = match self.session.as_str() {
            "" => "/session".to_owned(),
            session => format!("/session/{session}{path}"),
        };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {whole} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
            self.port,
            text.len()
        );
        stream.write_all(head.as_bytes()).map_err(|error| error.to_string())?;
        let body = answer_of(&mut stream).map_err(|error| error.to_string())?;
        let mut value: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let value = value["value"].take();
        match value["error"].as_str() {
            Some(error) => {
                Err(format!("{error}: {}", value["message"].as_str().unwrap_or_default()))
            }
            None => Ok(value),
        }
    }

    /// The size of what is seen of pages.
    pub fn view(&self, width: u32, height: u32) {
        let asked = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        } });
        self.call("POST", "/goog/cdp/execute", &asked);
    }

    /// What pages are told of the system's theme.
    pub fn theme(&self, theme: &str) {
        let asked = json!({ "cmd": "Emulation.setEmulatedMedia", "params": {
            "features": [{ "name": "prefers-color-scheme", "value": theme }],
        } });
        self.call("POST", "/goog/cdp/execute", &asked);
    }

    pub fn go(&self, path: &str) {
        let url = if path.starts_with("https:") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        self.call("POST", "/url", &json!({ "url": url }));
    }

    /// The path and what follows the `?` of the page that is shown.
    pub fn place(&self) -> String {
        let url = self.call("GET", "/url", &Value::Null);
        let url = url.as_str().unwrap().to_owned();
        url.strip_prefix(&self.base).map_or(url.clone(), str::to_owned)
    }

    /// Runs a script; its answer.
    pub fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs a script that answers by its last argument.
    pub fn run_async(&self, script: &str) -> Value {
        self.call("POST", "/execute/async", &json!({ "script": script, "args": [] }))
    }

    fn element(&self, css: &str) -> Option<String> {
        let found =
            self.try_call("POST", "/element", &json!({ "using": "css selector", "value": css }));
        found.ok()?[ELEMENT].as_str().map(str::to_owned)
    }

    #[track_caller]
    fn must_find(&self, css: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.element(css) {
                return found;
            }
            if begun.elapsed() > PATIENCE {
                panic!("there is no {css} at {}:\n{}", self.place(), self.text());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn has(&self, css: &str) -> bool {
        self.element(css).is_some()
    }

    #[track_caller]
    pub fn click(&self, css: &str) {
        let begun = Instant::now();
        loop {
            let element = self.must_find(css);
            // A live part may be replaced between the two.
            match self.try_call("POST", &format!("/element/{element}/click"), &json!({})) {
                Ok(_) => return,
                Err(error) if begun.elapsed() > PATIENCE => panic!("{css}: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Clicks a link or a button by its words.
    #[track_caller]
    pub fn press(&self, words: &str) {
        let begun = Instant::now();
        loop {
            let script = format!(
                "const all = [...document.querySelectorAll('a, button, summary')];\
                 const one = all.find(e => e.textContent.trim() === {0} && e.offsetParent !== null) ||\
                   all.find(e => e.textContent.trim().startsWith({0}) && e.offsetParent !== null);\
                 if (one) one.click(); return Boolean(one);",
                json!(words)
            );
            // A question that was asked and answered meanwhile leaves no answer.
            if self.run(&script) != Value::Bool(false) {
                // A question is answered by the next thing that is asked of the browser.
                let _ = self.try_call("GET", "/url", &Value::Null);
                return;
            }
            if begun.elapsed() > PATIENCE {
                panic!("nothing says '{words}' at {}:\n{}", self.place(), self.text());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Types into a field, which is emptied first.
    #[track_caller]
    pub fn fill(&self, css: &str, text: &str) {
        let element = self.must_find(css);
        self.call("POST", &format!("/element/{element}/clear"), &json!({}));
        self.call("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Sends keys to whatever has the focus.
    pub fn keys(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({ "type": "keyDown", "value": key }),
                    json!({ "type": "keyUp", "value": key }),
                ]
            })
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.call("POST", "/actions", &body);
    }

    #[track_caller]
    pub fn choose(&self, css: &str, value: &str) {
        self.must_find(css);
        self.run(&format!(
            "const e = document.querySelector({}); e.value = {}; e.dispatchEvent(new Event('change', {{bubbles: true}}));",
            json!(css),
            json!(value)
        ));
    }

    /// All that can be read on the page.
    pub fn text(&self) -> String {
        let text = self.run("return document.body ? document.body.innerText : ''");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits for words.
    #[track_caller]
    pub fn until_says(&self, words: &str) {
        self.until(&format!("the page says '{words}'"), || self.text().contains(words));
    }

    #[track_caller]
    pub fn until_at(&self, place: &str) {
        self.until(&format!("the browser is at {place}"), || self.place().starts_with(place));
    }

    #[track_caller]
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            if begun.elapsed() > PATIENCE {
                panic!("waited in vain until {what}; at {}:\n{}", self.place(), self.text());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A picture of the whole page.
    pub fn picture(&self, file: &Path) {
        let asked =
            json!({ "cmd": "Page.captureScreenshot", "params": { "captureBeyondViewport": true } });
        let shown = self.call("POST", "/goog/cdp/execute", &asked);
        let bytes = base64(shown["data"].as_str().unwrap());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// Logs in by the page for it.
    #[track_caller]
    pub fn log_in(&self, user: &str, password: &str) {
        self.go("/log-in");
        self.fill("#user", user);
        self.fill("#password", password);
        self.click("button[type=submit]");
        self.until("somebody is logged in", || self.has("header .me"));
    }

    /// What axe-core finds wrong with the page, a line each.
    pub fn findings(&self, axe: &str) -> Vec<String> {
        self.run(axe);
        let script = "const told = arguments[arguments.length - 1];\
             axe.run(document, { resultTypes: ['violations'] }).then(found => told(found.violations.map(\
               one => one.id + ': ' + one.help + ' at ' + one.nodes.map(node => node.target.join(' ') + ' ' + node.failureSummary).slice(0, 3).join(' | '))));";
        let found = self.run_async(script);
        found.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.try_call("DELETE", "", &Value::Null);
        }
    }
}

/// The body of an answer. The connection stays open: its length is in its head.
fn answer_of(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other("no answer"));
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(told) = line.strip_prefix("content-length:") {
            length = told.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

/// The script of axe-core, where `cargo xtask test` has brought it.
pub fn axe() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python-tools/lib");
    let folders = std::fs::read_dir(root).ok()?.filter_map(Result::ok);
    let places = folders.map(|one| one.path().join("site-packages/axe_core_python/axe.min.js"));
    let file: PathBuf = { places }.find(|file| file.exists())?;
    std::fs::read_to_string(file).ok()
}

pub fn base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> =
        text.bytes().filter(|letter| !letter.is_ascii_whitespace() && *letter != b'=').collect();
    let mut bytes = Vec::new();
    for group in letters.chunks(4) {
        let bits = group.iter().fold(0u32, |bits, letter| bits << 6 | u32::from(value(*letter)));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
