//! Users, their API tokens and their sessions.

use simsim_catalog::{
    Catalog, ConsoleSession, LifeChange, NewApiToken, NewIdentity, NewProvider, NewSecret,
    ProviderChange, User,
};
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
    catalog.set_password("anna", "other", "user:anna", 9).unwrap();
    assert_eq!(catalog.console_session(&[4; 32]).unwrap(), None, "as with another password");
    assert_eq!(catalog.user("anna").unwrap().password_hash.as_deref(), Some("other"));

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
    let begins = |seen: &User, step: Option<i64>, at: i64| {
        let session = session("anna", at);
        catalog.begin_console_session(seen, step, &[at as u8; 32], &session, 8).unwrap()
    };
    let seen = catalog.user("anna").unwrap();
    assert!(begins(&seen, None, 50));
    assert_eq!(catalog.console_session(&[50; 32]).unwrap(), Some(session("anna", 50)));
    let user = catalog.user("anna").unwrap();
    assert_eq!((user.failed_attempts, user.locked_until_unix_ms), (0, None));
    assert_eq!(user.seen_unix_ms, Some(50));

    catalog.set_totp("anna", Some(b"sealed")).unwrap();
    assert_eq!(catalog.user("anna").unwrap().totp_sealed.as_deref(), Some(&b"sealed"[..]));
    assert!(!begins(&seen, None, 51), "a second proof is asked for by now");
    let seen = catalog.user("anna").unwrap();
    assert!(begins(&seen, Some(7), 60));
    for used in [7, 6] {
        assert!(!begins(&seen, Some(used), 61), "step {used} was taken");
    }
    assert!(begins(&seen, Some(8), 62));
    assert_eq!(catalog.console_session(&[61; 32]).unwrap(), None);
    assert_eq!(catalog.set_totp("anna", None).unwrap().totp_sealed, None);
    assert!(!begins(&seen, Some(9), 63), "another second proof");

    // What shuts a user out shuts out a log-in that is under way.
    let seen = catalog.user("anna").unwrap();
    catalog.set_password("anna", "another", "local:root", 9).unwrap();
    assert!(!begins(&seen, None, 64), "another password");
    let seen = catalog.user("anna").unwrap();
    catalog.change_user("anna", "[]", true).unwrap();
    assert!(!begins(&seen, None, 65), "disabled");
    catalog.delete_user("anna").unwrap();
    catalog.add_user("anna", "[]", "another", "local:root", 6).unwrap();
    assert!(!begins(&seen, None, 66), "somebody else of that name");
    assert_eq!(catalog.console_sessions().unwrap(), []);
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
    let changed = catalog.change_api_token(&made, "[1]", None).unwrap().unwrap();
    assert_eq!((changed.grants.as_str(), changed.expires_unix_ms), ("[1]", None));
    assert_eq!(catalog.change_api_token(&made, "[2]", None).unwrap(), None, "seen before");
    assert_eq!(catalog.api_token("a").unwrap(), changed);
    let changed = catalog.change_api_token(&changed, "[1]", Some(1_000)).unwrap().unwrap();
    assert_eq!(changed.expires_unix_ms, Some(1_000));
    let revoked = catalog.revoke_api_token("a", 5).unwrap();
    assert_eq!(catalog.change_api_token(&changed, "[3]", None).unwrap(), None, "revoked");
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

fn identity(subject: &str, name: &str, grants: &str) -> NewIdentity {
    NewIdentity {
        provider: "corp".to_owned(),
        document: "{}".to_owned(),
        subject: subject.to_owned(),
        name: name.to_owned(),
        groups: "[\"ops\"]".to_owned(),
        grants: grants.to_owned(),
    }
}

