//! Owners who try to look into each other's domains, and somebody who records the data port.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use simsim_control::verbs::GrantTransfer;
use simsim_format::DomainKey as FormatKey;
use simsim_model::*;
use simsim_transfer::{HttpTransfer, Route};

use crate::bench::*;

async fn opened(bench: &Bench, ticket: &Ticket) -> Arc<HttpTransfer> {
    bench.grant(ticket, Some(Level::Full), None).await;
    dial(bench, ticket).await
}

async fn dial(bench: &Bench, ticket: &Ticket) -> Arc<HttpTransfer> {
    let address = bench.address.strip_prefix("http://").unwrap().to_owned();
    let (ticket, handle) = (ticket.clone(), tokio::runtime::Handle::current());
    let open = move || HttpTransfer::open(handle, vec![Route::http(vec![address])], ticket);
    Arc::new(tokio::task::spawn_blocking(open).await.unwrap().unwrap())
}

#[test]
fn a_backup_reads_the_manifest_of_what_it_is_compared_with_and_of_no_other() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let (first, _) = bench.backup(&source, None).await;
        let (second, _) = bench.backup(&source, Some(first)).await;
        for (bases, may) in [
            (None, [true, true]),
            (Some(vec![second]), [false, true]),
            (Some(Vec::new()), [false, false]),
        ] {
            let ticket = bench.ticket(Direction::Backup, bench.saveset());
            let grant = GrantTransfer { bases, ..bench.grant_of(&ticket, Some(Level::Incr), None) };
            bench.device(grant).await.unwrap();
            let session = dial(&bench, &ticket).await;
            tokio::task::spawn_blocking(move || {
                let read = [first, second].map(|saveset| session.manifest(saveset));
                assert_eq!(read.each_ref().map(Result::is_ok), may);
                for refused in read.into_iter().filter_map(Result::err) {
                    assert_eq!(refused.kind, Kind::Denied, "{refused}");
                }
            })
            .await
            .unwrap();
        }
    });
}

/// Whatever one owner asks about the other's data is answered as if it were not there.
#[test]
fn two_owners_cannot_see_or_infer_each_others_chunks() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        std::fs::create_dir(&source).unwrap();
        let content = noise(9000, 1);
        std::fs::write(source.join("file"), &content).unwrap();
        let (mine, result) = bench.backup(&source, None).await;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        let name = FormatKey::new(&key()).chunk_name(&content);
        let owner = opened(&bench, &bench.ticket(Direction::Backup, bench.saveset())).await;
        let ticket = bench.ticket(Direction::Backup, bench.saveset());
        let stranger = opened(&bench, &Ticket { domain: OTHER_DOMAIN, ..ticket }).await;
        tokio::task::spawn_blocking(move || {
            let unknown = Name([7; 32]);
            assert_eq!(owner.has(&[name, unknown]).unwrap(), [true, false]);
            let place = owner.locate(&[name]).unwrap()[0].expect("it is there");
            assert!(owner.get(&[place]).unwrap()[0].is_some());

            assert_eq!(stranger.has(&[name, unknown]).unwrap(), [false, false]);
            assert_eq!(stranger.locate(&[name, unknown]).unwrap(), [None, None]);
            // A place that it has guessed, one in a pack that is not there, one beside a segment.
            let nowhere = SegmentPlace { pack: unknown, ..place };
            let beside = SegmentPlace { offset: place.offset + 1, ..place };
            let longer = SegmentPlace { length: place.length + 1, ..place };
            let answers = stranger.get(&[place, nowhere, beside, longer]).unwrap();
            assert_eq!(answers, [None, None, None, None]);
            // The owner's segment was not talked out of dedup by that.
            assert_eq!(owner.has(&[name]).unwrap(), [true]);
            let (there, not) = (stranger.manifest(mine), stranger.manifest(SavesetId([9; 16])));
            let (there, not) = (there.unwrap_err(), not.unwrap_err());
            assert_eq!(there.kind, not.kind, "{there} / {not}");
            let words =
                |error: &SessionError, id: SavesetId| error.message.replace(&id.to_string(), "ID");
            assert_eq!(words(&there, mine), words(&not, SavesetId([9; 16])));
            // Its own segment may not carry the other domain, and nothing is stored of it.
            let sealed = simsim_format::Sealer::new(FormatKey::new(&Secret([5; 32])), DOMAIN, 1)
                .seal_data(&[(FormatKey::new(&Secret([5; 32])).chunk_name(b"x"), 1)], b"x")
                .unwrap();
            assert_eq!(stranger.put(0, sealed.into()).unwrap_err().kind, Kind::Denied);
        })
        .await
        .unwrap();
    });
}

