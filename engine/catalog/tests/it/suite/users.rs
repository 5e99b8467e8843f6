//! Users, their API tokens and their sessions.

use simsim_catalog::{Catalog, ConsoleSession, NewApiToken};
use simsim_model::Kind;

use super::on;
use crate::fixture::*;

fn token(name: &str, hash: u8, user: Option<&str>) -> NewApiToken {
    NewApiToken {
        name: name.to_owned(),
        user: user.map(str::to_owned),
        grants: "[]".to_owned(),
        secret_hash: [hash; 32],
        created_by: "local:root".to_owned(),
        expires_unix_ms: Some(1_000),
    }
}

fn session(user: &str, at: i64) -> ConsoleSession {
    ConsoleSession {
        user: user.to_owned(),
        address: "192.0.2.1".to_owned(),
        created_unix_ms: at,
        used_unix_ms: at,
    }
}

fn names(catalog: &Catalog) -> Vec<String> {
    catalog.users().unwrap().into_iter().map(|user| user.name).collect()
}

#[test]
fn users_are_added_changed_and_removed_with_all_that_is_theirs() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let made = catalog.add_user("anna", "[1]", "hash", "local:root", 5).unwrap();
    assert_eq!((made.grants.as_str(), made.disabled, made.created_unix_ms), ("[1]", false, 5));
    assert_eq!(
        catalog.add_user("anna", "[]", "x", "local:root", 6).unwrap_err().kind(),
        Kind::Invalid
    );
    catalog.add_user("Bert", "[]", "hash", "local:root", 7).unwrap();
    assert_eq!(names(&catalog), ["Bert", "anna"]);
    assert_eq!(catalog.user("ANNA").unwrap_err().kind(), Kind::NotFound);
    assert!(!format!("{made:?}").contains("hash"), "{made:?}");

    catalog.add_api_token(&token("of-anna", 1, Some("anna")), 1).unwrap();
    catalog.add_api_token(&token("of-nobody", 2, None), 1).unwrap();
    catalog.add_console_session(&[3; 32], &session("anna", 1), 8).unwrap();
    assert_eq!(catalog.console_session(&[3; 32]).unwrap(), Some(session("anna", 1)));
    let changed = catalog.change_user("anna", "[2]", true).unwrap();
    assert_eq!((changed.grants.as_str(), changed.disabled), ("[2]", true));
    assert_eq!(catalog.console_session(&[3; 32]).unwrap(), None, "who is disabled is out");
    assert_eq!(catalog.change_user("nobody", "[]", true).unwrap_err().kind(), Kind::NotFound);

    catalog.add_console_session(&[4; 32], &session("anna", 1), 8).unwrap();
    catalog.set_password("anna", "other", "user:anna").unwrap();
    assert_eq!(catalog.console_session(&[4; 32]).unwrap(), None, "as with another password");
    assert_eq!(catalog.user("anna").unwrap().password_hash, "other");

    catalog.delete_user("anna").unwrap();
    assert_eq!(catalog.delete_user("anna").unwrap_err().kind(), Kind::NotFound);
    let left: Vec<_> = catalog.api_tokens().unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(left, ["of-nobody"]);
    assert_eq!(catalog.api_token_with_hash(&[1; 32]).unwrap(), None);
}

#[test]
fn wrong_log_ins_are_counted_and_a_one_time_password_serves_once() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    catalog.add_user("anna", "[]", "hash", "local:root", 5).unwrap();
    for failed in 1..4 {
        catalog.login_failed("anna", |count| Some(i64::from(count) * 10)).unwrap();
        let user = catalog.user("anna").unwrap();
        assert_eq!(user.failed_attempts, failed);
        assert_eq!(user.locked_until_unix_ms, Some(i64::from(failed) * 10));
    }
    catalog.login_failed("nobody", |_| None).unwrap();
    assert!(catalog.logged_in("anna", None, 50).unwrap());
    let user = catalog.user("anna").unwrap();
    assert_eq!((user.failed_attempts, user.locked_until_unix_ms), (0, None));
    assert_eq!(user.seen_unix_ms, Some(50));

    catalog.set_totp("anna", Some(b"sealed")).unwrap();
    assert_eq!(catalog.user("anna").unwrap().totp_sealed.as_deref(), Some(&b"sealed"[..]));
    assert!(catalog.logged_in("anna", Some(7), 60).unwrap());
    for used in [7, 6] {
        assert!(!catalog.logged_in("anna", Some(used), 61).unwrap(), "step {used} was taken");
    }
    assert!(catalog.logged_in("anna", Some(8), 62).unwrap());
    assert_eq!(catalog.set_totp("anna", None).unwrap().totp_sealed, None);
}