#[test]
fn users_of_a_provider_are_known_by_their_subject_and_never_taken_for_one_with_a_password() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let new = NewProvider {
        name: "corp".to_owned(),
        document: "{}".to_owned(),
        secret: NewSecret::Sealed(vec![7]),
        enabled: true,
        alone: Some("local:root".to_owned()),
    };
    let made = catalog.add_identity_provider(&new, 5).unwrap();
    assert_eq!((made.secret, made.enabled), (Some(vec![7]), true));
    assert_eq!(catalog.add_identity_provider(&new, 6).unwrap_err().kind(), Kind::Invalid);
    catalog.set_provider_secret("corp", &NewSecret::Keep).unwrap();
    assert_eq!(catalog.identity_provider("corp").unwrap().secret, Some(vec![7]));
    catalog.set_provider_secret("corp", &NewSecret::None).unwrap();
    assert_eq!(catalog.identity_provider("corp").unwrap().secret, None);

    // Who is not there is made only where that was asked for.
    let one = identity("1", "kim", "[1]");
    assert_eq!(catalog.identity_signs_in(&one, false, 7).unwrap_err().kind(), Kind::NotFound);
    let kim = catalog.identity_signs_in(&one, true, 8).unwrap();
    assert_eq!((kim.name.as_str(), kim.grants.as_str()), ("kim", "[1]"));
    assert_eq!((kim.password_hash, kim.subject.as_deref()), (None, Some("1")));
    // The subject counts, whatever the name has become meanwhile; another one never gets that name.
    let renamed = catalog.identity_signs_in(&identity("1", "kimberly", "[2]"), true, 9).unwrap();
    assert_eq!((renamed.name.as_str(), renamed.grants.as_str()), ("kim", "[2]"));
    assert_eq!(
        catalog.identity_signs_in(&identity("2", "kim", "[]"), true, 9).unwrap_err().kind(),
        Kind::Invalid
    );
    assert_eq!(catalog.user_of_subject("corp", "1").unwrap().unwrap().name, "kim");
    assert_eq!(catalog.user_of_subject("corp", "3").unwrap(), None);
    // A user with a password is somebody else.
    catalog.add_user("anna", "[]", "hash", "local:root", 5).unwrap();
    assert_eq!(
        catalog.identity_signs_in(&identity("3", "anna", "[9]"), true, 9).unwrap_err().kind(),
        Kind::Invalid
    );
    assert_eq!(catalog.user("anna").unwrap().grants, "[]");
    // One who was announced is bound at the first time.
    catalog.add_user_of_provider("bert", "corp", 5).unwrap();
    assert_eq!(catalog.add_user_of_provider("bert", "corp", 5).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(catalog.add_user_of_provider("carl", "none", 5).unwrap_err().kind(), Kind::NotFound);
    let bert = catalog.identity_signs_in(&identity("4", "bert", "[4]"), false, 9).unwrap();
    assert_eq!(bert.subject.as_deref(), Some("4"));

    // Who was asked about by what the provider was before gets nothing by it.
    let of_before = NewIdentity { document: "{0}".to_owned(), ..identity("1", "kim", "[9]") };
    let changed = catalog.identity_signs_in(&of_before, true, 9).unwrap_err();
    assert!(changed.to_string().contains("meanwhile"), "{changed}");
    assert_eq!(catalog.user("kim").unwrap().grants, "[2]");

    // Changed together with what its users may; where it is off, they are out.
    catalog.add_console_session(&[3; 32], &session("kim", 1), 8).unwrap();
    let change = |enabled| ProviderChange {
        name: "corp".to_owned(),
        document: "{1}".to_owned(),
        enabled,
        alone: None,
        grants: vec![("kim".to_owned(), "[5]".to_owned())],
    };
    let apply = |change: ProviderChange| {
        let decide = move |_: &_| ((), vec![LifeChange::Provider(change.clone())]);
        catalog.change_lives(9, decide).unwrap();
    };
    apply(change(true));
    assert_eq!(catalog.user("kim").unwrap().grants, "[5]");
    assert!(catalog.console_session(&[3; 32]).unwrap().is_some());
    apply(change(false));
    assert_eq!(catalog.console_session(&[3; 32]).unwrap(), None);
    assert_eq!(catalog.identity_provider("corp").unwrap().document, "{1}");
    let used = catalog.delete_identity_provider("corp").unwrap_err().to_string();
    assert!(used.contains("user 'bert', user 'kim'"), "{used}");
    catalog.delete_user("bert").unwrap();
    catalog.delete_user("kim").unwrap();
    catalog.delete_identity_provider("corp").unwrap();
    assert_eq!(catalog.delete_identity_provider("corp").unwrap_err().kind(), Kind::NotFound);
}
