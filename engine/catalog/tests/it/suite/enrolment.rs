//! Join codes and clients.

use simsim_catalog::{
    AccessMode, CatalogError, ClientState, JoinCode, NodeFacts, WRONG_ATTEMPTS_MAX,
};
use simsim_model::Kind;

use super::on;
use crate::fixture::{Place, new_client};

fn code(byte: u8, name: Option<&str>) -> JoinCode {
    JoinCode {
        hash: [byte; 32],
        sealed_secret: vec![byte; 48],
        client_name: name.map(str::to_owned),
        outbound: false,
        created_unix_ms: 1_000,
        expires_unix_ms: 2_000,
        used_unix_ms: None,
        wrong_attempts: 0,
    }
}

#[test]
fn a_code_serves_once() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let catalog = place.open();
    catalog.add_join_code(&code(1, Some("alpha"))).unwrap();
    assert!(catalog.joins_open(1_500).unwrap());
    assert_eq!(catalog.open_join_codes("alpha", 1_500).unwrap(), [code(1, Some("alpha"))]);
    let client = catalog.enrol(&[1; 32], &new_client("alpha"), 1_500).unwrap();
    assert_eq!((client.state, client.listen_port), (ClientState::Enrolled, 4711));
    assert!(!catalog.joins_open(1_500).unwrap());
    let error = catalog.enrol(&[1; 32], &new_client("alpha"), 1_501).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

#[test]
fn a_code_is_bound_to_its_name_and_its_time() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let catalog = place.open();
    catalog.add_join_code(&code(1, Some("alpha"))).unwrap();
    assert!(catalog.open_join_codes("beta", 1_500).unwrap().is_empty());
    assert_eq!(
        catalog.enrol(&[1; 32], &new_client("beta"), 1_500).unwrap_err().kind(),
        Kind::NotFound
    );
    assert!(catalog.open_join_codes("alpha", 2_000).unwrap().is_empty(), "expired at its second");
    catalog.enrol(&[1; 32], &new_client("alpha"), 2_000).unwrap_err();
    catalog.enrol(&[1; 32], &new_client("alpha"), 1_999).unwrap();
}

#[test]
fn wrong_proofs_lock_a_code_for_good() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let catalog = place.open();
    catalog.add_join_code(&code(1, Some("alpha"))).unwrap();
    catalog.add_join_code(&code(2, Some("beta"))).unwrap();
    for attempt in 1..=WRONG_ATTEMPTS_MAX {
        assert_eq!(catalog.open_join_codes("alpha", 1_500).unwrap().len(), 1, "{attempt}");
        let locked = catalog.count_wrong_join("alpha", 1_500).unwrap();
        assert_eq!(locked, usize::from(attempt == WRONG_ATTEMPTS_MAX));
    }
    assert!(catalog.open_join_codes("alpha", 1_500).unwrap().is_empty());
    catalog.enrol(&[1; 32], &new_client("alpha"), 1_500).unwrap_err();
    drop(catalog);
    let catalog = place.open();
    catalog.enrol(&[1; 32], &new_client("alpha"), 1_500).unwrap_err();
    catalog.enrol(&[2; 32], &new_client("beta"), 1_500).unwrap();
}

#[test]
fn only_a_code_for_this_very_name_renews_a_client() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let catalog = place.open();
    catalog.add_join_code(&code(1, Some("alpha"))).unwrap();
    let first = catalog.enrol(&[1; 32], &new_client("alpha"), 1_500).unwrap();
    catalog.revoke_client("alpha", 1_600).unwrap();

    catalog.add_join_code(&code(2, None)).unwrap();
    let thief = catalog.enrol(&[2; 32], &new_client("alpha"), 1_700).unwrap_err();
    assert!(matches!(thief, CatalogError::Exists { .. }), "{thief}");
    assert_eq!(
        catalog.open_join_codes("alpha", 1_700).unwrap().len(),
        1,
        "a refused enrolment does not spend the code"
    );

    catalog.add_join_code(&code(3, Some("alpha"))).unwrap();
    let mut anew = new_client("alpha");
    anew.host_key = "ssh-ed25519 another".to_owned();
    let renewed = catalog.enrol(&[3; 32], &anew, 1_800).unwrap();
    assert_eq!(renewed.id, first.id);
    assert_eq!(renewed.host_key, "ssh-ed25519 another");
    assert!(renewed.is_enrolled() && renewed.revoked_unix_ms.is_none());
}

#[test]
fn revoking_is_lasting_and_may_be_said_twice() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let catalog = place.open();
    catalog.enrol_self(&new_client("alpha"), 1_000).unwrap();
    let once = catalog.revoke_client("alpha", 1_100).unwrap();
    let twice = catalog.revoke_client("alpha", 1_200).unwrap();
    assert_eq!(once, twice);
    assert_eq!(twice.revoked_unix_ms, Some(1_100));
    assert_eq!(catalog.revoke_client("nobody", 1).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_a_node_says_of_itself_is_kept() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let catalog = place.open();
    let client = catalog.enrol_self(&new_client("alpha"), 1_000).unwrap();
    let facts = NodeFacts {
        roles: vec!["client".to_owned(), "device".to_owned()],
        platform: "linux".to_owned(),
        suite_version: "0.2.0".to_owned(),
    };
    catalog.client_seen(client.id, Some(&facts), 5_000).unwrap();
    catalog.client_seen(client.id, None, 6_000).unwrap();
    let seen = catalog.client_numbered(client.id).unwrap();
    assert!(seen.has_role("device") && !seen.has_role("server"));
    assert_eq!((seen.suite_version.as_str(), seen.last_seen_unix_ms), ("0.2.0", Some(6_000)));
    let moved = catalog.set_client_addresses("alpha", &["10.0.0.9".to_owned()], 4712).unwrap();
    assert_eq!((moved.addresses, moved.listen_port), (vec!["10.0.0.9".to_owned()], 4712));
    catalog.set_client_addresses("alpha", &[], 4712).unwrap_err();
}

#[test]
fn a_client_has_one_access_mode_and_keeps_it_until_it_is_changed() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let catalog = place.open();
    let client = catalog.enrol_self(&new_client("alpha"), 1_000).unwrap();
    assert_eq!((client.access_mode, client.ctrl_port), (AccessMode::Smssh, None));
    let steered = catalog.set_client_access("alpha", AccessMode::Ctrl, Some(4711)).unwrap();
    assert_eq!((steered.access_mode, steered.ctrl_port), (AccessMode::Ctrl, Some(4711)));
    assert_eq!(steered.listen_port, client.listen_port);
    // A host that is installed anew, or reached elsewhere, is steered as before.
    catalog.enrol_self(&new_client("alpha"), 2_000).unwrap();
    catalog.set_client_addresses("alpha", &["10.0.0.9".to_owned()], 4712).unwrap();
    catalog.client_seen(client.id, None, 3_000).unwrap();
    assert_eq!(catalog.client("alpha").unwrap().access_mode, AccessMode::Ctrl);
    let back = catalog.set_client_access("alpha", AccessMode::Smssh, Some(4713)).unwrap();
    assert_eq!((back.access_mode, back.listen_port), (AccessMode::Smssh, 4713));
    assert_eq!(back.ctrl_port, Some(4711), "for the next time");
    catalog.set_client_access("alpha", AccessMode::Ctrl, Some(0)).unwrap_err();
    let error = catalog.set_client_access("beta", AccessMode::Ctrl, None).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    for mode in AccessMode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
        assert_eq!(mode.as_str().parse(), Ok(mode));
    }
    "ftp".parse::<AccessMode>().unwrap_err();
}
