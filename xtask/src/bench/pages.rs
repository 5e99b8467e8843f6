//! `bench pages`: how long the pages of the console take with 1,000 clients, 10,000 savesets and 100,000 jobs,
//! on loopback, by curl, of a release build.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{step, workspace};

const TASKS: u32 = 200;
const SAVESETS: u32 = 10_000;
const JOBS: u32 = 100_000;
const CLIENTS: u32 = 1_000;
/// What no page may pass.
const TIME_MAX: Duration = Duration::from_millis(200);
const BYTES_MAX: usize = 300_000;
const ROUNDS: usize = 7;
const PASSWORD: &str = "a very long password";

const PAGES: [&str; 36] = [
    "/",
    "/jobs",
    "/jobs?outcome=finished",
    "/jobs?outcome=failed",
    "/jobs?client=client-500",
    "/jobs/50000",
    "/restore",
    "/savesets/{}",
    "/clients",
    "/clients?away=1",
    "/tasks/home-7",
    "/set-up",
    "/set-up/tasks",
    "/set-up/tasks/new",
    "/set-up/events/new",
    "/set-up/plan",
    "/retention?pool=default&policy=last+7",
    "/ports",
    "/ports?host=client-77",
    "/ports/hosts",
    "/storage",
    "/storage/main",
    "/people",
    "/audit",
    "/me",
    "/kit",
    "/approvals?all=1",
    "/set-up/pools",
    "/set-up/datastores",
    "/set-up/schedules",
    "/set-up/events",
    "/set-up/users",
    "/set-up/interfaces",
    "/set-up/rates",
    "/set-up/replications/new",
    "/restore?client=client-500",
];

/// A server that ends with the bench.
struct Running {
    process: Child,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn run() -> Result<()> {
    let root = workspace::root();
    let mut build = step::cargo();
    step::run(build.args(["build", "--release", "--locked"]).current_dir(&root))?;
    let folder =
        PathBuf::from("/var/tmp").join(format!("simsim-bench-pages-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("tree"))?;
    let result = measure(&root, &folder);
    simsim_testkit::remove_tree(&folder)?;
    result
}

fn measure(root: &Path, folder: &Path) -> Result<()> {
    let simsim = root.join("target/release/simsim");
    let state = folder.join("state");
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let ask = |arguments: &[&str], typed: &str| -> Result<()> {
        let mut command = Command::new(&simsim);
        command.arg("--state").arg(&state).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            use std::io::Write;
            pipe.write_all(typed.as_bytes())?;
        }
        ensure!(child.wait()?.success(), "simsim {}", arguments.join(" "));
        Ok(())
    };
    std::fs::create_dir_all(&state)?;
    std::fs::write(state.join("simsim.toml"), "[server]\nsearch_interval_s = 0\n")?;
    std::fs::write(folder.join("tree/file"), "a file")?;
    let running = start(&simsim, &state)?;
    ask(&["datastore", "create", "main", &text(folder.join("store"))], "")?;
    ask(&["task", "add", "home", &text(folder.join("tree"))], "")?;
    ask(&["event", "add", "nightly", "--all", "--at", "daily 22:00"], "")?;
    ask(&["user", "add", "anna", "--role", "superuser"], &format!("{PASSWORD}\n"))?;
    ask(&["backup", "home"], "")?;
    ask(&["verify", "--datastore", "main"], "")?;
    drop(running);
    let mut fill = Command::new("python3");
    fill.arg(root.join("app/tests/it/scale.py")).arg(state.join("server/catalog.db"));
    fill.args([TASKS, SAVESETS, JOBS, CLIENTS].map(|number| number.to_string()));
    step::run(&mut fill)?;

    let running = start(&simsim, &state)?;
    let base = format!("https://localhost:{}", running.port);
    let curl = |arguments: &[&str]| -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--insecure", "--max-time", "60"]).args(arguments);
        let done = curl.output().context("curl is not installed")?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let form = format!("user=anna&password={}", PASSWORD.replace(' ', "+"));
    let url = format!("{base}/log-in");
    let head = curl(&["-D", "-", "-H", "Sec-Fetch-Site: same-origin", "--data", &form, &url])?;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.and_then(|line| line.split(';').next()).context("nobody is logged in")?;
    let cookie = format!("Cookie: {cookie}");
    let list = curl(&["-H", &cookie, &format!("{base}/api/v1/savesets?limit=1")])?;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    let saveset = list["items"][0]["saveset"].as_str().context("there is no saveset")?;
    println!(
        "{CLIENTS} clients, {SAVESETS} savesets, {JOBS} jobs, {TASKS} tasks; median of {ROUNDS}"
    );
    println!("{:<44} {:>9} {:>9} {:>9}", "page", "median", "most", "bytes");
    let mut slow = Vec::new();
    for page in PAGES {
        let url = format!("{base}{}", page.replace("{}", saveset));
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            // From the request to the last byte, without the handshake.
            let told = curl(&[
                "-H",
                &cookie,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{time_appconnect} %{time_total} %{size_download}",
                &url,
            ])?;
            let mut words = told.split(' ');
            ensure!(words.next() == Some("200"), "{page}: {told}");
            let mut second = || words.next().and_then(|word| word.parse::<f64>().ok());
            let (Some(connected), Some(total)) = (second(), second()) else { bail!("{told}") };
            times.push(Duration::from_secs_f64((total - connected).max(0.0)));
            bytes = second().map_or(0, |size| size as usize);
        }
        times.sort_unstable();
        let median = times.get(ROUNDS / 2).copied().unwrap_or_default();
        let most = times.last().copied().unwrap_or_default();
        println!("{page:<44} {median:>9.1?} {most:>9.1?} {bytes:>9}");
        if median > TIME_MAX || bytes > BYTES_MAX {
            slow.push(page);
        }
    }
    ensure!(slow.is_empty(), "past {TIME_MAX:?} or {BYTES_MAX} bytes: {}", slow.join(", "));
    Ok(())
}

/// Starts the server, and waits until it answers.
fn start(simsim: &Path, state: &Path) -> Result<Running> {
    let ports = simsim_testkit::free_ports(3);
    let at = |number: usize| format!("127.0.0.1:{}", ports.get(number).copied().unwrap_or(0));
    let mut command = Command::new(simsim);
    command.arg("--state").arg(state).arg("server");
    command.args(["--listen", &at(0), "--http", &at(1), "--console", &at(2)]);
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let running = Running { process, port: ports.get(2).copied().unwrap_or(0) };
    let begun = Instant::now();
    loop {
        let mut status = Command::new(simsim);
        status.arg("--state").arg(state).arg("status").stdout(Stdio::null()).stderr(Stdio::null());
        if status.status()?.success() {
            return Ok(running);
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "the server does not start");
        std::thread::sleep(Duration::from_millis(100));
    }
}
