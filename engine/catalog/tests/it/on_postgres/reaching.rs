//! The way to the server: TLS, passwords, and what is said when there is none.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use simsim_catalog::{Catalog, CatalogError, CatalogOptions, CatalogPlace, PostgresPlace};
use simsim_model::Kind;
use simsim_testkit::free_ports;

use super::on;
use crate::fixture::{AUDIT_KEY, On, furnish};

fn open(url: &str, password_file: &Path) -> Result<Catalog, CatalogError> {
    let place = CatalogPlace::Postgres(PostgresPlace::parse(url, password_file)?);
    Catalog::open(&CatalogOptions { place, audit_key: AUDIT_KEY, now_unix_ms: 1 })
}

/// An authority and a certificate of it for a name, in PEM: authority, certificate, key.
fn certificate(name: &str) -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (pem, params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

fn kept(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

#[test]
fn over_a_network_the_server_proves_its_name_and_the_user_has_a_password() {
    let Some(on) = on() else { return };
    let On::Postgres(postgres) = on else { return };
    postgres.sql("postgres", "CREATE ROLE simsim LOGIN PASSWORD 'wo:rd'");
    postgres.sql("postgres", "CREATE SCHEMA theirs AUTHORIZATION simsim");
    let port = free_ports(1)[0];
    let (authority, certificate_pem, key) = certificate("localhost");
    postgres.listen_with_tls(port, &certificate_pem, &key);
    let folder = tempfile::tempdir().unwrap();
    let roots = kept(folder.path(), "roots.pem", &authority);
    let (stranger, _, _) = certificate("localhost");
    let strangers = kept(folder.path(), "strangers.pem", &stranger);
    let right =
        kept(folder.path(), "right", "other.example:*:*:*:no\nlocalhost:*:*:simsim:wo\\:rd\n");
    let wrong = kept(folder.path(), "wrong", "*:*:*:*:wrong\n");
    let at = |host: &str, roots: &Path| {
        format!(
            "postgresql://simsim@{host}:{port}/postgres?sslrootcert={}&options=-csearch_path%3Dtheirs",
            roots.display()
        )
    };
    let catalog = open(&at("localhost", &roots), &right).unwrap();
    furnish(&catalog);
    drop(catalog);
    let by_parameter = format!("{}&passfile={}", at("localhost", &roots), right.display());
    assert_eq!(open(&by_parameter, &wrong).unwrap().clients().unwrap().len(), 1);

    let error = open(&at("localhost", &roots), &wrong).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error:?}");
    let error = open(&at("localhost", &roots), Path::new("/nonexistent")).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
    assert!(error.to_string().contains("HOST:PORT:DATABASE:USER:PASSWORD"), "{error}");
    // Another host that has a certificate, and a server whose certificate somebody else signed.
    open(&at("127.0.0.1", &roots), &right).unwrap_err();
    open(&at("localhost", &strangers), &right).unwrap_err();
    // Without TLS this server lets nobody in.
    let plain = format!("postgresql://simsim@localhost:{port}/postgres?sslmode=disable");
    assert_eq!(open(&plain, &right).unwrap_err().kind(), Kind::Denied);
}

#[test]
fn what_is_not_there_is_named() {
    let Some(on) = on() else { return };
    let On::Postgres(postgres) = on else { return };
    let nowhere = Path::new("/nonexistent");
    let error = open(&postgres.url("nothing"), nowhere).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error:?}");
    postgres.sql("postgres", "CREATE ROLE guest LOGIN");
    let guest = postgres.url("postgres").replace("backup@", "guest@");
    let error = open(&guest, nowhere).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error:?}");
    let port = free_ports(1)[0];
    let silent = format!("postgresql://simsim@127.0.0.1:{port}/postgres?sslmode=disable");
    let error = open(&silent, nowhere).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error:?}");
}

#[test]
fn a_database_that_is_not_in_utf8_is_refused() {
    let Some(on) = on() else { return };
    let On::Postgres(postgres) = on else { return };
    // A database cannot be made within a transaction, in which `sql` runs its statements.
    let made = postgres.shell("createdb -T template0 --encoding=LATIN1 --locale=C latin");
    assert!(made.status.success(), "{made:?}");
    let error = open(&postgres.url("latin"), Path::new("/nonexistent")).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
    assert!(error.to_string().contains("UTF8"), "{error}");
}
