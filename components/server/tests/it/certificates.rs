//! Certificates for other people's tools: given, renewed in time, given again where they were lost.

use std::sync::Arc;
use std::time::Duration;

use simsim_control::verbs::{InstallCertificateReply, NodeStateReply, Request, Roles};
use simsim_net::tls::TlsIdentity;

use crate::suite::{Suite, root, until};

const DAY_MS: i64 = 86_400_000;

/// A suite whose own host has a TLS key, and whose certificates are looked at all the time.
/// Also the certificate with which it begins, which vouches for itself.
async fn suite() -> (Suite, Arc<TlsIdentity>, [u8; 32]) {
    let often = Duration::from_millis(100);
    let suite = Suite::start_with(|config| config.certificates_looked_at = often).await;
    let identity = Arc::new(TlsIdentity::open(suite.folder.path(), &["vault".into()]).unwrap());
    let (shown, own) = (Arc::clone(&identity), identity.certificate_digest());
    suite.host.answer_first(Arc::new(move |request| match request {
        Request::NodeState(_) => Some(Ok(NodeStateReply {
            name: "vault".to_owned(),
            roles: Roles { device: true, ..Roles::CLIENT },
            tls_key: shown.pin().0.to_vec(),
            tls_public_key: shown.public_key().unwrap(),
            tls_certificate: shown.certificate_digest().to_vec(),
            ..NodeStateReply::default()
        }
        .into())),
        Request::InstallCertificate(request) => {
            shown.install(&request.chain).unwrap();
            Some(Ok(InstallCertificateReply {}.into()))
        }
        _ => None,
    }));
    (suite, identity, own)
}

impl Suite {
    /// Lets the last certificate be so much older.
    fn set_back(&self, days: i64) {
        let catalog = rusqlite::Connection::open(self.state().join("server/catalog.db")).unwrap();
        catalog.busy_timeout(Duration::from_secs(30)).unwrap();
        let (name, value): (String, Vec<u8>) = catalog
            .query_row(
                "SELECT name, value FROM settings WHERE name GLOB 'tls.certificate.*'",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        let mut given: serde_json::Value = serde_json::from_slice(&value).unwrap();
        let issued = given["issued_unix_ms"].as_i64().unwrap() - days * DAY_MS;
        given["issued_unix_ms"] = issued.into();
        let value = serde_json::to_vec(&given).unwrap();
        catalog.execute("UPDATE settings SET value = ?2 WHERE name = ?1", (name, value)).unwrap();
    }

    /// To the nearest day.
    async fn certificate_days_left(&self) -> i64 {
        let hosts = self.server().check_hosts(&root()).await.unwrap();
        let until = hosts[0].certificate_until_unix_ms.unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        (until - now + DAY_MS / 2).div_euclid(DAY_MS)
    }
}

async fn until_another(identity: &TlsIdentity, before: [u8; 32]) -> [u8; 32] {
    until("another certificate is shown", || async { identity.certificate_digest() != before })
        .await;
    identity.certificate_digest()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_after_two_thirds_of_its_life_while_everything_runs() {
    let (suite, identity, own) = suite().await;
    let first = until_another(&identity, own).await;
    until("it is written down", || async {
        suite.server().check_hosts(&root()).await.unwrap()[0].certificate_until_unix_ms.is_some()
    })
    .await;
    assert_eq!(suite.certificate_days_left().await, 90);

    suite.set_back(59);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(identity.certificate_digest(), first, "31 days are left");
    assert_eq!(suite.certificate_days_left().await, 31);

    suite.set_back(1);
    let second = until_another(&identity, first).await;
    until("the new one counts", || async { suite.certificate_days_left().await == 90 }).await;

    // Long past its end, as at a host that was away for half a year.
    suite.set_back(180);
    until_another(&identity, second).await;
    until("the new one counts", || async { suite.certificate_days_left().await == 90 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_its_host_lost_is_given_again() {
    let (suite, identity, own) = suite().await;
    let first = until_another(&identity, own).await;
    // The host shows what it vouches for itself, as after its file was removed.
    let elsewhere = tempfile::tempdir().unwrap();
    let key = suite.folder.path().join("tls.key");
    std::fs::copy(key, elsewhere.path().join("tls.key")).unwrap();
    let lost = TlsIdentity::open(elsewhere.path(), &["vault".into()]).unwrap();
    let pem = std::fs::read_to_string(elsewhere.path().join("tls.crt")).unwrap();
    assert_eq!(lost.pin(), identity.pin());
    identity.install(&pem).unwrap();
    let again = until_another(&identity, lost.certificate_digest()).await;
    assert_ne!(again, first);
}
