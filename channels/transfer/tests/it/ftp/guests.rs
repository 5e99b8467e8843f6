//! Raw streams over FTP as strangers and bad lines have them: secrets in the clear, wrong ones, names
//! that lead elsewhere, ports that are stolen, streams that end without an end.

use std::path::PathBuf;
use std::time::Duration;

use simsim_model::Direction;
use simsim_testkit::{ChildProcess, has_program, skip};
use simsim_transfer::{DataPorts, FtpOptions, stream_ticket};

use super::tools::Bench;
use super::{PATIENCE, until};
use crate::front::{FTP_RANGE, stranger_ticket, ticket};

#[test]
fn a_secret_in_the_clear_is_not_even_asked_for() {
    let bench = Bench::new();
    let store = ticket(&bench.memory, Direction::Backup);
    let mut call = bench.device.call();
    let (code, text) = call.ask("USER db");
    assert!(code == 530 && text.contains("AUTH TLS"), "{code} {text}");
    let secret = stream_ticket(&store);
    assert_eq!(call.ask(&format!("PASS {}", secret.reveal())).0, 503);
    for line in ["STOR db", "RETR db", "SIZE db", "LIST", "EPSV", "PASV", "MLST"] {
        assert_eq!(call.ask(line).0, 530, "{line}");
    }
    // Not by way of the login of the suite's own clients either.
    assert_eq!(call.ask("USER simsim-transfer").0, 331);
    assert_eq!(call.ask(&format!("PASS {}", secret.reveal())).0, 530);
    assert!(bench.memory.held.lock().used.is_empty());
}

#[test]
fn wrong_tickets_are_counted_and_the_third_ends_the_connection() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let bench = Bench::new();
    let store = ticket(&bench.memory, Direction::Backup);
    let wrong = stream_ticket(&stranger_ticket(Direction::Backup)).reveal().to_owned();
    let lines = format!(
        "\
def tries():
    ftp = ftplib.FTP_TLS(context=context)
    ftp.connect(host, int(port), timeout=60)
    ftp.auth()
    said = []
    try:
        while True:
            ftp.sendcmd('USER db')
            said.append(refused(ftp.sendcmd, 'PASS {wrong}'))
    except EOFError:
        return said
for _ in range(4):
    for text in tries():
        print(text)
print(ftp.storbinary('STOR db', open(file, 'rb')))
"
    );
    let said = bench.says(&store, &lines);
    let lines: Vec<&str> = said.lines().collect();
    // Ten are wrong, three at a time; the eleventh is one too many, and ends its connection.
    assert_eq!(lines.len(), 12, "{said}");
    assert!(lines[..10].iter().all(|line| line.starts_with("530 refused: no such task")), "{said}");
    assert!(lines[10].starts_with("421 too many wrong tokens"), "{said}");
    // Whoever has a right one is not held up by it.
    assert!(lines[11].starts_with("226 saveset"), "{said}");
    bench.stored_whole(&store);
}

#[test]
fn names_that_lead_elsewhere_are_no_names() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let bench = Bench::new();
    let store = ticket(&bench.memory, Direction::Backup);
    let lines = "\
names = ['', '/', '.', '..', '../db', '/../db', 'db/..', 'db/../../etc/passwd', 'db/x', 'db/a/b/c',
         'db/00ab/x', 'd\"b', 'd\\tb', 'd\\x00b', '/etc/passwd', 'x' * 300, 'db/' + '0' * 33]
for name in names:
    for verb in ['STOR', 'APPE', 'RETR', 'SIZE', 'MDTM']:
        print(refused(ftp.sendcmd, verb + ' ' + name)[:3], verb, ascii(name))
print(refused(ftp.sendcmd, 'STOR db/00ab'))
print(ftp.sendcmd('NOOP'))
print(ftp.storbinary('STOR ./db', open(file, 'rb')))
";
    let said = bench.says(&store, lines);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 17 * 5 + 3, "{said}");
    assert!(lines[..86].iter().all(|line| line.starts_with("553")), "{said}");
    assert!(lines[87].starts_with("226 saveset"), "{said}");
    bench.stored_whole(&store);
}

#[test]
fn data_that_could_be_read_is_not_carried() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let bench = Bench::new();
    let store = ticket(&bench.memory, Direction::Backup);
    let lines = "\
ftp.voidcmd('TYPE A')
print(refused(ftp.sendcmd, 'STOR db'))
ftp.voidcmd('TYPE I')
ftp.prot_c()
for line in ['STOR db', 'RETR db', 'LIST', 'NLST', 'MLSD']:
    print(refused(ftp.sendcmd, line))
print(refused(ftp.sendcmd, 'CCC'))
";
    let said = bench.says(&store, lines);
    let codes: Vec<&str> = said.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["503", "521", "521", "521", "521", "521", "502"], "{said}");
    assert!(bench.memory.held.lock().used.is_empty(), "the ticket is as good as before");
}

