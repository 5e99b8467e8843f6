//! Who may set up by whom people sign in, and what takes two persons.

use simsim_model::Kind;
use simsim_server::api::*;
use simsim_server::{Granted, Principal, Role};

use crate::suite::{Suite, root};

fn role(role: Role) -> Granted {
    Granted { role: Some(role), ..Granted::default() }
}

fn request(groups: &[(&str, Role)]) -> IdentityProviderRequest {
    let groups = groups
        .iter()
        .map(|(group, of)| GroupGrants { group: (*group).to_owned(), grants: vec![role(*of)] });
    IdentityProviderRequest {
        name: "corp".to_owned(),
        enabled: true,
        issuer: "https://idp.test".to_owned(),
        client_id: "simsim".to_owned(),
        secret: Some("a secret".to_owned()),
        has_secret: false,
        scopes: usual_scopes(),
        name_claim: usual_name_claim(),
        groups_claim: usual_groups_claim(),
        groups: groups.collect(),
        creates_users: true,
        authority: None,
    }
}

/// A user who may that, as a principal.
async fn person(suite: &Suite, name: &str, of: Role) -> Principal {
    let request = UserRequest {
        name: name.to_owned(),
        grants: vec![role(of)],
        disabled: false,
        password: Some("a very long password".to_owned()),
        provider: None,
    };
    let server = suite.server();
    let added = server.add_user(&root(), request).await.unwrap();
    let who = somebody(name, of);
    let own = OwnPasswordRequest {
        old: "a very long password".to_owned(),
        password: "a password of one's own".to_owned(),
    };
    server.set_own_password(&who, own).await.unwrap();
    if let Some(approval) = added.waits_for {
        let word = ApprovalWordRequest { approval, digest: None, note: String::new() };
        server.approve(&somebody("anna", Role::Superuser), word).await.unwrap();
    }
    who
}

/// Who holds the rights of a role.
fn somebody(name: &str, of: Role) -> Principal {
    let all = Principal::local_root();
    let grants = all.grants().iter().filter(|grant| of.rights().contains(&grant.right));
    Principal::with_grants(format!("user:{name}"), grants.cloned().collect())
}

fn named() -> NameRequest {
    NameRequest { name: "corp".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_let_others_in_with_what_weighs_takes_two_persons() {
    let suite = Suite::with_datastore().await;
    let server = suite.server();
    let anna = person(&suite, "anna", Role::Superuser).await;
    // There is nobody else: one is enough, and that is kept.
    let alone =
        server.add_identity_provider(&anna, request(&[("admins", Role::Administrator)])).await;
    let alone = alone.unwrap();
    assert_eq!((alone.enabled, alone.waits_for), (true, None));
    assert_eq!(alone.alone.as_deref(), Some("user:anna"));
    assert!(alone.has_secret && !alone.secret_missing);
    server.delete_identity_provider(&anna, named()).await.unwrap();

    let bert = person(&suite, "bert", Role::Superuser).await;
    let added =
        server.add_identity_provider(&anna, request(&[("admins", Role::Administrator)])).await;
    let added = added.unwrap();
    let number = added.waits_for.unwrap();
    assert_eq!((added.enabled, added.groups.len()), (false, 0), "nobody signs in by it yet");
    assert!(server.sign_in_ways().await.unwrap().is_empty());
    let shown = server.approval(&root(), ApprovalRequest { approval: number }).await.unwrap();
    assert!(shown.about.contains("group 'admins': administrator"), "{}", shown.about);
    assert!(!shown.act.to_string().contains("a secret"), "{}", shown.act);
    let word = || ApprovalWordRequest { approval: number, digest: None, note: String::new() };
    assert_eq!(server.approve(&anna, word()).await.unwrap_err().kind(), Kind::Denied);
    server.approve(&bert, word()).await.unwrap();
    let done = server.identity_provider(&anna, named()).await.unwrap();
    assert_eq!((done.enabled, done.waits_for, done.alone), (true, None, None));
    assert_eq!(server.sign_in_ways().await.unwrap(), ["corp"]);

    // Less is one person's to decide, more is not; who is believed is not either.
    let change = async |to: IdentityProviderRequest| {
        let to = IdentityProviderRequest { secret: None, ..to };
        server.change_identity_provider(&anna, to).await.map(|view| view.waits_for.is_some())
    };
    assert!(
        !change(request(&[("admins", Role::Administrator), ("ops", Role::Operator)]))
            .await
            .unwrap()
    );
    assert!(change(request(&[("admins", Role::Superuser)])).await.unwrap());
    let there = server.identity_provider(&anna, named()).await.unwrap();
    assert_eq!(there.groups.len(), 2, "all of it waits");
    let claims = IdentityProviderRequest {
        groups_claim: "roles".to_owned(),
        ..request(&[("admins", Role::Administrator)])
    };
    assert!(change(claims).await.unwrap());
    let client = IdentityProviderRequest { client_id: "x".to_owned(), ..request(&[]) };
    assert_eq!(change(client).await.unwrap_err().kind(), Kind::Denied, "the secret would go along");
    let off =
        IdentityProviderRequest { enabled: false, ..request(&[("admins", Role::Administrator)]) };
    server
        .change_identity_provider(&anna, IdentityProviderRequest { secret: None, ..off })
        .await
        .unwrap();
    assert!(server.sign_in_ways().await.unwrap().is_empty(), "to shut it is one person's");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_lets_others_do_what_they_may_not_do_themselves() {
    let suite = Suite::with_datastore().await;
    let server = suite.server();
    let (adam, olga) = (somebody("adam", Role::Administrator), somebody("olga", Role::Operator));
    let refused = async |who: &Principal, request: IdentityProviderRequest| {
        let error = server.add_identity_provider(who, request).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        error.to_string()
    };
    let why = refused(&adam, request(&[("admins", Role::Superuser)])).await;
    assert!(why.contains("rights that you do not have"), "{why}");
    refused(&olga, request(&[("ops", Role::Operator)])).await;
    assert!(server.identity_providers(&root()).await.unwrap().is_empty(), "nothing of it stays");
    server.add_identity_provider(&root(), request(&[("admins", Role::Superuser)])).await.unwrap();
    // Whose groups may more than oneself is not to be changed or removed either.
    let less = IdentityProviderRequest { secret: None, ..request(&[]) };
    let error = server.change_identity_provider(&adam, less).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert_eq!(
        server.delete_identity_provider(&adam, named()).await.unwrap_err().kind(),
        Kind::Denied
    );
    // A place in which a group may something is not removed under it.
    let location = LocationRequest { name: "berlin".to_owned(), parent: None, note: String::new() };
    server.add_location(&root(), location).await.unwrap();
    let there = Granted { location: Some("berlin".to_owned()), ..role(Role::Restore) };
    let of = GroupGrants { group: "ops".to_owned(), grants: vec![there] };
    let to = IdentityProviderRequest { secret: None, groups: vec![of], ..request(&[]) };
    server.change_identity_provider(&root(), to).await.unwrap();
    let name = NameRequest { name: "berlin".to_owned() };
    let error = server.delete_location(&root(), name).await.unwrap_err();
    assert!(error.to_string().contains("identity provider 'corp'"), "{error}");
    for nowhere in [
        Granted { location: Some("rome".to_owned()), ..role(Role::Restore) },
        Granted { client: Some("rome".to_owned()), ..role(Role::Restore) },
    ] {
        let of = GroupGrants { group: "ops".to_owned(), grants: vec![nowhere] };
        let to = IdentityProviderRequest { secret: None, groups: vec![of], ..request(&[]) };
        let error = server.change_identity_provider(&root(), to).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
    }
}
