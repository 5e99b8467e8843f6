//! Other people's tools: curl, lftp, Python's ftplib and openssl log in with a one-time ticket, store and
//! read.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use simsim_model::{Direction, Ticket};
use simsim_testkit::{has_program, skip};
use simsim_transfer::{DataPorts, FtpOptions, stream_ticket};

use super::{Device, until};
use crate::front::{bytes_of, ticket};
use crate::memory::Memory;

/// A device, a file, and a place for what comes back.
pub(super) struct Bench {
    pub memory: Memory,
    pub device: Device,
    pub content: Vec<u8>,
    pub file: PathBuf,
    pub back: PathBuf,
}

/// Before what a test does with ftplib: logged in, and data is private.
const LOGGED_IN: &str = r#"
import ftplib, os, socket, ssl, sys, time
host, port, ca, secret, file = sys.argv[1:6]
content = open(file, "rb").read()
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
ftp = ftplib.FTP_TLS(context=context)
ftp.connect(host, int(port), timeout=60)
ftp.login("db", secret)
ftp.prot_p()
ftp.voidcmd("TYPE I")
def refused(what, *arguments):
    try:
        return "accepted: " + str(what(*arguments))
    except ftplib.Error as error:
        return str(error)
"#;

impl Bench {
    pub fn new() -> Self {
        Self::with(DataPorts::any(2), FtpOptions::default())
    }

    pub fn with(ports: DataPorts, options: FtpOptions) -> Self {
        let memory = Memory::default();
        let device = Device::start_with(&memory, ports, options);
        Self::before(memory, device)
    }

    /// At the loopback address of IPv6.
    fn ipv6() -> Self {
        let memory = Memory::default();
        let (ports, options) = (DataPorts::any(2), FtpOptions::default());
        let device = Device::start_at(Ipv6Addr::LOCALHOST.into(), &memory, ports, options);
        Self::before(memory, device)
    }

    fn before(memory: Memory, device: Device) -> Self {
        let content = bytes_of(3_000_001, 8).to_vec();
        let folder = device.scratch.path();
        let (file, back) = (folder.join("file"), folder.join("back"));
        std::fs::write(&file, &content).expect("file");
        Self { memory, device, content, file, back }
    }

    fn certificate(&self) -> String {
        self.device.scratch.path().join("device/tls.crt").display().to_string()
    }

    pub fn is_stored(&self, ticket: &Ticket) -> bool {
        self.memory.held.lock().closed.contains(&ticket.transfer)
    }

    #[track_caller]
    pub fn stored_whole(&self, ticket: &Ticket) {
        assert!(self.is_stored(ticket));
        let mut held = self.memory.held.lock();
        assert!(held.stream == self.content, "something else is stored: {}", held.stream.len());
        held.stream.clear();
    }

    /// The device gave up as many streams as this, and has nothing of the last one.
    #[track_caller]
    pub fn given_up(&self, ticket: &Ticket, streams: usize) -> String {
        until("the device gives it up", || self.memory.held.lock().aborted.len() >= streams);
        assert!(!self.is_stored(ticket), "it is kept");
        let held = self.memory.held.lock();
        assert!(held.stream_broke && held.aborted.len() == streams, "{:?}", held.aborted);
        held.aborted[streams - 1].clone()
    }

    #[track_caller]
    fn read_whole(&self, from: usize) {
        let back = std::fs::read(&self.back).expect("it came back");
        assert!(back == self.content[from..], "something else came back: {} bytes", back.len());
        let _ = std::fs::remove_file(&self.back);
    }

