//! Who holds keys.

use simsim_format::RecoveryKit;
use simsim_model::{Kind, Level, Outcome};
use simsim_server::api::*;
use simsim_server::look;

use crate::hosts::Host;
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
    for part in ["only client 'desk' holds", "simsim ls", "simsim rescue"] {
        assert!(error.to_string().contains(part), "who can, and how: {error}");
    }

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

/// A suite in which client "desk" alone holds the key of its domain, and one saveset of it.
async fn with_held_key() -> (Suite, Host, String) {
    let suite = Suite::with_datastore().await;
    let host = suite.join_host("desk", false).await;
    let request =
        CreateDomainRequest { client: "desk".to_owned(), datastore: None, held_by_client: true };
    let domain = suite.server().create_domain(&root(), request).await.unwrap();
    let held = domain.held.unwrap();
    assert_eq!((held.lost, held.kit_proven_unix_ms, held.kit_pages.len()), (false, None, 2));
    suite.add_task("home", "desk", &suite.tree("tree")).await;
    let saveset = suite.saved("home", Level::Full).await;
    (suite, host, saveset)
}

async fn warned(suite: &Suite, of: &str) -> bool {
    let status = suite.server().status(&root()).await.unwrap();
    status.warnings.iter().any(|warning| warning.contains(of))
}

