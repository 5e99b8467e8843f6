//! Access tokens: kept as hashes, taken back at once, gone with their task.

use simsim_catalog::{NewToken, TokenAllows};
use simsim_model::Kind;

use super::on;
use crate::fixture::*;

fn token(name: &str, hash: u8) -> NewToken {
    NewToken {
        name: name.to_owned(),
        task: "dump".to_owned(),
        allows: TokenAllows::Store,
        secret_hash: [hash; 32],
        expires_unix_ms: Some(1_000),
    }
}

#[test]
fn a_token_is_found_by_its_hash_until_it_is_revoked_expires_or_loses_its_task() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    catalog.add_task(&task_settings("dump"), 1).unwrap();
    assert_eq!(
        catalog.add_token(&NewToken { task: "no".into(), ..token("a", 1) }, 1).unwrap_err().kind(),
        Kind::NotFound
    );
    let made = catalog.add_token(&token("a", 1), 1).unwrap();
    assert_eq!((made.task_name.as_str(), made.allows), ("dump", TokenAllows::Store));
    assert_eq!(catalog.token_with_hash(&[1; 32]).unwrap(), Some(made.clone()));
    assert_eq!(catalog.token_with_hash(&[2; 32]).unwrap(), None);
    assert!(made.is_valid(999) && !made.is_valid(1_000));
    assert_eq!(catalog.add_token(&token("a", 2), 2).unwrap_err().kind(), Kind::Invalid);

    let revoked = catalog.revoke_token("a", 5).unwrap();
    assert!(!revoked.is_valid(6) && revoked.revoked_unix_ms == Some(5));
    assert_eq!(catalog.revoke_token("a", 7).unwrap(), revoked, "the first time counts");
    assert_eq!(catalog.token_with_hash(&[1; 32]).unwrap(), Some(revoked));
    assert_eq!(catalog.revoke_token("b", 7).unwrap_err().kind(), Kind::NotFound);

    // A name is free again once nobody can use what it named; the old secret stays dead.
    catalog.add_token(&token("a", 2), 8).unwrap();
    assert_eq!(catalog.token_with_hash(&[1; 32]).unwrap(), None);
    catalog.add_token(&NewToken { expires_unix_ms: None, ..token("a", 3) }, 1_000).unwrap();
    assert_eq!(catalog.tokens().unwrap().len(), 1);

    catalog.delete_task("dump", &[]).unwrap();
    assert_eq!(catalog.tokens().unwrap(), []);
    assert_eq!(catalog.token_with_hash(&[3; 32]).unwrap(), None);
}

#[test]
fn a_token_is_changed_as_it_was_seen_and_not_after_it_was_revoked() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    catalog.add_task(&task_settings("dump"), 1).unwrap();
    let seen = catalog.add_token(&token("a", 1), 1).unwrap();
    let changed = catalog.change_token(&seen, TokenAllows::Both, None).unwrap().unwrap();
    assert_eq!((changed.allows, changed.expires_unix_ms), (TokenAllows::Both, None));
    assert_eq!(catalog.token_with_hash(&[1; 32]).unwrap(), Some(changed.clone()));
    // What was seen is not so any more.
    assert_eq!(catalog.change_token(&seen, TokenAllows::Read, Some(9)).unwrap(), None);
    let again = catalog.change_token(&changed, TokenAllows::Store, Some(9)).unwrap().unwrap();
    assert_eq!((again.allows, again.expires_unix_ms), (TokenAllows::Store, Some(9)));
    catalog.revoke_token("a", 5).unwrap();
    assert_eq!(catalog.change_token(&again, TokenAllows::Both, None).unwrap(), None);
    assert_eq!(catalog.tokens().unwrap()[0].allows, TokenAllows::Store);
}

#[test]
fn a_use_is_noted_to_the_minute() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    catalog.add_task(&task_settings("dump"), 1).unwrap();
    catalog.add_token(&token("a", 1), 1).unwrap();
    for (at, noted) in [(100_000, 100_000), (159_000, 100_000), (160_000, 160_000)] {
        catalog.token_is_used("a", at).unwrap();
        assert_eq!(catalog.tokens().unwrap()[0].used_unix_ms, Some(noted));
    }
}

#[test]
fn what_a_token_allows_is_a_closed_list() {
    use TokenAllows::{Both, Read, Store};
    assert!(Store.may_store() && !Store.may_read());
    assert!(Read.may_read() && !Read.may_store());
    assert!(Both.may_store() && Both.may_read());
}