    fn curl(&self, ticket: &Ticket, arguments: &[&str]) -> Output {
        let config = self.device.scratch.path().join("curl.conf");
        let user = format!("user = \"db:{}\"\n", stream_ticket(ticket).reveal());
        std::fs::write(&config, user).expect("config");
        let (at, port) = (self.device.address, self.device.address.port());
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "--config"]).arg(config);
        curl.args(["--cacert", &self.certificate()]);
        curl.args(["--connect-to", &format!("device:{port}:{at}")]).args(arguments);
        curl.arg(format!("ftp://device:{port}/db"));
        curl.output().expect("curl runs")
    }

    /// Runs lines of Python behind [`LOGGED_IN`].
    pub fn ftplib(&self, ticket: &Ticket, lines: &str) -> Command {
        let (ip, port) = (self.device.address.ip(), self.device.address.port());
        let mut python = Command::new("python3");
        python.arg("-c").arg(format!("{LOGGED_IN}{lines}"));
        python.args([&ip.to_string(), &port.to_string(), &self.certificate()]);
        python.arg(stream_ticket(ticket).reveal()).arg(&self.file);
        python
    }

    /// What ftplib comes to say.
    #[track_caller]
    pub fn says(&self, ticket: &Ticket, lines: &str) -> String {
        let output = self.ftplib(ticket, lines).output().expect("python runs");
        good(&output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[track_caller]
fn good(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn curl_stores_and_reads_and_is_told_to_take_tls() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let bench = Bench::new();
    let (file, back) = (bench.file.display().to_string(), bench.back.display().to_string());
    let store = ticket(&bench.memory, Direction::Backup);
    let plain = bench.curl(&store, &["--upload-file", &file]);
    assert!(!plain.status.success() && !bench.is_stored(&store), "{plain:?}");
    let told = bench.curl(&store, &["--upload-file", &file, "--verbose"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("AUTH TLS") && told.contains("--ssl-reqd"), "{told}");
    assert!(!told.contains("PASS"), "the ticket was said in the clear: {told}");
    good(&bench.curl(&store, &["--ssl-reqd", "--upload-file", &file]));
    bench.stored_whole(&store);
    let again = bench.curl(&store, &["--ssl-reqd", "--upload-file", &file]);
    assert!(!again.status.success(), "used before: {again:?}");
    let store = ticket(&bench.memory, Direction::Backup);
    good(&bench.curl(&store, &["--ssl-reqd", "--disable-epsv", "--upload-file", &file]));
    bench.stored_whole(&store);
    let append = ticket(&bench.memory, Direction::Backup);
    let refused = bench.curl(&append, &["--ssl-reqd", "--append", "--upload-file", &file]);
    assert!(!refused.status.success() && !bench.is_stored(&append), "to nothing: {refused:?}");
    // What it takes for the size of a part is not that of something else.
    let resume = ["--ssl-reqd", "--continue-at", "-", "--upload-file", &file];
    good(&bench.curl(&append, &resume));
    bench.stored_whole(&append);

    bench.memory.held.lock().stream = bench.content.clone();
    let read = || ticket(&bench.memory, Direction::Restore);
    for way in ["--ftp-pasv", "--disable-epsv"] {
        good(&bench.curl(&read(), &["--ssl-reqd", way, "--output", &back]));
        bench.read_whole(0);
    }
    good(&bench.curl(&read(), &["--ssl-reqd", "--output", &back, "--range", "1000-"]));
    bench.read_whole(1000);
    let refused = bench.curl(&store, &["--ssl-reqd", "--output", &back]);
    assert!(!refused.status.success(), "a ticket for storing: {refused:?}");
}

/// Active mode: the device makes the data connection, to where PORT or EPRT says, and TLS is upon it as
/// upon any other.
fn curl_stores_and_reads_over_connections_that_come_to_it(bench: &Bench, ways: &[&[&str]]) {
    let (file, back) = (bench.file.display().to_string(), bench.back.display().to_string());
    for way in ways {
        let with = |more: &[&'static str]| -> Vec<String> {
            let all = ["--ssl-reqd", "--verbose"].iter().chain(*way).chain(more);
            all.map(|word| (*word).to_owned()).collect()
        };
        let run = |ticket: &Ticket, words: Vec<String>| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let output = bench.curl(ticket, &words);
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let store = ticket(&bench.memory, Direction::Backup);
        let mut words = with(&["--upload-file"]);
        words.push(file.clone());
        let (stored, said) = run(&store, words);
        if !stored && speaks_no_tls_when_called() {
            // What it sends in the clear is not kept.
            assert!(
                !bench.is_stored(&store) && bench.memory.held.lock().stream.is_empty(),
                "{said}"
            );
            return skip("this version of curl speaks no TLS on connections that come to it");
        }
        assert!(stored, "{way:?}: {said}");
        assert!(said.contains("> EPRT |") || said.contains("> PORT "), "{way:?}: {said}");
        assert!(!said.contains("> EPSV") && !said.contains("> PASV"), "{way:?}: {said}");
        bench.stored_whole(&store);
        bench.memory.held.lock().stream = bench.content.clone();
        let mut words = with(&["--range", "1000-", "--output"]);
        words.push(back.clone());
        let (read, said) = run(&ticket(&bench.memory, Direction::Restore), words);
        assert!(read, "{way:?}: {said}");
        bench.read_whole(1000);
    }
}

/// curl 7.87 and 7.88 (issue 10666 of curl) send in the clear over data connections that come to them,
/// whatever was agreed upon.
fn speaks_no_tls_when_called() -> bool {
    let said = Command::new("curl").arg("--version").output().expect("curl runs").stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    ["curl 7.87.", "curl 7.88."].iter().any(|version| said.starts_with(version))
}

#[test]
fn curl_in_active_mode_stores_and_reads() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let ways: [&[&str]; 2] = [&["--ftp-port", "-"], &["--ftp-port", "-", "--disable-eprt"]];
    curl_stores_and_reads_over_connections_that_come_to_it(&Bench::new(), &ways);
}

#[test]
fn curl_over_ipv6_stores_and_reads() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let bench = Bench::ipv6();
    let (file, back) = (bench.file.display().to_string(), bench.back.display().to_string());
    let store = ticket(&bench.memory, Direction::Backup);
    let stored = bench.curl(&store, &["--ssl-reqd", "--verbose", "--upload-file", &file]);
    good(&stored);
    assert!(String::from_utf8_lossy(&stored.stderr).contains("> EPSV"), "{stored:?}");
    bench.stored_whole(&store);
    bench.memory.held.lock().stream = bench.content.clone();
    let read = ticket(&bench.memory, Direction::Restore);
    good(&bench.curl(&read, &["--ssl-reqd", "--output", &back, "--range", "1000-"]));
    bench.read_whole(1000);
}

#[test]
fn curl_over_ipv6_in_active_mode_stores_and_reads() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let ways: [&[&str]; 1] = [&["--ftp-port", "-"]];
    curl_stores_and_reads_over_connections_that_come_to_it(&Bench::ipv6(), &ways);
}

