//! Plain streams: a command of the client's policy, cut and sealed at the device.

use std::io::Read;
use std::path::Path;

use simsim_control::verbs::*;
use simsim_model::*;
use simsim_transfer::{HttpTransfer, Route};

use crate::bench::*;

fn policy(bench: &Bench, commands: &[(&str, &str)]) {
    let text: String = commands
        .iter()
        .map(|(name, script)| {
            format!("[commands.{name}]\nrun = [\"/bin/sh\", \"-c\", '''{script}''']\n")
        })
        .collect();
    std::fs::create_dir_all(bench.path("client")).unwrap();
    std::fs::write(bench.path("client/policy.toml"), text).unwrap();
}

fn start(bench: &Bench, ticket: &Ticket, command: &str) -> StartBackup {
    StartBackup {
        kind: TargetKind::Stream,
        stream_command: Some(command.into()),
        sources: Vec::new(),
        domain_key: None,
        ..bench.start_backup(ticket, Path::new("/"), None)
    }
}

#[test]
fn the_output_of_a_command_becomes_a_saveset_with_one_file() {
    run(async {
        let bench = Bench::new().await;
        let content = noise(5_000_000, 77);
        std::fs::write(bench.path("dump"), &content).unwrap();
        let dump = bench.path("dump").display().to_string();
        policy(&bench, &[("dump", &format!("cat {dump}; echo done >&2"))]);
        let saveset = bench.saveset();
        let ticket = bench.ticket(Direction::Backup, saveset);
        bench.grant(&ticket, Some(Level::Full), Some(key())).await;
        let result = bench.client(start(&bench, &ticket, "dump")).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        assert_eq!(result.commit.unwrap().saveset, saveset);
        assert_eq!(result.snapshot.bytes_read, 5_000_000);
        assert!(result.problems.iter().any(|note| note.message.contains("done")));
        assert!(bench.state(&ticket).await.unwrap().committed);

        let target = bench.path("target");
        let restored = bench.restore(saveset, &target).await;
        assert_eq!(restored.outcome, Outcome::Finished, "{restored:?}");
        assert!(std::fs::read(target.join("documents")).unwrap() == content);

        for offset in [0, 1, 262_143, 4_999_999, 5_000_000, 6_000_000] {
            let ticket = bench.ticket(Direction::Restore, saveset);
            bench.grant(&ticket, None, Some(key())).await;
            let address = bench.address.strip_prefix("http://").unwrap().to_owned();
            let handle = tokio::runtime::Handle::current();
            let read = tokio::task::spawn_blocking(move || {
                let transfer =
                    HttpTransfer::open(handle, vec![Route::http(vec![address])], ticket).unwrap();
                let mut bytes = Vec::new();
                transfer.stream_get(offset).read_to_end(&mut bytes).unwrap();
                transfer.close().unwrap();
                bytes
            })
            .await
            .unwrap();
            let expected = content.get(offset as usize..).unwrap_or_default();
            assert!(read == expected, "from {offset}: {} bytes", read.len());
        }
    });
}

#[test]
fn an_empty_stream_is_a_saveset_too() {
    run(async {
        let bench = Bench::new().await;
        policy(&bench, &[("nothing", "true")]);
        let saveset = bench.saveset();
        let ticket = bench.ticket(Direction::Backup, saveset);
        bench.grant(&ticket, Some(Level::Full), Some(key())).await;
        let result = bench.client(start(&bench, &ticket, "nothing")).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        bench.restore(saveset, &bench.path("target")).await;
        assert_eq!(std::fs::read(bench.path("target/documents")).unwrap(), b"");
    });
}

#[test]
fn a_command_that_fails_or_is_unknown_leaves_no_saveset() {
    run(async {
        let bench = Bench::new().await;
        policy(&bench, &[("broken", "head -c 3000000 /dev/zero; echo no disk >&2; exit 3")]);
        for (command, kind, word) in
            [("broken", Kind::Internal, "no disk"), ("other", Kind::Denied, "[commands.other]")]
        {
            let saveset = bench.saveset();
            let ticket = bench.ticket(Direction::Backup, saveset);
            bench.grant(&ticket, Some(Level::Full), Some(key())).await;
            let result = bench.client(start(&bench, &ticket, command)).await.unwrap().result;
            assert_eq!(result.outcome, Outcome::Failed, "{result:?}");
            let error = result.error.unwrap();
            assert_eq!(error.kind, kind);
            assert!(error.message.contains(word), "{}", error.message);
            assert!(!bench.state(&ticket).await.unwrap().committed);
            let get = GetManifest { store: STORE, saveset, offset: 0 };
            assert_eq!(bench.device(get).await.unwrap_err().kind, Kind::NotFound);
        }
    });
}

#[test]
fn a_cancelled_command_is_killed_with_its_children() {
    run(async {
        let bench = Bench::new().await;
        let mark = bench.path("pid").display().to_string();
        policy(&bench, &[("endless", &format!("sleep 600 & echo $! > {mark}; cat /dev/zero"))]);
        let ticket = bench.ticket(Direction::Backup, bench.saveset());
        bench.grant(&ticket, Some(Level::Full), Some(key())).await;
        let job = ticket.job;
        let request: Request = start(&bench, &ticket, "endless").into();
        let client = std::sync::Arc::clone(&bench.client);
        let running = tokio::spawn(async move { client.handle(&request, &|_| ()).await });
        until("the command runs", async || {
            std::fs::read_to_string(&mark).is_ok_and(|pid| pid.ends_with('\n'))
        })
        .await;
        assert!(bench.client(CancelJob { job }).await.unwrap().was_running);
        let Some(Ok(Reply::StartBackup(reply))) = running.await.unwrap() else {
            panic!("no reply")
        };
        assert_eq!(reply.result.outcome, Outcome::Cancelled, "{:?}", reply.result);
        let pid = std::fs::read_to_string(&mark).unwrap();
        until("the child is gone", async || {
            // A process that nobody waits for stays as a zombie.
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.map_or(true, |stat| stat.contains(") Z"))
        })
        .await;
    });
}
