//! Rate limits, from the desk to the bytes of a real job.

use simsim_catalog::JobState;
use simsim_model::{Kind, Level, Outcome};
use simsim_server::api::*;
use simsim_server::{Grant, Principal, Right};

use crate::suite::{Suite, noise, root, until};

impl Suite {
    async fn limit(&self, host: Option<&str>, network: Option<&str>, rates: &[&str]) -> RateReply {
        let request = AddRateRequest {
            host: host.map(str::to_owned),
            network: network.map(str::to_owned),
            rates: rates.iter().map(|rate| (*rate).to_owned()).collect(),
        };
        self.server().add_rate(&root(), request).await.unwrap()
    }

    async fn unlimit(&self, number: u64) -> RateReply {
        self.server().remove_rate(&root(), RateRequest { number }).await.unwrap()
    }

    async fn limited(&self, job: u64) -> Option<(u64, String)> {
        let limited = self.job(job).await.job.limited?;
        Some((limited.bytes_per_s, limited.by))
    }

    /// A folder that takes ten minutes at the least rate there is.
    fn large_tree(&self, name: &str) -> std::path::PathBuf {
        let tree = self.folder.path().join(name);
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("large.bin"), noise(6_000_000)).unwrap();
        tree
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_a_job_that_says_so_and_a_change_is_felt_while_it_runs() {
    let suite = Suite::with_datastore().await;
    let _desk = suite.join_host("desk", false).await;
    suite.add_task("slow", "desk", &suite.large_tree("slow")).await;
    suite.add_task("free", "vault", &suite.large_tree("free")).await;

    let host = suite.limit(Some("desk"), None, &["10KB/s"]).await;
    assert_eq!(host.untold, [""; 0]);
    assert_eq!((host.rate.now_bytes_per_s, host.rate.until_unix_ms), (Some(10_000), None));
    let job = suite.run("slow", Level::Full).await;
    until("the job is limited", || async { suite.limited(job).await.is_some() }).await;
    assert_eq!(suite.limited(job).await, Some((10_000, "host desk".to_owned())));
    let free = suite.backup("free", Level::Full).await;
    assert_eq!(free.state.outcome(), Some(Outcome::Finished), "{free:#?}");
    assert_eq!(free.limited, None);

    // The lowest counts: a higher one beside it changes nothing, and holds when the lower one goes.
    let network = suite.limit(None, Some("127.0.0.0/8"), &["unlimited", "20KB/s"]).await;
    assert_eq!(suite.limited(job).await, Some((10_000, "host desk".to_owned())));
    suite.unlimit(host.rate.number).await;
    assert_eq!(suite.limited(job).await, Some((20_000, "network 127.0.0.0/8".to_owned())));
    let all = suite.limit(None, None, &["15KB/s"]).await;
    assert_eq!(suite.limited(job).await, Some((15_000, "all".to_owned())));
    let view = suite.server().rates(&root()).await.unwrap();
    let numbers: Vec<u64> = view.rates.iter().map(|rate| rate.number).collect();
    assert_eq!(numbers, [network.rate.number, all.rate.number]);
    assert_eq!(suite.job(job).await.job.state, JobState::Running, "6 MB at 10 to 20 KB/s");

    suite.unlimit(network.rate.number).await;
    suite.unlimit(all.rate.number).await;
    let ended = suite.ended(job).await;
    assert_eq!(ended.state.outcome(), Some(Outcome::Finished), "{ended:#?}");
    assert_eq!(ended.limited, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_comes_while_a_job_runs_holds_its_restore_and_outlives_the_server() {
    let mut suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.large_tree("tree")).await;
    let saveset = suite.saved("home", Level::Full).await;
    suite.limit(Some("vault"), None, &["10KB/s"]).await;
    suite.stop_server().await;
    suite.start_server().await.unwrap();
    let request = RestoreRequest {
        saveset,
        target: Some(suite.folder.path().join("back").display().to_string()),
        ..RestoreRequest::default()
    };
    let job = suite.server().restore(&root(), request).await.unwrap().job;
    until("the job is limited", || async { suite.limited(job).await.is_some() }).await;
    let view = suite.server().rates(&root()).await.unwrap();
    suite.unlimit(view.rates[0].number).await;
    let ended = suite.ended(job).await;
    assert_eq!(ended.state.outcome(), Some(Outcome::Finished), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_refused_with_the_reason_written_down_and_told_to_whom_is_there() {
    let suite = Suite::with_datastore().await;
    let far = suite.join_host("far", true).await;
    until("the device is reached", || async {
        let clients = suite.server().clients(&root()).await.unwrap();
        let far = clients.iter().find(|client| client.name == "far").unwrap();
        far.connected && far.roles.iter().any(|role| role == "device")
    })
    .await;
    let add = async |host: Option<&str>, network: Option<&str>, rates: &[&str]| {
        let request = AddRateRequest {
            host: host.map(str::to_owned),
            network: network.map(str::to_owned),
            rates: rates.iter().map(|rate| (*rate).to_owned()).collect(),
        };
        suite.server().add_rate(&root(), request).await
    };
    for (host, network, rates, why) in [
        (None, None, vec![], "from 1 to 16 rates"),
        (None, None, vec!["fast"], "no rate"),
        (Some("nobody"), None, vec!["1MB/s"], "nobody"),
        (None, Some("10.0.0.1/8"), vec!["1MB/s"], "did you mean 10.0.0.0/8"),
        (Some("far"), Some("10.0.0.0/8"), vec!["1MB/s"], "a host or for a network"),
    ] {
        let error = add(host, network, &rates).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let error = suite.server().remove_rate(&root(), RateRequest { number: 7 }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let grants = vec![Grant::of(Right::View)];
    let viewer = Principal::with_grants("operator:kim", grants);
    let request = AddRateRequest { rates: vec!["1MB/s".to_owned()], ..AddRateRequest::default() };
    let error = suite.server().add_rate(&viewer, request).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    suite.server().rates(&viewer).await.unwrap();

    far.vanish();
    until("it is lost", || async {
        let clients = suite.server().clients(&root()).await.unwrap();
        !clients.iter().find(|client| client.name == "far").unwrap().connected
    })
    .await;
    let reply = add(Some("far"), None, &["mon-fri 08:00-18:00 5MB/s"]).await.unwrap();
    assert!(reply.untold.len() == 1 && reply.untold[0].contains("'far'"), "{reply:?}");
    assert_eq!(reply.rate.rates, ["mon,tue,wed,thu,fri 08:00-18:00 5MB/s"]);
    assert!(reply.rate.until_unix_ms.is_some(), "it changes within a week");
    suite.unlimit(reply.rate.number).await;
    let rows = suite.server().audit(&root(), AuditListRequest::default()).await.unwrap().rows;
    let of = |verb: &str, allowed: bool| {
        rows.iter().filter(|row| row.entry.verb == verb && row.entry.allowed == allowed).count()
    };
    assert_eq!((of("rate.add", false), of("rate.remove", true)), (1, 2));
    let kept = rows.iter().find(|row| row.entry.detail.contains("08:00-18:00")).unwrap();
    assert_eq!(
        (kept.entry.verb.as_str(), kept.entry.object.as_str()),
        ("rate.add", "client 'far'")
    );
}