/// The kit from the page on the client's host.
fn printed(host: &Host) -> RecoveryKit {
    let [text, _] = host.desk.client.held_keys().pages();
    let text = std::fs::read_to_string(text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("In one line: ")).unwrap();
    RecoveryKit::parse(line).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn savesets_whose_key_the_client_holds_are_looked_into_there_and_nowhere_else() {
    let (suite, host, first) = with_held_key().await;
    let tree = suite.folder.path().join("tree");
    std::fs::write(tree.join("new"), b"new").unwrap();
    let second = suite.saved("home", Level::Incr).await;
    let client = &host.desk.client;
    let listed = client.ask_server("saveset.list", "{}".to_owned()).await.unwrap();
    let listed: Vec<SavesetView> = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.len(), 2);
    let at = tree.display().to_string();
    let request =
        LsRequest { saveset: first.clone(), task: None, path: at.clone(), after: None, limit: 0 };
    let looked = client
        .look_into(std::slice::from_ref(&first), move |trees| look::ls(&trees[0], &request))
        .await
        .unwrap();
    let names: Vec<String> = looked.unwrap().entries.into_iter().map(|entry| entry.path).collect();
    assert_eq!(names, ["hello.txt", "link", "sub"].map(|name| format!("{at}/{name}")));
    let request = DiffRequest {
        from: first.clone(),
        to: second.clone(),
        path: at.clone(),
        after: None,
        limit: 0,
    };
    let looked = client
        .look_into(&[first.clone(), second], move |trees| {
            look::diff(&trees[0], &trees[1], &request)
        })
        .await
        .unwrap();
    let added: Vec<_> = looked
        .unwrap()
        .changes
        .into_iter()
        .filter(|change| change.change == ChangeKind::Added)
        .map(|change| change.path)
        .collect();
    assert_eq!(added, [format!("{at}/new")]);

    // Another client sees nothing of it, not even that it exists.
    let other = suite.join_host("other", false).await;
    let none = other.desk.client.ask_server("saveset.list", "{}".to_owned()).await.unwrap();
    assert_eq!(none, "[]");
    let peek = r#"{"client":"desk"}"#.to_owned();
    let none = other.desk.client.ask_server("saveset.list", peek).await.unwrap();
    assert_eq!(none, "[]", "it cannot ask for another one");
    let refused =
        other.desk.client.look_into(std::slice::from_ref(&first), |_| ()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound, "{refused}");
    let show = format!(r#"{{"saveset":"{first}"}}"#);
    let refused = other.desk.client.ask_server("saveset.show", show).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound, "{refused}");
    // Nor may anything else be asked.
    for verb in ["task.run", "key.kit", "client.revoke", "saveset.ls", "audit.list"] {
        let refused = client.ask_server(verb, "{}".to_owned()).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Denied, "{verb}: {refused}");
    }
    // A revoked client is not answered any more.
    let name = ClientRequest { name: "desk".to_owned() };
    suite.server().revoke_client(&root(), name).await.unwrap();
    let refused = client.ask_server("saveset.list", "{}".to_owned()).await.unwrap_err();
    assert!(matches!(refused.kind(), Kind::Unreachable | Kind::Denied), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_read_its_history_where_the_server_holds_the_key() {
    let suite = Suite::with_datastore().await;
    let host = suite.join_host("desk", false).await;
    suite.add_task("home", "desk", &suite.tree("tree")).await;
    let saveset = suite.saved("home", Level::Full).await;
    let refused = host.desk.client.look_into(&[saveset], |_| ()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Denied);
    assert!(refused.to_string().contains("look into it there"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_warns_until_the_kit_of_a_client_is_proven_there() {
    let (suite, host, _) = with_held_key().await;
    let warning = "recovery kit of client 'desk'";
    assert!(warned(&suite, warning).await);
    let client = &host.desk.client;
    let asked = client.kit_question().await.unwrap().unwrap();
    let groups = printed(&host).groups();
    let wrong = vec!["AAAAAA".to_owned(); 2];
    assert!(!client.prove_kit(wrong).await.unwrap().asked().is_empty());
    assert!(warned(&suite, warning).await);
    let asked = client.kit_question().await.unwrap().unwrap_or(asked);
    let typed = asked.iter().map(|place| groups[place - 1].clone()).collect();
    assert!(client.prove_kit(typed).await.unwrap().asked().is_empty());
    assert!(!warned(&suite, warning).await);
    let domain = &suite.server().domains(&root()).await.unwrap()[0];
    assert!(domain.held.as_ref().unwrap().kit_proven_unix_ms.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_kit_of_a_client_reaches_the_datastore_and_brings_lost_keys_back() {
    let (suite, host, saveset) = with_held_key().await;
    let client = &host.desk.client;
    let old = printed(&host);
    let (made, told) = client.renew_kit().await.unwrap();
    assert!(told && made.keys == 1);
    let new = printed(&host);
    assert!(new != old);
    let (store, domain) = {
        let domain = &suite.server().domains(&root()).await.unwrap()[0];
        (suite.server().datastores(&root()).await.unwrap()[0].store, domain.domain)
    };
    let request =
        simsim_control::verbs::Request::from(simsim_control::verbs::GetKeySlots { store, domain });
    let device = suite.host.desk.device.as_ref().unwrap();
    let reply = device.handle(&request, &|_| {}).await.unwrap().unwrap();
    let simsim_control::verbs::Reply::GetKeySlots(reply) = reply else { panic!("no slots") };
    let slots = simsim_format::KeySlots::decode(&reply.slots).unwrap();
    let key = client.held_keys().get(store, domain).unwrap().unwrap();
    assert!(slots.open(&new.wrapping_key()).unwrap() == key);
    assert!(slots.open(&old.wrapping_key()).is_err());

    // The host loses all its keys.
    let folder = host.folder.join("client/keys");
    std::fs::remove_dir_all(&folder).unwrap();
    let job = suite.backup("home", Level::Incr).await;
    let message = job.error.unwrap().message;
    assert!(message.contains("simsim key recover"), "{message}");
    client.kit_question().await.unwrap();
    let none = client.recover_keys(old).await.unwrap();
    assert_eq!((none.brought, none.sealed), (0, 1), "the kit that was replaced opens nothing");
    let done = client.recover_keys(new).await.unwrap();
    assert_eq!((done.brought, done.sealed), (1, 0));
    assert!(client.held_keys().get(store, domain).unwrap().unwrap() == key);
    client.look_into(&[saveset], |trees| trees[0].root().unwrap()).await.unwrap();
    suite.saved("home", Level::Incr).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_lost_at_its_client_is_warned_of_and_never_made_anew() {
    let (suite, host, _) = with_held_key().await;
    std::fs::remove_dir_all(host.folder.join("client/keys")).unwrap();
    let create =
        CreateDomainRequest { client: "desk".to_owned(), datastore: None, held_by_client: true };
    let domain = suite.server().create_domain(&root(), create).await.unwrap();
    assert!(domain.held.unwrap().lost);
    assert!(!host.folder.join("client/keys").exists(), "nothing was made in silence");
    assert!(warned(&suite, "does not hold it any more").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_client_cannot_hold_a_key_alone() {
    let suite = Suite::with_datastore().await;
    let create =
        CreateDomainRequest { client: "vault".to_owned(), datastore: None, held_by_client: true };
    let refused = suite.server().create_domain(&root(), create).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid, "{refused}");
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
