//! Many sessions at once: what they have in memory together, when each takes as much as it can get.

use std::sync::Arc;

use simsim_datastore::{
    Datastore, NAMES_OWN, NAMES_SHARED, OpenOptions, Room, SessionOptions, WAITING_BYTES_MAX,
    WAITING_OF_ONE_BYTES_MAX, WriteSession,
};
use simsim_model::{BackupSession, Kind, Name, SavesetId};
use simsim_storage::{LocalStorage, Storage};

use crate::kit::*;

const SESSIONS: u64 = 200;

fn open_in(room: &Arc<Room>) -> (tempfile::TempDir, Datastore) {
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
    Datastore::create(Arc::clone(&storage), create_options()).unwrap().close().unwrap();
    let options = OpenOptions {
        pack_bytes: 32 << 20,
        reserve_bytes: Some(0),
        room: Arc::clone(room),
        ..OpenOptions::default()
    };
    let datastore = Datastore::open(storage, options).unwrap();
    (folder, datastore)
}

fn sessions(datastore: &Datastore) -> Vec<WriteSession> {
    let saveset = |at: u64| {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&at.to_le_bytes());
        SavesetId(id)
    };
    let session = |at| datastore.session(DOMAIN, saveset(at), SessionOptions::default());
    (0..SESSIONS).map(session).collect()
}

#[test]
fn node_segments_that_wait_take_no_more_for_many_sessions_than_for_two() {
    let room = Arc::<Room>::default();
    let (_folder, datastore) = open_in(&room);
    let sessions = sessions(&datastore);
    // A megabyte of nodes, each time, of which nothing ever comes.
    let missing: Vec<Name> =
        (0..12_000u32).map(|at| Name(*blake3::hash(&at.to_le_bytes()).as_bytes())).collect();
    let mut refused = 0;
    for (at, session) in sessions.iter().enumerate() {
        for number in 0..8u64 {
            let mut names = missing.clone();
            names.push(Name([at as u8; 32]));
            names.push(Name([number as u8 + 100; 32]));
            let node = node(&[], &names);
            let put = session.put(number, node_segment(DOMAIN, std::slice::from_ref(&node)));
            if let Err(error) = put {
                assert_eq!(error.kind, Kind::Busy, "{error}");
                assert!(error.message.contains("put what nodes refer to before them"), "{error}");
                refused += 1;
                break;
            }
        }
        assert!(room.waiting_bytes() <= WAITING_BYTES_MAX, "{}", room.waiting_bytes());
    }
    assert_eq!(refused, SESSIONS, "each was stopped at some point");
    assert!(room.waiting_bytes() > WAITING_BYTES_MAX - (3 << 20), "{}", room.waiting_bytes());
    // Who sends in order needs nothing of it.
    backup(&session(&datastore, 255), 1, 4, 300).unwrap();
    // Who goes gives it all back, to whoever comes next.
    drop(sessions);
    assert_eq!((room.waiting_bytes(), room.names()), (0, 0));
    assert!(
        datastore
            .session(DOMAIN, SavesetId([9; 16]), SessionOptions::default())
            .put(0, node_segment(DOMAIN, &[node(&[], &missing)]))
            .is_ok()
    );
}

#[test]
fn one_session_leaves_room_for_the_nodes_of_others() {
    let room = Arc::<Room>::default();
    let (_folder, datastore) = open_in(&room);
    let (greedy, other) = (session(&datastore, 1), session(&datastore, 2));
    let segment = |seed: u64| {
        let name = |at: u64| Name(*blake3::hash(&(seed << 32 | at).to_le_bytes()).as_bytes());
        let names: Vec<Name> = (0..12_000).map(name).collect();
        node_segment(DOMAIN, &[node(&[], &names)])
    };
    let stopped = (0..20).find(|number| greedy.put(*number, segment(*number)).is_err());
    assert!(stopped.is_some_and(|number| number > 2), "{stopped:?}");
    assert!(room.waiting_bytes() <= WAITING_OF_ONE_BYTES_MAX);
    other.put(0, segment(100)).unwrap();
}

#[test]
fn names_of_open_packs_of_many_sessions_are_bounded_and_none_is_lost() {
    let room = Arc::<Room>::default();
    let (_folder, datastore) = open_in(&room);
    let sessions = sessions(&datastore);
    let most = NAMES_SHARED + NAMES_OWN * SESSIONS as usize;
    // Tiny chunks: many names in few bytes, so that no pack is ever full.
    let mut first = Vec::new();
    for round in 0..4u64 {
        for (at, session) in sessions.iter().enumerate() {
            let seed = round * 1000 + at as u64;
            let chunks: Vec<Vec<u8>> =
                (0..400).map(|chunk| content(seed * 1000 + chunk, 16)).collect();
            let (names, segment) = data_segment(DOMAIN, &chunks);
            session.put(round, segment).unwrap();
            assert!(room.names() <= most, "{} of {most}", room.names());
            if round == 0 {
                first.push(names[0]);
            }
        }
    }
    assert!(room.names() > most / 2, "it is used: {}", room.names());
    for (session, name) in sessions.iter().zip(&first) {
        assert_eq!(session.has(&[*name]).unwrap(), [true]);
    }
    let root = node(&[], &first[..1]);
    sessions[0].put(4, node_segment(DOMAIN, std::slice::from_ref(&root))).unwrap();
    let reply = sessions[0].commit(&draft(root.name, 5)).unwrap();
    assert_eq!(restore(&datastore, reply.saveset).unwrap(), 16);
    drop(sessions);
    assert_eq!(room.names(), 0);
}
