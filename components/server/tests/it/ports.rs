//! The port plan from a real catalog, and hosts as the server sees them.

use simsim_model::TargetKind;
use simsim_server::api::{
    ChooseInterfacesRequest, CreateDatastoreRequest, EndKind, JoinCodeRequest, PlanRow, PortPlan,
    SetInterfacesRequest,
};

use crate::suite::{Suite, root, task, until};

async fn reached(suite: &Suite, name: &str) {
    until("it is reached", || async {
        let clients = suite.server().clients(&root()).await.unwrap();
        clients.iter().any(|client| client.name == name && client.connected)
    })
    .await;
}

fn row<'a>(plan: &'a PortPlan, id: &str, from: &str, to: &str) -> Option<&'a PlanRow> {
    plan.rows.iter().find(|row| row.row == id && row.from.name == from && row.to.name == to)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_follows_what_is_configured_with_the_ports_that_hosts_told_of() {
    let suite = Suite::with_datastore().await;
    let server = suite.server();
    let plan = server.port_plan(&root()).await.unwrap();
    assert!(plan.rows.iter().all(|row| row.local), "one host needs no firewall: {plan:#?}");
    assert!(row(&plan, "http", "vault", "vault").is_some(), "it looks into its savesets");

    let desk = suite.join_host("desk", false).await;
    reached(&suite, "desk").await;
    let plan = server.port_plan(&root()).await.unwrap();
    let control = row(&plan, "smssh", "vault", "desk").unwrap();
    assert_eq!(control.first_port, desk.control.port());
    assert!(row(&plan, "http", "desk", "vault").is_none(), "nothing of it is backed up");
    assert!(!plan.rows.iter().any(|row| row.from.kind == EndKind::Anyone), "no code is valid");

    suite.add_task("docs", "desk", &suite.tree("tree")).await;
    server.create_join_code(&root(), JoinCodeRequest::default()).await.unwrap();
    let plan = server.port_plan(&root()).await.unwrap();
    let data = row(&plan, "http", "desk", "vault").unwrap();
    assert!(data.why[0].contains("task 'docs'") && !data.local, "{data:?}");
    let own = plan.hosts.iter().find(|host| host.name == "vault").unwrap();
    assert_eq!((own.role.as_str(), plan.hosts.len()), ("server", 2));
    let joins = plan.rows.iter().find(|row| row.from.kind == EndKind::Anyone).unwrap();
    assert_eq!((joins.row.as_str(), joins.from.anywhere), ("smssh", true));

    server
        .revoke_client(&root(), serde_json::from_str(r#"{"name":"desk"}"#).unwrap())
        .await
        .unwrap();
    let plan = server.port_plan(&root()).await.unwrap();
    assert!(!plan.rows.iter().any(|row| row.to.name == "desk" || row.from.name == "desk"));
}

/// The tool of a stream from outside reaches the server, whoever takes the data; the device only where the
/// stream is redirected.
#[tokio::test(flavor = "multi_thread")]
async fn external_tasks_have_their_ways_to_the_server() {
    let suite = Suite::with_datastore().await;
    let server = suite.server();
    let desk = suite.join_host("desk", false).await;
    let far = suite.join_host("far", true).await;
    reached(&suite, "far").await;
    let create = CreateDatastoreRequest {
        name: "vault".to_owned(),
        node: Some("far".to_owned()),
        path: suite.folder.path().join("far-store").display().to_string(),
        drive: None,
        jobs_max: None,
        cut: None,
    };
    server.create_datastore(&root(), create).await.unwrap();
    let mut request = task("dump", "desk", std::path::Path::new("dump"));
    request.kind = TargetKind::Stream;
    request.sources = vec!["dump".to_owned()];
    request.datastore = Some("vault".to_owned());
    request.options.external = true;
    server.add_task(&root(), request.clone()).await.unwrap();
    let plan = server.port_plan(&root()).await.unwrap();
    let external = row(&plan, "https", "desk", "vault").unwrap();
    assert!(external.why[0].contains("streams from outside"), "{external:?}");
    let relayed = row(&plan, "http", "vault", "far").unwrap();
    assert!(relayed.why.iter().any(|why| why.contains("relayed")), "{relayed:?}");
    assert!(row(&plan, "https", "desk", "far").is_none(), "relayed: {plan:#?}");
    assert!(
        row(&plan, "http", "desk", "far").is_none()
            && row(&plan, "http", "desk", "vault").is_none()
    );

    request.options.redirect = true;
    server.change_task(&root(), request).await.unwrap();
    let plan = server.port_plan(&root()).await.unwrap();
    assert!(row(&plan, "https", "desk", "vault").is_some(), "the server in any case");
    // By FTP where that is among the server's interfaces, with its range; by HTTPS no more.
    let set = |interfaces: &str| {
        serde_json::from_str(&format!(r#"{{"host":"vault","interfaces":[{interfaces}]}}"#)).unwrap()
    };
    server.set_interfaces(&root(), set(r#""ftpes://vault.test""#)).await.unwrap();
    let plan = server.port_plan(&root()).await.unwrap();
    let control = row(&plan, "ftp", "desk", "vault").unwrap();
    assert!(control.why[0].contains("streams from outside"), "{control:?}");
    assert!(row(&plan, "ftp-data", "desk", "vault").is_some(), "{plan:#?}");
    assert!(row(&plan, "https", "desk", "vault").is_none(), "{plan:#?}");
    assert!(row(&plan, "https", "desk", "far").is_none(), "nobody is sent on: {plan:#?}");
    let both = set(r#""https://vault.test","ftpes://vault.test?mode=active""#);
    server.set_interfaces(&root(), both).await.unwrap();
    let plan = server.port_plan(&root()).await.unwrap();
    assert!(row(&plan, "https", "desk", "vault").is_some(), "{plan:#?}");
    assert!(row(&plan, "ftp", "desk", "vault").is_some(), "{plan:#?}");
    assert!(row(&plan, "ftp-data", "desk", "vault").is_none(), "{plan:#?}");
    assert!(row(&plan, "ftp-data", "vault", "desk").is_some(), "{plan:#?}");
    drop((desk, far));
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_seen_with_their_clocks_and_names() {
    let suite = Suite::start().await;
    let desk = suite.join_host("desk", false).await;
    reached(&suite, "desk").await;
    let hosts = suite.server().check_hosts(&root()).await.unwrap();
    let one = hosts.iter().find(|host| host.name == "desk").unwrap();
    assert!(one.connected && one.trouble.is_none(), "{one:?}");
    assert!(one.clock_difference_ms.unwrap().abs() < 5_000, "{one:?}");
    assert!(one.round_trip_us.is_some() && one.names[0].trouble.is_none(), "{one:?}");
    drop(desk);
}

/// Whoever chooses one and whoever takes it away in the same moment: one of them is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_interface_is_never_chosen_and_gone() {
    let suite = Suite::with_datastore().await;
    let server = suite.server();
    let set = |urls: &[&str]| -> SetInterfacesRequest {
        serde_json::from_value(serde_json::json!({ "host": "vault", "interfaces": urls })).unwrap()
    };
    let choose = |choices: &[&str]| -> ChooseInterfacesRequest {
        let wish = serde_json::json!({ "client": "vault", "choices": choices });
        serde_json::from_value(wish).unwrap()
    };
    let (one, two) = ("http://vault.test", "http://other.test");
    for round in 0..60 {
        server.choose_interfaces(&root(), choose(&[])).await.unwrap();
        server.set_interfaces(&root(), set(&[one, two])).await.unwrap();
        let (takes, chooses) = (server.clone(), server.clone());
        let (without, with) = (set(&[one]), choose(&[two]));
        let taking = async move { takes.set_interfaces(&root(), without).await.is_ok() };
        let choosing = async move { chooses.choose_interfaces(&root(), with).await.is_ok() };
        // Who begins changes, so that each of them is first now and then.
        let (took, chose) = match round % 2 {
            0 => {
                let (taking, choosing) = (tokio::spawn(taking), tokio::spawn(choosing));
                (taking.await.unwrap(), choosing.await.unwrap())
            }
            _ => {
                let (choosing, taking) = (tokio::spawn(choosing), tokio::spawn(taking));
                (taking.await.unwrap(), choosing.await.unwrap())
            }
        };
        assert!(took != chose, "round {round}: taken {took}, chosen {chose}");
    }
}