#[test]
fn nobody_else_comes_to_a_guests_port_and_no_guest_sends_us_elsewhere() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let bench = Bench::new();
    let store = ticket(&bench.memory, Direction::Backup);
    let lines = "\
for line in ['PORT 127,0,0,3,8,9', 'EPRT |1|127.0.0.3|2313|', 'PORT 127,0,0,1,0,22',
             'EPRT |1|127.0.0.1|1023|', 'EPRT |2|::1|2313|']:
    print(refused(ftp.sendcmd, line)[:3], refused(ftp.sendcmd, 'STOR db')[:3])
port = ftplib.parse229(ftp.sendcmd('EPSV'), ftp.sock.getpeername())[1]
thief = socket.create_connection((host, port), 60, ('127.0.0.77', 0))
try:
    thief.sendall(b'mine')
    print(thief.recv(1))
except ConnectionError:
    print(b'')
own = socket.create_connection((host, port), 60)
print(ftp.sendcmd('STOR db')[:3])
try:
    socket.create_connection((host, port), 60)
    print('open')
except ConnectionError:
    print('closed')
own = context.wrap_socket(own)
own.sendall(content)
own.unwrap()
print(ftp.voidresp())
";
    // A ticket serves once: the refused ones must not use it up.
    let said = bench.says(&store, lines);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[..5].iter().all(|line| *line == "504 425"), "{said}");
    assert_eq!(lines[5..8], ["b''", "150", "closed"], "{said}");
    assert!(lines[8].starts_with("226 saveset"), "{said}");
    bench.stored_whole(&store);
}

#[test]
fn what_is_given_up_or_left_is_not_kept() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let bench = Bench::new();
    // ABOR: nothing of it waits.
    let given = ticket(&bench.memory, Direction::Backup);
    let lines = "\
data = ftp.transfercmd('STOR db')
data.sendall(content[:100000])
print(ftp.abort(), ftp.getmultiline())
print(refused(ftp.sendcmd, 'SIZE db'), refused(ftp.transfercmd, 'APPE db'))
";
    let said = bench.says(&given, lines);
    assert!(said.starts_with("426 ") && said.contains(" 226 "), "{said}");
    assert!(said.contains("\n504 ") && said.contains(" 554 no stream"), "{said}");
    bench.given_up(&given, 1);

    // All bytes were sent, and nobody said that these were all: the process died.
    let killed = ticket(&bench.memory, Direction::Backup);
    let lines = "\
data = ftp.transfercmd('STOR db')
data.sendall(content)
os.kill(os.getpid(), 9)
";
    let output = bench.ftplib(&killed, lines).output().expect("python runs");
    assert!(output.status.code().is_none(), "{output:?}");
    bench.given_up(&killed, 2);

    // The data ended as TLS ends, and then nobody was there to hear how it went: a tool that was told
    // to stop puts its house in order as well.
    let options = FtpOptions { afterword: PATIENCE, ..FtpOptions::default() };
    let patient = Bench::with(DataPorts::any(1), options);
    let left = ticket(&patient.memory, Direction::Backup);
    let lines = "\
data = ftp.transfercmd('STOR db')
data.sendall(content)
data.unwrap()
ftp.sock.unwrap()
ftp.close()
";
    patient.says(&left, lines);
    patient.given_up(&left, 1);

    // Less than was announced.
    let short = ticket(&bench.memory, Direction::Backup);
    let lines = "\
print(ftp.sendcmd('ALLO 3000001'))
print(refused(ftp.storbinary, 'STOR db', open('/dev/null', 'rb')))
";
    let said = bench.says(&short, lines);
    assert!(said.contains("451 it ended after 0 of the 3000001 bytes"), "{said}");
    until("it is given up", || bench.memory.held.lock().aborted.len() == 3);
    assert!(!bench.is_stored(&short));
}

#[test]
fn a_stream_whose_data_connection_broke_goes_on_where_it_was() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let bench = Bench::new();
    let store = ticket(&bench.memory, Direction::Backup);
    // A connection that ends without the end of TLS, as by a line that breaks.
    let lines = "\
def part(verb, first, last, rest=None):
    data = ftp.transfercmd(verb + ' db', rest)
    data.sendall(content[first:last])
    return data
part('STOR', 0, 1000000).close()
print(refused(ftp.voidresp))
print(ftp.size('db'))
print(refused(ftp.transfercmd, 'STOR db', 999999), refused(ftp.transfercmd, 'STOR db', 1000001))
print(ftp.size('db'))
part('STOR', 1000000, 2000000, 1000000).close()
print(refused(ftp.voidresp))
print(ftp.size('db'))
part('APPE', 2000000, 3000001).unwrap()
print(ftp.voidresp())
print(refused(ftp.size, 'db'), refused(ftp.transfercmd, 'APPE db'))
";
    let said = bench.says(&store, lines);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("426 the data connection broke off"), "{said}");
    assert_eq!((lines[1], lines[3]), ("1000000", "1000000"), "{said}");
    assert_eq!(
        lines[2].matches("554 the stream that waits has 1000000 bytes").count(),
        2,
        "{said}"
    );
    assert!(lines[4].starts_with("426 "), "{said}");
    assert_eq!(lines[5], "2000000", "{said}");
    assert!(lines[6].contains("3000001 bytes"), "{said}");
    assert!(lines[7].starts_with("504 ") && lines[7].contains("554 no stream"), "{said}");
    bench.stored_whole(&store);
    assert!(bench.memory.held.lock().aborted.is_empty());
}

