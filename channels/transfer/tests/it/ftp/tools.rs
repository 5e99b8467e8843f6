//! Other people's tools: curl, lftp and Python's ftplib log in with a one-time ticket, store and read.

use std::path::PathBuf;
use std::process::{Command, Output};

use simsim_model::{Direction, Ticket};
use simsim_testkit::{has_program, skip};
use simsim_transfer::{DataPorts, stream_ticket};

use super::Device;
use crate::front::{bytes_of, ticket};
use crate::memory::Memory;

/// A device, a file, and a place for what comes back.
struct Bench {
    memory: Memory,
    device: Device,
    content: Vec<u8>,
    file: PathBuf,
    back: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let memory = Memory::default();
        let device = Device::start(&memory, DataPorts::any(2));
        let content = bytes_of(3_000_001, 8).to_vec();
        let folder = device.scratch.path();
        let (file, back) = (folder.join("file"), folder.join("back"));
        std::fs::write(&file, &content).expect("file");
        Self { memory, device, content, file, back }
    }

    fn certificate(&self) -> String {
        self.device.scratch.path().join("device/tls.crt").display().to_string()
    }

    fn is_stored(&self, ticket: &Ticket) -> bool {
        self.memory.held.lock().closed.contains(&ticket.transfer)
    }

    fn stored_whole(&self, ticket: &Ticket) {
        assert!(self.is_stored(ticket));
        assert!(self.memory.held.lock().stream == self.content, "something else is stored");
    }

    fn read_whole(&self, from: usize) {
        let back = std::fs::read(&self.back).expect("it came back");
        assert!(back == self.content[from..], "something else came back: {} bytes", back.len());
        let _ = std::fs::remove_file(&self.back);
    }

    fn curl(&self, ticket: &Ticket, arguments: &[&str]) -> Output {
        let config = self.device.scratch.path().join("curl.conf");
        let user = format!("user = \"db:{}\"\n", stream_ticket(ticket).reveal());
        std::fs::write(&config, user).expect("config");
        let (ip, port) = (self.device.address.ip(), self.device.address.port());
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "--config"]).arg(config);
        curl.args(["--cacert", &self.certificate()]);
        curl.args(["--connect-to", &format!("device:{port}:{ip}:{port}")]).args(arguments);
        curl.arg(format!("ftp://device:{port}/db"));
        curl.output().expect("curl runs")
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
    good(&bench.curl(&store, &["--ssl-reqd", "--upload-file", &file]));
    bench.stored_whole(&store);
    let again = bench.curl(&store, &["--ssl-reqd", "--upload-file", &file]);
    assert!(!again.status.success(), "used before: {again:?}");

    let read = || ticket(&bench.memory, Direction::Restore);
    good(&bench.curl(&read(), &["--ssl-reqd", "--output", &back]));
    bench.read_whole(0);
    good(&bench.curl(&read(), &["--ssl-reqd", "--output", &back, "--range", "1000-"]));
    bench.read_whole(1000);
    let refused = bench.curl(&store, &["--ssl-reqd", "--output", &back]);
    assert!(!refused.status.success(), "a ticket for storing: {refused:?}");
}

#[test]
fn lftp_stores_and_reads() {
    if !has_program("lftp") {
        return skip("no lftp");
    }
    let bench = Bench::new();
    let (ip, port) = (bench.device.address.ip(), bench.device.address.port());
    let lftp = |ticket: &Ticket, verb: &str| {
        let script = format!(
            "set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ssl:ca-file {}; \
             set ssl:check-hostname no; set net:max-retries 1; set net:timeout 30; \
             set cmd:fail-exit yes; set ftp:use-size no; set ftp:use-mdtm no; set xfer:clobber yes; \
             open -u db,{} -p {port} {ip}; {verb}; bye",
            bench.certificate(),
            stream_ticket(ticket).reveal()
        );
        Command::new("lftp").args(["--norc", "-c", &script]).output().expect("lftp runs")
    };
    let store = ticket(&bench.memory, Direction::Backup);
    good(&lftp(&store, &format!("put {} -o db", bench.file.display())));
    bench.stored_whole(&store);
    let read = ticket(&bench.memory, Direction::Restore);
    good(&lftp(&read, &format!("get db -o {}", bench.back.display())));
    bench.read_whole(0);
}

const PYTHON: &str = r#"
import ftplib, os, ssl, sys
host, port, ca, secret, verb, file = sys.argv[1:7]
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
ftp = ftplib.FTP_TLS(context=context)
ftp.connect(host, int(port), timeout=60)
ftp.login("db", secret)
ftp.prot_p()
if verb == "store":
    print(ftp.storbinary("STOR db", open(file, "rb")))
elif verb == "read":
    with open(file, "wb") as out:
        ftp.retrbinary("RETR db", out.write, rest=int(sys.argv[7]))
elif verb == "die":
    connection = ftp.transfercmd("STOR db")
    connection.sendall(open(file, "rb").read())
    os.kill(os.getpid(), 9)
elif verb == "abort":
    connection = ftp.transfercmd("STOR db")
    connection.sendall(open(file, "rb").read()[:100000])
    ftp.putline("ABOR")
    print(ftp.getmultiline())
    print(ftp.getmultiline())
ftp.close()
"#;

#[test]
fn ftplib_stores_and_reads_and_what_it_does_not_end_is_not_kept() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let bench = Bench::new();
    let (ip, port) = (bench.device.address.ip(), bench.device.address.port());
    let python = |ticket: &Ticket, verb: &str, file: &PathBuf, more: &[&str]| {
        let mut python = Command::new("python3");
        python.args(["-c", PYTHON, &ip.to_string(), &port.to_string(), &bench.certificate()]);
        python.args([stream_ticket(ticket).reveal(), verb]).arg(file).args(more);
        python.output().expect("python runs")
    };
    let store = ticket(&bench.memory, Direction::Backup);
    let stored = python(&store, "store", &bench.file, &[]);
    good(&stored);
    let said = String::from_utf8_lossy(&stored.stdout).into_owned();
    assert!(said.contains(&format!("{} bytes", bench.content.len())), "{said}");
    bench.stored_whole(&store);
    let read = ticket(&bench.memory, Direction::Restore);
    good(&python(&read, "read", &bench.back, &["1000"]));
    bench.read_whole(1000);

    // All bytes were sent, and nobody said that these were all.
    let killed = ticket(&bench.memory, Direction::Backup);
    let output = python(&killed, "die", &bench.file, &[]);
    assert!(output.status.code().is_none(), "{output:?}");
    super::until("the device gives it up", || !bench.memory.held.lock().aborted.is_empty());
    assert!(!bench.is_stored(&killed), "a client that died has a whole stream");

    let given = ticket(&bench.memory, Direction::Backup);
    let output = python(&given, "abort", &bench.file, &[]);
    good(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("426 ") && said.contains("\n226 "), "{said}");
    assert!(!bench.is_stored(&given));
}