#[test]
fn an_api_token_is_found_by_its_hash_until_it_is_revoked_or_expires() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let nobodys = catalog.add_api_token(&token("a", 1, Some("no")), 1).unwrap_err();
    assert_eq!(nobodys.kind(), Kind::NotFound);
    let made = catalog.add_api_token(&token("a", 1, None), 1).unwrap();
    assert_eq!(catalog.api_token_with_hash(&[1; 32]).unwrap(), Some(made.clone()));
    assert_eq!(catalog.api_token_with_hash(&[2; 32]).unwrap(), None);
    assert!(made.is_valid(999) && !made.is_valid(1_000));
    assert_eq!(catalog.add_api_token(&token("a", 2, None), 2).unwrap_err().kind(), Kind::Invalid);
    for (at, noted) in [(100_000, 100_000), (159_000, 100_000), (160_000, 160_000)] {
        catalog.api_token_is_used("a", at).unwrap();
        assert_eq!(catalog.api_token("a").unwrap().used_unix_ms, Some(noted));
    }
    let revoked = catalog.revoke_api_token("a", 5).unwrap();
    assert!(!revoked.is_valid(6) && revoked.revoked_unix_ms == Some(5));
    assert_eq!(catalog.revoke_api_token("a", 7).unwrap(), revoked, "the first time counts");
    assert_eq!(catalog.revoke_api_token("b", 7).unwrap_err().kind(), Kind::NotFound);
    // A name is free again once nobody can use what it named; the old secret stays dead.
    catalog.add_api_token(&token("a", 2, None), 8).unwrap();
    assert_eq!(catalog.api_token_with_hash(&[1; 32]).unwrap(), None);
}

#[test]
fn a_user_has_so_many_sessions_and_they_end_one_by_one_or_in_time() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    catalog.add_user("anna", "[]", "hash", "local:root", 5).unwrap();
    catalog.add_user("bert", "[]", "hash", "local:root", 5).unwrap();
    catalog.add_console_session(&[100; 32], &session("bert", 1), 3).unwrap();
    for n in 1..=5_u8 {
        catalog.add_console_session(&[n; 32], &session("anna", i64::from(n) * 100), 3).unwrap();
    }
    let used: Vec<_> =
        catalog.console_sessions().unwrap().into_iter().map(|(_, one)| one.used_unix_ms).collect();
    assert_eq!(used, [500, 400, 300, 1]);
    catalog.console_session_is_used(&[5; 32], 60_499).unwrap();
    assert_eq!(catalog.console_session(&[5; 32]).unwrap().unwrap().used_unix_ms, 500);
    catalog.console_session_is_used(&[5; 32], 60_500).unwrap();
    assert_eq!(catalog.console_session(&[5; 32]).unwrap().unwrap().used_unix_ms, 60_500);
    catalog.end_console_session(&[4; 32]).unwrap();
    catalog.end_console_session(&[4; 32]).unwrap();
    assert_eq!(catalog.console_session(&[4; 32]).unwrap(), None);
    // Not used since, or begun too long ago.
    catalog.forget_console_sessions(301, 0).unwrap();
    assert_eq!(catalog.console_sessions().unwrap().len(), 1);
    catalog.forget_console_sessions(0, 501).unwrap();
    assert_eq!(catalog.console_sessions().unwrap(), []);
}
