//! The shelf: make, attach, detach, and a restart of the device.

use simsim_control::verbs::*;
use simsim_device::{Device, DeviceOptions};
use simsim_format::{KeySlots, RecoveryKit};
use simsim_model::*;

use crate::bench::*;

#[test]
fn datastores_are_made_listed_detached_and_attached_again() {
    run(async {
        let bench = Bench::new().await;
        let path = bench.path("store").display().to_string();
        let state = bench.device(DatastoreState { store: STORE }).await.unwrap();
        assert_eq!((state.name.as_str(), state.path.as_str()), ("first", path.as_str()));
        assert_eq!(state.state, "ready");
        assert!(state.capacity_bytes > 0 && state.free_bytes > 0);

        let create = |path: String, store| CreateDatastore {
            path,
            name: "first".into(),
            store,
            owner: String::new(),
            cut: None,
        };
        bench.device(create(path.clone(), STORE)).await.unwrap();
        let other = StoreId([5; 16]);
        let refused = bench.device(create(path.clone(), other)).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid, "{refused}");
        assert_eq!(
            bench.device(create("store".into(), other)).await.unwrap_err().kind,
            Kind::Invalid
        );

        bench.device(DetachDatastore { store: STORE }).await.unwrap();
        assert_eq!(
            bench.device(DatastoreState { store: STORE }).await.unwrap_err().kind,
            Kind::NotFound
        );
        assert!(bench.device(ListDatastores {}).await.unwrap().datastores.is_empty());
        let attached = bench.device(AttachDatastore { path: path.clone() }).await.unwrap();
        assert_eq!((attached.store, attached.name.as_str()), (STORE, "first"));
        bench.device(AttachDatastore { path }).await.unwrap();
        let nowhere = bench.path("nowhere");
        let refused = bench.device(AttachDatastore { path: nowhere.display().to_string() }).await;
        assert_eq!(refused.unwrap_err().kind, Kind::NotFound);
        assert!(!nowhere.exists(), "attaching makes no folders");
    });
}

#[test]
fn after_a_restart_the_datastores_are_served_and_a_missing_one_stops_no_other() {
    run(async {
        let bench = Bench::new().await;
        let second = StoreId([5; 16]);
        let create = CreateDatastore {
            path: bench.path("second").display().to_string(),
            name: "second".into(),
            store: second,
            owner: "people".into(),
            cut: None,
        };
        bench.device(create).await.unwrap();
        bench.device.close(std::time::Duration::from_secs(1)).await;
        std::fs::rename(bench.path("second"), bench.path("away")).unwrap();

        let folder = bench.path("device");
        let start = || {
            let folder = folder.clone();
            async move {
                tokio::task::spawn_blocking(move || Device::new(&folder, DeviceOptions::default()))
                    .await
                    .unwrap()
                    .unwrap()
            }
        };
        let device = start().await;
        let ask = async |request: Request| device.handle(&request, &|_| ()).await.unwrap();
        let Ok(Reply::DatastoreState(state)) = ask(DatastoreState { store: STORE }.into()).await
        else {
            panic!("no state")
        };
        assert_eq!(state.state, "ready");
        let Ok(Reply::DatastoreState(state)) = ask(DatastoreState { store: second }.into()).await
        else {
            panic!("no state")
        };
        assert!(state.state.starts_with("not served"), "{}", state.state);
        let refused = ask(ListDomains { store: second }.into()).await.unwrap_err();
        assert_eq!(refused.kind, Kind::NotFound, "{refused}");
        assert!(!bench.path("second").exists(), "nothing is made where a datastore is missing");

        std::fs::rename(bench.path("away"), bench.path("second")).unwrap();
        let path = bench.path("second").display().to_string();
        let Ok(Reply::AttachDatastore(reply)) = ask(AttachDatastore { path }.into()).await else {
            panic!("not attached")
        };
        assert_eq!((reply.store, reply.owner.as_str()), (second, "people"));
        let Ok(Reply::ListDatastores(list)) = ask(ListDatastores {}.into()).await else {
            panic!("no list")
        };
        assert!(list.datastores.iter().all(|state| state.state == "ready"));
        assert_eq!(list.datastores.len(), 2);
    });
}

#[test]
fn a_damaged_list_is_an_error_and_not_an_empty_shelf() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("datastores.json"), "{").unwrap();
    let error = Device::new(folder.path(), DeviceOptions::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("datastores.json"), "{error}");
}

#[test]
fn key_slots_lie_beside_the_data() {
    run(async {
        let bench = Bench::new().await;
        let get = GetKeySlots { store: STORE, domain: DOMAIN };
        assert_eq!(bench.device(get.clone()).await.unwrap_err().kind, Kind::NotFound);
        let kit = RecoveryKit::generate().unwrap();
        let mut slots = KeySlots::new(DOMAIN);
        slots.add(&kit.wrapping_key(), &key()).unwrap();
        let put = |domain, slots| PutKeySlots { store: STORE, domain, slots };
        bench.device(put(DOMAIN, slots.encode())).await.unwrap();
        assert!(bench.device(put(OTHER_DOMAIN, slots.encode())).await.is_err());
        assert!(bench.device(put(DOMAIN, b"no slots".to_vec())).await.is_err());
        let stored = bench.device(get).await.unwrap().slots;
        let opened = KeySlots::decode(&stored).unwrap().open(&kit.wrapping_key()).unwrap();
        assert!(opened == key());
        assert_eq!(bench.device(ListDomains { store: STORE }).await.unwrap().domains, [DOMAIN]);
    });
}

#[test]
fn manifests_come_in_pages_and_in_pieces() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let mut savesets = Vec::new();
        for _ in 0..3 {
            savesets.push(bench.backup(&source, None).await.0);
        }
        let list = |after_sequence, limit| ListManifests { store: STORE, after_sequence, limit };
        let page = bench.device(list(0, 2)).await.unwrap();
        assert!(page.more);
        let later = bench.device(list(page.manifests[1].sequence, 2)).await.unwrap();
        assert!(!later.more);
        let all: Vec<_> =
            page.manifests.iter().chain(&later.manifests).map(|entry| entry.saveset).collect();
        assert_eq!(all, savesets);
        let get = |offset| GetManifest { store: STORE, saveset: savesets[0], offset };
        let whole = bench.device(get(0)).await.unwrap();
        assert_eq!(whole.bytes, page.manifests[0].bytes);
        assert_eq!(whole.size, whole.bytes.len() as u64);
        assert_eq!(bench.device(get(10)).await.unwrap().bytes, whole.bytes[10..]);
        assert!(bench.device(get(u64::MAX)).await.unwrap().bytes.is_empty());
    });
}