#[test]
fn a_stream_that_nobody_goes_on_with_is_given_up() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let resume_timeout = Duration::from_millis(200);
    let options = FtpOptions { resume_timeout, ..FtpOptions::default() };
    let bench = Bench::with(DataPorts::any(1), options);
    let late = ticket(&bench.memory, Direction::Backup);
    let lines = "\
data = ftp.transfercmd('STOR db')
data.sendall(content[:100000])
data.close()
print(refused(ftp.voidresp))
deadline = time.time() + 60
while not refused(ftp.size, 'db').startswith('504') and time.time() < deadline:
    time.sleep(0.05)
print(refused(ftp.transfercmd, 'APPE db'))
";
    let said = bench.says(&late, lines);
    assert!(said.starts_with("426 ") && said.contains("\n554 no stream"), "{said}");
    let why = bench.given_up(&late, 1);
    assert!(why.contains("the data connection broke off"), "{why}");
}

/// Who leaves with a ticket cannot come back: nothing waits for it.
#[test]
fn what_a_ticket_left_behind_ends_with_its_login() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let bench = Bench::new();
    let store = ticket(&bench.memory, Direction::Backup);
    let lines = "\
data = ftp.transfercmd('STOR db')
data.sendall(content[:100000])
data.close()
print(refused(ftp.voidresp), ftp.size('db'))
ftp.quit()
";
    let said = bench.says(&store, lines);
    assert!(said.contains("100000"), "{said}");
    bench.given_up(&store, 1);
}

/// Three pairs of ports: three streams at once, and the fourth waits for its turn and is not lost.
#[test]
fn the_fourth_stream_waits_for_ports() {
    if !has_program("python3") {
        return skip("no python3");
    }
    let first = FTP_RANGE.start;
    let ports = DataPorts::new(first, first + 5).expect("six ports");
    let options = FtpOptions { wait_interval: Duration::from_millis(100), ..FtpOptions::default() };
    let bench = Bench::with(ports.clone(), options);
    // Each holds its data connection until it is told to go on.
    let lines = "\
print('logged in', flush=True)
data = ftp.transfercmd('STOR db')
print('port', data.getpeername()[1], flush=True)
while not os.path.exists(sys.argv[6]):
    time.sleep(0.02)
data.sendall(content)
data.unwrap()
print(ftp.voidresp(), flush=True)
";
    let mut tickets = Vec::new();
    let mut begin = || {
        let store = ticket(&bench.memory, Direction::Backup);
        let go = bench.file.with_file_name(format!("go-{}", tickets.len()));
        tickets.push(store.clone());
        (ChildProcess::start(bench.ftplib(&store, lines).arg(&go)), go)
    };
    let mut open = Vec::new();
    for number in 0..3 {
        let (child, go) = begin();
        let line = child.wait_for_line("port ", PATIENCE).expect("a port of its own");
        let port: u16 = line.trim().rsplit(' ').next().unwrap().parse().expect("a port");
        assert!((first..first + 6).contains(&port), "stream {number} at {port}");
        open.push((child, go));
    }
    let (fourth, go_fourth) = begin();
    until("the fourth stands in line", || ports.waiting() == 1);
    assert!(!fourth.output().contains("port "), "{}", fourth.output());
    let ends = |(child, go): &(ChildProcess, PathBuf)| {
        std::fs::write(go, "").expect("go");
        child.wait_for_line("226 saveset", PATIENCE).expect("stored");
    };
    ends(&open.remove(0));
    fourth.wait_for_line("port ", PATIENCE).expect("its turn");
    assert_eq!(ports.waiting(), 0);
    open.iter().for_each(ends);
    ends(&(fourth, go_fourth));
    for one in &tickets {
        assert!(bench.is_stored(one));
    }
}

#[test]
fn a_reader_that_stands_still_for_long_gets_the_whole_stream() {
    if !has_program("python3") {
        return skip("no python3");
    }
    std::thread::scope(|scope| {
        // The second one has left the device's hands altogether before its reader goes on.
        for bytes in [48 << 20, 2 << 20] {
            scope.spawn(move || {
                let bench = Bench::new();
                bench.memory.held.lock().stream = vec![7; bytes];
                let read = ticket(&bench.memory, Direction::Restore);
                let lines = "\
data, size = ftp.ntransfercmd('RETR db')
got = len(data.recv(1000))
time.sleep(50)
while piece := data.recv(1 << 20):
    got += len(piece)
data.unwrap()
data.close()
print(got, ftp.voidresp())
";
                let said = bench.says(&read, lines);
                assert!(said.starts_with(&format!("{bytes} 226")), "{said}");
            });
        }
    });
}
