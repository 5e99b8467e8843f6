//! What everybody can read, and what nobody can.

use simsim_model::{
    Direction, DomainId, Level, Problem, ProblemKind, ProgressSnapshot, SavesetId, Secret, StoreId,
    TargetKind, Ticket, TransferId,
};

use super::middle::*;
use crate::envelope::{Envelope, Part};

pub(super) const NODE: &str = "name-of-the-node";
pub(super) const SERVER: &str = "name-of-the-server";
pub(super) const SENTENCE: &str = "a sentence with a /secret/path";

pub(super) fn progress() -> ProgressSnapshot {
    ProgressSnapshot { current: "/now/at/this/file".to_owned(), ..Default::default() }
}

pub(super) fn problem() -> Problem {
    Problem::new(b"/could/not/read".to_vec(), ProblemKind::Unreadable, "words of the problem")
}

fn backup() -> StartBackup {
    StartBackup {
        device_keys: Vec::new(),
        client_keys: Vec::new(),
        outbound: false,
        ticket: Ticket {
            transfer: TransferId([0x31; 16]),
            job: 0x7172_7374_7576,
            client: "name-of-the-client".to_owned(),
            drive: 1,
            store: StoreId([0x32; 16]),
            domain: DomainId([0x33; 16]),
            direction: Direction::Backup,
            bytes_max: 0,
            expires_unix_s: 0,
            secret: Secret([0x34; 32]),
            saveset: SavesetId([0x35; 16]),
        },
        device_addresses: vec!["http://name-of-the-device:1".to_owned()],
        names: SavesetNames { client: "client-in-names".into(), task: "task-in-names".into() },
        kind: TargetKind::Path,
        sources: vec![b"/source/of/data".to_vec()],
        excludes: vec!["*.pattern".to_owned()],
        exclude_caches: false,
        one_file_system: false,
        file_bytes_max: None,
        stream_command: Some("name-of-command".to_owned()),
        pre_command: Some("name-of-command".to_owned()),
        post_command: Some("name-of-command".to_owned()),
        command_timeout_s: None,
        level: Level::Full,
        base: None,
        domain_key: Some(Secret([0x36; 32])),
    }
}

fn holds(said: &[Vec<u8>], marker: &[u8]) -> bool {
    said.concat().windows(marker.len()).any(|window| window == marker)
}

#[tokio::test(start_paused = true)]
async fn a_capture_holds_no_name_path_ticket_or_key_and_tells_what_was_done() {
    let hosts = Hosts::new();
    let work = async |client: ControlClient| {
        let mut call = client.start(backup()).await?;
        assert_eq!(call.next_event().await, Some(Event::Progress(progress())));
        assert_eq!(call.next_event().await, Some(Event::Problem(problem())));
        let error = call.finish().await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (Kind::Denied, SENTENCE.to_owned()));
        Ok(())
    };
    let (done, [up, down]) = hosts.session(as_it_is(), as_it_is(), work).await;
    done.unwrap();
    let keys = [*hosts.node.public().as_bytes(), *hosts.server.public().as_bytes()];
    let hidden: Vec<&[u8]> = vec![
        NODE.as_bytes(),
        SERVER.as_bytes(),
        SENTENCE.as_bytes(),
        b"/now/at/this",
        b"/could/not",
        b"words of",
        b"name-of",
        b"in-names",
        b"/source/of",
        b"*.pattern",
        b"http://",
        env!("CARGO_PKG_VERSION").as_bytes(),
        &[0x31; 8],
        &[0x32; 8],
        &[0x33; 8],
        &[0x34; 8],
        &[0x35; 8],
        &[0x36; 8],
        &[0x71, 0x72, 0x73, 0x74, 0x75, 0x76],
        &keys[0][..8],
        &keys[1][..8],
    ];
    for marker in hidden {
        let text = String::from_utf8_lossy(marker).into_owned();
        assert!(!holds(&up, marker) && !holds(&down, marker), "{text:?} is readable");
    }
    for key in keys {
        let written = data_encoding::BASE64_NOPAD.encode(&key);
        assert!(!holds(&up, &written.as_bytes()[..20]) && !holds(&down, &written.as_bytes()[..20]));
    }
    let line = |said: &[Vec<u8>], at: usize| -> String {
        let part = said[at].split(|byte| *byte == b'\n').next().unwrap();
        String::from_utf8_lossy(part.get(if at < LINES { 0 } else { 4 }..).unwrap()).into_owned()
    };
    assert!(line(&up, 0).starts_with("simsim-ctrl 1 call "));
    assert!(line(&down, 1).starts_with("simsim-ctrl 1 welcome "));
    assert_eq!(line(&up, LINES), "0 0:hello 0 0");
    assert_eq!(line(&up, LINES + 1), "1 1:request 1 20:start-backup");
    let answers: Vec<String> = (LINES..LINES + 4).map(|at| line(&down, at)).collect();
    let expected =
        ["0 0:hello 0 0", "1 2:event 1 1:progress", "2 2:event 1 2:problem", "3 4:failure 1 0"];
    assert_eq!(answers, expected);
}

