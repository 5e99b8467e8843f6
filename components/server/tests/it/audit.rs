//! The audit log, from the acts to somebody with a database tool.

use simsim_server::api::*;

use crate::suite::{Suite, root, until};

#[tokio::test(flavor = "multi_thread")]
async fn acts_are_written_down_and_tampering_is_found() {
    let mut suite = Suite::with_datastore().await;
    suite.add_task("home", "vault", &suite.tree("tree")).await;
    let rows = suite.server().audit(&root(), AuditListRequest::default()).await.unwrap().rows;
    let verbs: Vec<_> = rows.iter().map(|row| row.entry.verb.as_str()).collect();
    assert_eq!(verbs, ["server.start", "datastore.create", "task.add"]);
    assert!(rows.iter().all(|row| row.entry.allowed));
    let newest = AuditListRequest { limit: 2, newest: true, ..AuditListRequest::default() };
    assert_eq!(suite.server().audit(&root(), newest).await.unwrap().rows, rows[1..]);
    let oldest = AuditListRequest { limit: 2, ..AuditListRequest::default() };
    assert_eq!(suite.server().audit(&root(), oldest).await.unwrap().rows, rows[..2]);
    let good = suite.server().verify_audit(&root()).await.unwrap();
    assert!(good.holds && good.rows == 3, "{good:?}");
    suite.stop_server().await;

    let folder = suite.state().join("server");
    let path = folder.join("catalog.db");
    until("the catalog is let go", || async {
        std::fs::File::open(folder.join("catalog.lock")).unwrap().try_lock().is_ok()
    })
    .await;
    {
        let raw = rusqlite::Connection::open(&path).unwrap();
        raw.execute_batch(
            "DELETE FROM audit WHERE position = 3;
             UPDATE audit_head SET position = 2,
                 row_hash = (SELECT row_hash FROM audit WHERE position = 2)",
        )
        .unwrap();
    }
    suite.start_server().await.unwrap();
    let found = suite.server().verify_audit(&root()).await.unwrap();
    assert!(!found.holds, "the end that was kept beside the catalog tells");
    assert!(found.finding.unwrap().contains("row 3"));
}
