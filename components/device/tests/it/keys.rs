//! Keys that only the client holds, and the policy of its owner.

use std::os::unix::ffi::OsStrExt;

use simsim_control::verbs::*;
use simsim_model::*;

use crate::bench::*;

#[test]
fn a_client_backs_up_and_restores_with_a_key_that_it_alone_holds() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let held = DomainKeyHeld { store: STORE, domain: DOMAIN };
        assert!(!bench.client(held.clone()).await.unwrap().held);

        let without = |bench: &Bench, ticket: &Ticket| StartBackup {
            domain_key: None,
            ..bench.start_backup(ticket, &source, None)
        };
        let ticket = bench.ticket(Direction::Backup, bench.saveset());
        let result = bench.client(without(&bench, &ticket)).await.unwrap().result;
        assert_eq!(result.error.unwrap().kind, Kind::Denied);

        let create = CreateHeldKey { store: STORE, domain: DOMAIN };
        let slots = bench.client(create).await.unwrap().slots;
        bench.device(PutKeySlots { store: STORE, domain: DOMAIN, slots }).await.unwrap();
        assert!(bench.client(held).await.unwrap().held);

        let saveset = bench.saveset();
        let ticket = bench.ticket(Direction::Backup, saveset);
        bench.grant(&ticket, Some(Level::Full), None).await;
        let result = bench.client(without(&bench, &ticket)).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");

        // The server's key opens nothing of it.
        let result = bench.restore(saveset, &bench.path("wrong")).await;
        assert_eq!(result.outcome, Outcome::Failed, "{result:?}");
        let ticket = bench.ticket(Direction::Restore, saveset);
        bench.grant(&ticket, None, None).await;
        let request =
            StartRestore { domain_key: None, ..bench.start_restore(&ticket, &bench.path("right")) };
        let result = bench.client(request).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
    });
}

#[test]
fn the_policy_is_asked_before_the_ticket_is_used() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let (saveset, _) = bench.backup(&source, None).await;
        let policy = format!(
            "[read]\npaths = [\"{}\"]\n[restore]\ntargets = [\"{}\"]\n",
            source.join("sub").display(),
            bench.path("allowed").display()
        );
        std::fs::create_dir_all(bench.path("client")).unwrap();
        std::fs::write(bench.path("client/policy.toml"), policy).unwrap();

        let ticket = bench.ticket(Direction::Backup, bench.saveset());
        bench.grant(&ticket, Some(Level::Full), None).await;
        let result = bench.client(bench.start_backup(&ticket, &source, None)).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Failed);
        let error = result.error.unwrap();
        assert_eq!(error.kind, Kind::Denied);
        assert!(error.message.contains("policy.toml"), "{}", error.message);
        assert!(!bench.state(&ticket).await.unwrap().opened);
        let request = bench.start_backup(&ticket, &source.join("sub"), None);
        assert_eq!(bench.client(request).await.unwrap().result.outcome, Outcome::Finished);

        let ticket = bench.ticket(Direction::Restore, saveset);
        bench.grant(&ticket, None, None).await;
        for target in [bench.path("elsewhere"), "".into(), "/".into()] {
            let mut request = bench.start_restore(&ticket, &target);
            // Each try is a job of its own.
            request.ticket.job = bench.number();
            let result = bench.client(request).await.unwrap().result;
            assert_eq!(result.error.unwrap().kind, Kind::Denied, "{}", target.display());
        }
        assert!(!bench.state(&ticket).await.unwrap().opened);
        assert!(!bench.path("elsewhere").exists());
        let mut request = bench.start_restore(&ticket, &bench.path("allowed"));
        request.selection = vec![source.join("hello.txt").as_os_str().as_bytes().to_vec()];
        let result = bench.client(request).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
    });
}