#[tokio::test(start_paused = true)]
async fn the_largest_message_passes_and_one_byte_more_does_not() {
    let hosts = Hosts::new();
    let (store, domain) = (StoreId::ZERO, DomainId::ZERO);
    let fits = |bytes: usize| {
        let body = PutKeySlots { store, domain, slots: vec![7; bytes] };
        let body = crate::verbs::encode_body(&body);
        Envelope::new(1, Part::Request, PutKeySlots::NUMBER, body).sized().is_ok()
    };
    let mut most = limits::CONTROL_MESSAGE_BYTES_MAX;
    while !fits(most) {
        most -= 1;
    }
    let work = async |client: ControlClient| {
        let large = PutKeySlots { store, domain, slots: vec![7; most] };
        // The answer carries as much; fields that its reader does not know are passed over.
        client.call(large).await?;
        let error = client.call(PutKeySlots { store, domain, slots: vec![7; most + 1] }).await;
        let error = error.unwrap_err();
        assert!(matches!(error, ControlError::TooLarge { .. }), "{error}");
        client.call(Ping {}).await
    };
    let (done, [up, down]) = hosts.session(as_it_is(), as_it_is(), work).await;
    done.unwrap();
    assert_eq!(*hosts.asked.0.lock().unwrap(), ["put-key-slots", "ping"]);
    for said in [up, down] {
        assert!(said[LINES + 1].len() > most, "{}", said[LINES + 1].len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_announced_length_beyond_the_limit_ends_the_session_before_it_is_read() {
    let hosts = Hosts::new();
    let beyond = (limits::CONTROL_MESSAGE_BYTES_MAX + 128 + 16 + 1) as u32;
    let up: Change = Box::new(move |number, mut part| {
        if number == LINES + 1 {
            part[..4].copy_from_slice(&beyond.to_be_bytes());
        }
        vec![part]
    });
    let (done, _) = hosts.session(up, as_it_is(), async |client| client.call(Ping {}).await).await;
    let error = done.unwrap_err();
    assert!(error.to_string().contains(&format!("{beyond} bytes was announced")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_version_is_named_by_both_sides() {
    let hosts = Hosts::new();
    let newer: fn() -> Change = || {
        Box::new(|number, part| match number {
            0 => vec![String::from_utf8(part).unwrap().replacen(" 1 ", " 7 ", 1).into_bytes()],
            _ => vec![part],
        })
    };
    let nothing = async |_: ControlClient| Ok(());
    for (up, down) in [(newer(), as_it_is()), (as_it_is(), newer())] {
        let error = hosts.session(up, down, nothing).await.0.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("version 7 of CTRL meets version 1"), "{text}");
        assert_eq!(error.kind(), Kind::Unreachable);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stops_half_way_is_shown_out_in_time() {
    let hosts = Hosts::new();
    for stop_after in 0..LINES {
        let (mut near, far) = duplex(1 << 20);
        let begun = tokio::time::Instant::now();
        let listening = hosts.listen(far);
        if stop_after == 1 {
            let (_, call) = crate::ctrl::handshake::Called::new().unwrap();
            near.write_all(call.as_bytes()).await.unwrap();
            next(&mut near, 0).await.unwrap();
        }
        assert_eq!(listening.await.unwrap(), "no log-in in time");
        let limit = Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS);
        assert!(begun.elapsed() <= limit + Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}
