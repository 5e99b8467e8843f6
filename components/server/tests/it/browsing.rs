//! Looking into savesets without restoring them.

use simsim_model::{Kind, Level};
use simsim_server::api::*;

use crate::suite::{Suite, root};

fn ls(task: &str, path: &str) -> LsRequest {
    LsRequest {
        saveset: String::new(),
        task: Some(task.to_owned()),
        path: path.to_owned(),
        after: None,
        limit: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saveset_is_listed_searched_and_compared() {
    let suite = Suite::with_datastore().await;
    let tree = suite.tree("tree");
    suite.add_task("home", "vault", &tree).await;
    let first = suite.saved("home", Level::Full).await;
    std::fs::write(tree.join("hello.txt"), b"changed").unwrap();
    std::fs::write(tree.join("new"), b"new").unwrap();
    std::fs::remove_file(tree.join("sub/deeper/empty")).unwrap();
    let second = suite.saved("home", Level::Incr).await;
    let server = suite.server();

    let at = tree.display().to_string();
    let reply = server.ls(&root(), ls("home", &at)).await.unwrap();
    assert_eq!(reply.saveset.to_string(), second, "the newest one of the task");
    let names: Vec<_> = reply
        .entries
        .iter()
        .map(|entry| (entry.path.strip_prefix(&at).unwrap(), entry.kind.as_str(), entry.bytes))
        .collect();
    assert_eq!(
        names,
        [
            ("/hello.txt", "file", 7),
            ("/link", "symlink", 0),
            ("/new", "file", 3),
            ("/sub", "directory", 300_000)
        ]
    );
    assert_eq!(reply.entries[1].link_target.as_deref(), Some("hello.txt"));

    let page = LsRequest { limit: 2, ..ls("home", &at) };
    let page = server.ls(&root(), page).await.unwrap();
    assert_eq!((page.entries.len(), page.more), (2, true));
    let page = LsRequest { after: Some("link".to_owned()), ..ls("home", &at) };
    let page = server.ls(&root(), page).await.unwrap();
    assert_eq!((page.entries.len(), page.more), (2, false));
    let one = server.ls(&root(), ls("home", &format!("{at}/hello.txt"))).await.unwrap();
    assert_eq!((one.entries.len(), one.entries[0].path.as_str()), (1, &*format!("{at}/hello.txt")));
    let none = server.ls(&root(), ls("home", "/not/there")).await.unwrap_err();
    assert_eq!(none.kind(), Kind::NotFound, "{none}");
    let top = server.ls(&root(), ls("home", "")).await.unwrap();
    assert_eq!(top.entries.len(), 1, "only the way to the source");

    let find = |pattern: &str, limit| FindRequest {
        saveset: first.clone(),
        task: None,
        pattern: pattern.to_owned(),
        path: String::new(),
        after: None,
        limit,
    };
    let found = server.find(&root(), find("*.txt", 0)).await.unwrap();
    assert_eq!(found.entries.len(), 1);
    assert!(found.entries[0].path.ends_with("/hello.txt"));
    let found = server.find(&root(), find("**/sub/*", 0)).await.unwrap();
    assert_eq!(found.entries.len(), 2, "{found:#?}");
    let found = server.find(&root(), find("*", 1)).await.unwrap();
    assert_eq!((found.entries.len(), found.more), (1, true));
    assert_eq!(server.find(&root(), find("[", 0)).await.unwrap_err().kind(), Kind::Invalid);

    let next = FindRequest { after: Some(found.entries[0].path.clone()), ..find("*", 1) };
    let next = server.find(&root(), next).await.unwrap();
    assert_ne!(next.entries[0].path, found.entries[0].path, "the next page goes on");

    let diff =
        DiffRequest { from: first.clone(), to: second, path: at.clone(), after: None, limit: 0 };
    let one = DiffRequest { limit: 1, ..diff.clone() };
    let one = server.diff(&root(), one).await.unwrap();
    assert_eq!((one.changes.len(), one.more), (1, true));
    let rest = DiffRequest { after: Some(one.changes[0].path.clone()), ..diff.clone() };
    let rest = server.diff(&root(), rest).await.unwrap();
    let diff = server.diff(&root(), diff).await.unwrap();
    assert!(!rest.more && one.changes.iter().chain(&rest.changes).eq(&diff.changes));
    let changes: Vec<_> = diff
        .changes
        .iter()
        .map(|change| (change.path.strip_prefix(&at).unwrap_or("?"), change.change))
        .filter(|(_, change)| *change != ChangeKind::Metadata)
        .collect();
    assert_eq!(
        changes,
        [
            ("/hello.txt", ChangeKind::Content),
            ("/new", ChangeKind::Added),
            ("/sub/deeper/empty", ChangeKind::Removed)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn savesets_are_named_by_the_beginning_of_their_id() {
    let suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    let id = suite.saved("home", Level::Full).await;
    let server = suite.server();
    let show = async |text: &str| {
        server.saveset(&root(), SavesetRequest { saveset: text.to_owned() }).await
    };
    assert_eq!(show(&id[..6]).await.unwrap().saveset.saveset.to_string(), id);
    assert_eq!(show(&id.to_uppercase()).await.unwrap().saveset.saveset.to_string(), id);
    assert_eq!(show("ab").await.unwrap_err().kind(), Kind::Invalid);
    assert_eq!(show("zzzzzz").await.unwrap_err().kind(), Kind::Invalid);
    let other = if id.starts_with("ffff") { "0000" } else { "ffff" };
    assert_eq!(show(other).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_finds_one_saveset_or_says_what_may_have_been_meant() {
    let suite = Suite::with_datastore().await;
    let tree = suite.tree("tree");
    suite.add_task("home", "vault", &tree).await;
    suite.add_task("mail", "vault", &tree).await;
    let first = suite.saved("home", Level::Full).await;
    let second = suite.saved("mail", Level::Full).await;
    let resolve = async |reference: &str| {
        let request = ResolveRequest { reference: reference.to_owned(), client: None };
        suite.server().resolve_saveset(&root(), request).await.unwrap()
    };
    let ids = |views: &[SavesetView]| -> Vec<String> {
        views.iter().map(|view| view.saveset.to_string()).collect()
    };
    assert_eq!(ids(&resolve("latest").await.matches), [&*second]);
    assert_eq!(ids(&resolve("latest:home").await.matches), [&*first]);
    assert_eq!(ids(&resolve("home").await.matches), [&*first], "a task's name");
    assert_eq!(ids(&resolve(&first).await.matches), [&*first]);
    assert_eq!(ids(&resolve(&first[..8].to_uppercase()).await.matches), [&*first]);

    let unknown = resolve("hom").await;
    assert_eq!((unknown.matches.len(), unknown.nearest_tasks), (0, vec!["home".to_owned()]));
    assert_eq!(ids(&unknown.nearest), [&*second, &*first], "the newest");
    // A last digit that is wrong: what shares the longest beginning is near.
    let last = if first.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &first[..31]);
    assert_eq!(ids(&resolve(&wrong).await.nearest), [&*first]);

    let request =
        ResolveRequest { reference: "latest".to_owned(), client: Some("other".to_owned()) };
    let other = suite.server().resolve_saveset(&root(), request).await.unwrap();
    assert!(other.matches.is_empty() && other.nearest.is_empty(), "not of that client");
}