#[test]
fn lftp_stores_and_reads() {
    lftp_stores_and_reads_at(&Bench::new());
}

#[test]
fn lftp_over_ipv6_stores_and_reads_in_both_modes() {
    lftp_stores_and_reads_at(&Bench::ipv6());
}

fn lftp_stores_and_reads_at(bench: &Bench) {
    if !has_program("lftp") {
        return skip("no lftp");
    }
    let port = bench.device.address.port();
    let host = match bench.device.address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let lftp = |ticket: &Ticket, verbs: &str| {
        let script = format!(
            "set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ssl:ca-file {}; \
             set ssl:check-hostname no; set net:max-retries 1; set net:timeout 30; \
             set cmd:fail-exit yes; set xfer:clobber yes; open -u db,{} -p {port} {host}; {verbs}; bye",
            bench.certificate(),
            stream_ticket(ticket).reveal()
        );
        Command::new("lftp").args(["--norc", "-c", &script]).output().expect("lftp runs")
    };
    for way in ["set ftp:passive-mode yes", "set ftp:prefer-epsv yes", "set ftp:passive-mode no"] {
        let store = ticket(&bench.memory, Direction::Backup);
        good(&lftp(&store, &format!("{way}; put {} -o db", bench.file.display())));
        bench.stored_whole(&store);
        bench.memory.held.lock().stream = bench.content.clone();
        let read = ticket(&bench.memory, Direction::Restore);
        good(&lftp(&read, &format!("{way}; get db -o {}", bench.back.display())));
        bench.read_whole(0);
    }
}

