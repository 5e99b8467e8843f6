//! Bytes of version 1, kept in `testdata/format`. They are never edited: a change of a format
//! makes a new version with new files.

use std::path::PathBuf;

use bytes::Bytes;
use simsim_format::*;
use simsim_model::Secret;

use crate::sample;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/format").join(name)
}

/// The file's bytes. Where it does not exist yet, it is made once and the test fails, so that a
/// missing file is never taken for a good one.
fn read(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = golden(name);
    std::fs::read(&path).unwrap_or_else(|_| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, make()).unwrap();
        panic!("{name} was missing and has been made: look at it and commit it");
    })
}

#[test]
fn manifest_v1_has_these_bytes() {
    let bytes = read("manifest-v1/all-fields.bin", || sample::manifest().encode());
    assert_eq!(Manifest::decode(&bytes).unwrap(), sample::manifest());
    assert_eq!(sample::manifest().encode(), bytes);
}

#[test]
fn node_v1_has_these_bytes_and_this_name() {
    let page = &sample::pages()[0];
    let encode = |node: &Node| [&node.name.0[..], &node.body].concat();
    let node = Node::new(&sample::key(), page);
    let bytes = read("node-v1/all-kinds.bin", || encode(&node));
    assert_eq!(encode(&node), bytes);
}

#[test]
fn segment_v1_opens() {
    let chunks: [&[u8]; 2] = [b"first chunk", b"second chunk, second chunk, second chunk"];
    let key = sample::key();
    let items: Vec<_> = chunks.iter().map(|c| (key.chunk_name(c), c.len() as u32)).collect();
    let bytes = read("segment-v1/two-chunks.bin", || {
        let mut sealer = Sealer::new(sample::key(), sample::domain(), 3);
        sealer.seal_data(&items, &chunks.concat()).unwrap()
    });
    let view = SegmentView::parse(Bytes::from(bytes)).unwrap();
    let names: Vec<_> = view.items.iter().map(|item| (item.name, item.length)).collect();
    assert_eq!(names, items);
    assert_eq!(Opener::new(key).open(&view).unwrap(), chunks.concat());
}

#[test]
fn key_slots_v1_open() {
    let wrapping = WrappingKey::new(&Secret([1; 32]));
    let bytes = read("keyslots-v1/one-slot.bin", || {
        let mut slots = KeySlots::new(sample::domain());
        slots.add(&wrapping, &Secret([3; 32])).unwrap();
        slots.encode()
    });
    let slots = KeySlots::decode(&bytes).unwrap();
    assert_eq!(slots.domain, sample::domain());
    assert!(slots.open(&wrapping).unwrap() == Secret([3; 32]));
}
