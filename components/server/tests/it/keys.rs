//! Who holds keys.

use simsim_format::RecoveryKit;
use simsim_model::{Kind, Level, Outcome};
use simsim_server::api::*;

use crate::suite::{Suite, root};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_client_holds_never_reaches_the_server() {
    let suite = Suite::with_datastore().await;
    let host = suite.join_host("desk", false).await;
    let request =
        CreateDomainRequest { client: "desk".to_owned(), datastore: None, held_by_client: true };
    let domain = suite.server().create_domain(&root(), request.clone()).await.unwrap();
    assert_eq!((domain.key_held_by.as_str(), domain.owner.as_deref()), ("client", Some("desk")));
    let same = suite.server().create_domain(&root(), request.clone()).await.unwrap();
    assert_eq!(same.domain, domain.domain);
    let other = CreateDomainRequest { held_by_client: false, ..request };
    let error = suite.server().create_domain(&root(), other).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");

    let tree = suite.tree("tree");
    suite.add_task("home", "desk", &tree).await;
    let saveset = suite.saved("home", Level::Full).await;
    let ls = LsRequest {
        saveset: saveset.clone(),
        task: None,
        path: String::new(),
        after: None,
        limit: 0,
    };
    let error = suite.server().ls(&root(), ls).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("run this at the client"), "{error}");

    let restore = |client: Option<&str>| RestoreRequest {
        saveset: saveset.clone(),
        client: client.map(str::to_owned),
        target: Some(suite.folder.path().join("restored").display().to_string()),
        ..RestoreRequest::default()
    };
    let job = suite.restore(restore(Some("vault"))).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Failed));
    assert!(job.error.unwrap().message.contains("does not hold it"));
    let job = suite.restore(restore(None)).await;
    assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");

    // Not in the catalog, not in any file of the server.
    let held = host
        .desk
        .client
        .held_keys()
        .get(suite.server().datastores(&root()).await.unwrap()[0].store, domain.domain);
    let key = held.unwrap().unwrap();
    for entry in std::fs::read_dir(suite.state().join("server")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(32).any(|window| window == key.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_and_no_secret_lies_in_the_catalog_in_clear() {
    let suite = Suite::with_datastore().await;
    let kit = suite.server().create_kit(&root()).await.unwrap();
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    suite.saved("home", Level::Full).await;
    let code = suite.server().create_join_code(&root(), JoinCodeRequest::default()).await.unwrap();
    let store = suite.server().datastores(&root()).await.unwrap()[0].store;
    let domain = suite.server().domains(&root()).await.unwrap()[0].domain;
    // The key itself, by way of the kit and the slots in the datastore.
    let slots = suite.host.desk.device.as_ref().unwrap();
    let request =
        simsim_control::verbs::Request::from(simsim_control::verbs::GetKeySlots { store, domain });
    let reply = slots.handle(&request, &|_| {}).await.unwrap().unwrap();
    let simsim_control::verbs::Reply::GetKeySlots(reply) = reply else { panic!("no slots") };
    let slots = simsim_format::KeySlots::decode(&reply.slots).unwrap();
    let parsed = RecoveryKit::parse(&kit.groups.join(" ")).unwrap();
    let key = slots.open(&parsed.wrapping_key()).unwrap();
    let secret = *simsim_control::JoinCode::parse(&code.code).unwrap().secret();

    for entry in std::fs::read_dir(suite.state().join("server")).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_string_lossy().starts_with("catalog") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        assert!(!holds(&key.0), "the domain key in {}", path.display());
        assert!(!holds(&secret), "a join secret in {}", path.display());
        assert!(!holds(kit.groups[0].as_bytes()), "the kit in {}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kit_opens_what_was_saved_before_and_after_it_and_only_the_newest_does() {
    let suite = Suite::with_datastore().await;
    let desk = suite.join_host("desk", false).await;
    suite.add_task("one", "vault", &suite.tree("tree")).await;
    suite.saved("one", Level::Full).await;
    let old = suite.server().create_kit(&root()).await.unwrap();
    assert_eq!((old.domains, old.pending.len()), (1, 0));
    let new = suite.server().create_kit(&root()).await.unwrap();
    suite.add_task("two", "desk", &suite.tree("tree2")).await;
    suite.saved("two", Level::Full).await;
    let wrapping =
        |kit: &KitReply| RecoveryKit::parse(&kit.groups.concat()).unwrap().wrapping_key();
    let domains = suite.server().domains(&root()).await.unwrap();
    assert_eq!(domains.len(), 2);
    let store = suite.server().datastores(&root()).await.unwrap()[0].store;
    let device = suite.host.desk.device.as_ref().unwrap();
    for domain in domains {
        let request = simsim_control::verbs::Request::from(simsim_control::verbs::GetKeySlots {
            store,
            domain: domain.domain,
        });
        let reply = device.handle(&request, &|_| {}).await.unwrap().unwrap();
        let simsim_control::verbs::Reply::GetKeySlots(reply) = reply else { panic!("no slots") };
        let slots = simsim_format::KeySlots::decode(&reply.slots).unwrap();
        assert!(slots.open(&wrapping(&new)).is_ok());
        assert!(slots.open(&wrapping(&old)).is_err());
    }
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_warns_until_the_kit_is_proven() {
    let suite = Suite::start().await;
    let server = suite.server();
    let status = server.status(&root()).await.unwrap();
    assert_eq!(status.kit, KitState::None);
    assert!(status.warnings.iter().any(|warning| warning.contains("no recovery kit")));
    let kit = server.create_kit(&root()).await.unwrap();
    assert_eq!(server.status(&root()).await.unwrap().kit, KitState::Unproven);
    assert_eq!(server.kit_question(&root()).await.unwrap(), kit.asked);
    let groups = kit.asked.iter().map(|at| kit.groups[at - 1].clone()).collect();
    let reply = server.prove_kit(&root(), KitProofRequest { groups }).await.unwrap();
    assert!(reply.proven);
    let status = server.status(&root()).await.unwrap();
    assert!(matches!(status.kit, KitState::Proven { .. }));
    assert!(!status.warnings.iter().any(|warning| warning.contains("kit")));
}