#[test]
fn ftplib_stores_and_reads() {
    ftplib_stores_and_reads_at(&Bench::new());
}

#[test]
fn ftplib_over_ipv6_stores_and_reads_in_both_modes() {
    ftplib_stores_and_reads_at(&Bench::ipv6());
}

fn ftplib_stores_and_reads_at(bench: &Bench) {
    if !has_program("python3") {
        return skip("no python3");
    }
    for passive in ["True", "False"] {
        let store = ticket(&bench.memory, Direction::Backup);
        let lines = format!(
            "ftp.set_pasv({passive})\nprint(ftp.storbinary('STOR db', open(file, 'rb')))\nftp.quit()"
        );
        let said = bench.says(&store, &lines);
        assert!(said.contains(&format!("{} bytes", bench.content.len())), "{said}");
        bench.stored_whole(&store);
        bench.memory.held.lock().stream = bench.content.clone();
        let read = ticket(&bench.memory, Direction::Restore);
        let lines = format!(
            "ftp.set_pasv({passive})\nout = bytearray()\n\
             print(ftp.retrbinary('RETR db', out.extend, rest=1000))\n\
             print(bytes(out) == content[1000:])\nftp.quit()"
        );
        let said = bench.says(&read, &lines);
        assert!(said.starts_with("226 ") && said.ends_with("True\n"), "{said}");
    }
}

/// Lists are not for transfers of bytes: clients ask for them as text.
#[test]
fn ftplib_lists_and_walks() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let bench = Bench::new();
    let store = ticket(&bench.memory, Direction::Backup);
    let lines = "\
print(ftp.nlst(), list(ftp.mlsd()), ftp.pwd())
ftp.dir()
print(ftp.sendcmd('FEAT'))
print(ftp.sendcmd('MLST').replace('\\n', ' '))
print(refused(ftp.cwd, 'elsewhere'))
print(ftp.cwd('/'), ftp.sendcmd('CDUP'), ftp.sendcmd('SYST'), ftp.sendcmd('NOOP'))
for line in ['DELE db', 'MKD x', 'RMD x', 'RNFR db', 'SITE x', 'STOU']:
    print(refused(ftp.sendcmd, line))
ftp.quit()
";
    let said = bench.says(&store, lines);
    assert!(said.starts_with("[] [] /\n"), "{said}");
    for words in ["REST STREAM", "SIZE", "MDTM", "MLST type*;size*;modify*;", "type=dir; /"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.contains("550 there is no such folder"), "{said}");
    assert_eq!(said.matches("502 not here").count() + said.matches("500 unknown").count(), 6);
}

#[test]
fn openssl_logs_in_by_hand() {
    if !has_program("openssl") {
        return skip("no openssl");
    }
    let bench = Bench::new();
    let store = ticket(&bench.memory, Direction::Backup);
    let mut client = Command::new("openssl")
        .args(["s_client", "-starttls", "ftp", "-quiet", "-verify_return_error", "-tls1_3"])
        .args(["-CAfile", &bench.certificate(), "-connect", &bench.device.address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    let secret = stream_ticket(&store);
    let lines = format!(
        "USER db\r\nPASS {}\r\nPBSZ 0\r\nPROT P\r\nPWD\r\nSIZE db\r\nQUIT\r\n",
        secret.reveal()
    );
    client.stdin.as_mut().expect("a pipe").write_all(lines.as_bytes()).expect("write");
    let output = client.wait_with_output().expect("openssl ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let codes: Vec<&str> = said.lines().filter_map(|line| line.get(..4)).collect();
    assert_eq!(
        codes,
        ["331 ", "230 ", "200 ", "200 ", "257 ", "504 ", "221 "],
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