/// Passes bytes on and keeps them.
fn recorder(to: String) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let record = Arc::clone(&kept);
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(&to) else { continue };
            let pair =
                |a: &TcpStream, b: &TcpStream| (a.try_clone().unwrap(), b.try_clone().unwrap());
            for (mut from, mut to) in [pair(&near, &far), pair(&far, &near)] {
                let record = Arc::clone(&record);
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = from.read(&mut buffer) {
                        record.lock().unwrap().extend_from_slice(&buffer[..read]);
                        if to.write_all(&buffer[..read]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (address, kept)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |value: u32| char::from(DIGITS[value as usize & 63]);
    let mut text = String::new();
    for part in bytes.chunks_exact(3) {
        let value = u32::from_be_bytes([0, part[0], part[1], part[2]]);
        text.extend([value >> 18, value >> 12, value >> 6, value].map(digit));
    }
    text
}

/// A backup and a restore through a recorder: no content, no file name, no path, no name of the
/// client or its task, no secret of a ticket or key, as bytes, as hexadecimal or as base64.
#[test]
fn a_recording_of_the_data_port_holds_nothing_readable() {
    run(async {
        let mut bench = Bench::new().await;
        let device = bench.address.strip_prefix("http://").unwrap().to_owned();
        let (address, record) = recorder(device);
        let source = bench.path("secret-folder");
        std::fs::create_dir(&source).unwrap();
        let text = "a confidential sentence, and another. ".repeat(500);
        std::fs::write(source.join("payroll-2026.txt"), &text).unwrap();
        let content = noise(50_000, 9);
        std::fs::write(source.join("inline-name"), "tiny content").unwrap();
        std::fs::write(source.join("binary"), &content).unwrap();

        let saveset = bench.saveset();
        let ticket = bench.ticket(Direction::Backup, saveset);
        let ticket = Ticket { secret: Secret(noise(32, 77).try_into().unwrap()), ..ticket };
        let mut request = bench.start_backup(&ticket, &source, None);
        request.device_addresses = vec![address.clone()];
        bench.grant(&ticket, Some(Level::Full), None).await;
        let result = bench.client(request).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        let restoring = bench.ticket(Direction::Restore, saveset);
        let restoring = Ticket { secret: Secret(noise(32, 78).try_into().unwrap()), ..restoring };
        bench.grant(&restoring, None, None).await;
        let mut request = bench.start_restore(&restoring, &bench.path("target"));
        request.device_addresses = vec![address];
        let result = bench.client(request).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        bench.address.clear();

        let record = record.lock().unwrap().clone();
        assert!(record.len() > 100_000, "{} bytes were recorded", record.len());
        let holds = |part: &[u8]| record.windows(part.len()).any(|window| window == part);
        assert!(holds(ticket.transfer.to_string().as_bytes()), "the transfer's id is readable");
        let domain = FormatKey::new(&key());
        let readable: [(&str, Vec<u8>); 11] = [
            ("text", text.as_bytes()[..30].to_vec()),
            ("inline content", b"tiny content".to_vec()),
            ("binary content", content[2000..2030].to_vec()),
            ("a file's name", b"payroll-2026".to_vec()),
            ("a folder's name", b"secret-folder".to_vec()),
            ("the task's name", names().task.into_bytes()),
            ("a backup ticket's secret", ticket.secret.0.to_vec()),
            ("a restore ticket's secret", restoring.secret.0.to_vec()),
            ("the domain key", key().0.to_vec()),
            ("a chunk's name", domain.chunk_name(&content).0.to_vec()),
            ("the saveset's id", saveset.0.to_vec()),
        ];
        for (what, bytes) in readable {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let hex = &hex[..hex.len().min(24)];
            assert!(!holds(&bytes[..bytes.len().min(16)]), "{what} is readable");
            assert!(!holds(hex.as_bytes()), "{what} is readable in hexadecimal");
            assert!(!holds(hex.to_uppercase().as_bytes()), "{what} is readable in hexadecimal");
            // Whatever its place in what was encoded.
            for start in 0..3 {
                let encoded = base64(&bytes[start..]);
                let part = &encoded.as_bytes()[..encoded.len().min(16)];
                assert!(part.len() < 12 || !holds(part), "{what} is readable in base64");
            }
        }
    });
}
