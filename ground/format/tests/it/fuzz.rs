//! Every decoder of bytes at rest against changed valid encodings. Checksums are made right again
//! after a change, since whoever attacks can compute them too.

use bytes::Bytes;
use simsim_format::*;
use simsim_model::{Name, SavesetId, StoreId};
use simsim_testkit::fuzz;

use crate::sample;

/// With the checksum at the end made right.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let body = bytes.get(..bytes.len().saturating_sub(32)).unwrap_or_default();
    [body, blake3::hash(body).as_bytes()].concat()
}

/// A segment with its checksum made right.
fn summed_segment(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 96 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..64]);
        hasher.update(&bytes[96..]);
        bytes[64..96].copy_from_slice(hasher.finalize().as_bytes());
    }
    bytes
}

fn segments() -> Vec<Vec<u8>> {
    let mut sealer = Sealer::new(sample::key(), sample::domain(), 3);
    let chunks: [&[u8]; 2] = [b"first chunk", b"second chunk, second chunk, second chunk"];
    let items: Vec<_> =
        chunks.iter().map(|c| (sample::key().chunk_name(c), c.len() as u32)).collect();
    let nodes: Vec<Node> =
        sample::pages().iter().map(|page| Node::new(&sample::key(), page)).collect();
    let manifest = sample::manifest().encode();
    vec![
        sealer.seal_data(&items, &chunks.concat()).unwrap(),
        sealer.seal_nodes(&nodes).unwrap(),
        SegmentView::encode_manifest_copy(sample::domain(), Name([4; 32]), &manifest),
    ]
}

#[test]
fn fuzz_pages_and_entries() {
    for page in sample::pages() {
        let node = Node::new(&sample::key(), &page);
        let others: Vec<Vec<u8>> =
            sample::pages().iter().map(|page| Node::new(&sample::key(), page).body).collect();
        fuzz("node body", &[vec![node.body.clone()], others].concat(), |body| {
            let node = Node { body: body.to_vec(), ..node.clone() };
            let Ok(page) = node.page() else { return };
            if let Page::Entries(entries) = &page {
                for entry in entries {
                    let valid = Entry::valid_name(&entry.name);
                    assert!(valid || (entry.name.is_empty() && entries.len() == 1));
                }
                assert!(entries.windows(2).all(|two| two[0].name < two[1].name));
            }
            // What was understood is written and read again to the same.
            let again = Node::new(&sample::key(), &page);
            assert_eq!(again.page().unwrap(), page);
        });
    }
}

#[test]
fn fuzz_segments() {
    let opener = std::cell::RefCell::new(Opener::new(sample::key()));
    fuzz("segment", &segments(), |bytes| {
        let bytes = Bytes::from(summed_segment(bytes));
        let _ = SegmentView::length(&bytes);
        let _ = SegmentView::table_end(&bytes);
        if let Ok(view) = SegmentView::parse_table(bytes.clone()) {
            let items = view.offsets().map(|(start, item)| start + item.length as usize).max();
            assert!(items.unwrap_or(0) <= view.plain_bytes as usize);
            let refs = |(_, refs): (_, NodeRefs<'_>)| refs.nodes().count() + refs.chunks().count();
            assert!(view.node_refs().map(refs).sum::<usize>() <= view.bytes().len() / 32);
        }
        let Ok(view) = SegmentView::parse(bytes) else { return };
        assert!(view.items.len() <= simsim_model::limits::SEGMENT_ITEMS_MAX);
        if let Some(copy) = view.manifest_copy() {
            let _ = Manifest::decode(&copy);
        }
        let _ = opener.borrow_mut().open_nodes(&view);
        if let Ok(plain) = opener.borrow_mut().open(&view) {
            assert_eq!(plain.len(), view.plain_bytes as usize);
        }
    });
}

#[test]
fn fuzz_manifests() {
    let sealed = ManifestDetails { client: "c".into(), ..Default::default() };
    let sealed = sealed.seal(&sample::key(), sample::domain(), SavesetId([3; 16])).unwrap();
    let with_details = Manifest { sealed_details: sealed, ..sample::manifest() };
    fuzz("manifest", &[sample::manifest().encode(), with_details.encode()], |bytes| {
        let _ = Manifest::decode(bytes);
        let Ok(manifest) = Manifest::decode(&summed(bytes)) else { return };
        assert!(!manifest.root.is_zero() && !manifest.saveset.is_zero());
        let (key, sealed) = (sample::key(), &manifest.sealed_details);
        let _ = ManifestDetails::open(&key, manifest.domain, manifest.saveset, sealed);
    });
}

/// What only a key opens is written by a client, and read by the server.
#[test]
fn fuzz_manifest_details() {
    let details = ManifestDetails {
        client: "client".into(),
        task: "täglich".into(),
        sources: vec![b"/etc".to_vec(), vec![0xff, b'/']],
        problems: vec![(b"/a".to_vec(), "unreadable".into()), (vec![0xfe], String::new())],
    };
    let plain = details.encode();
    assert_eq!(ManifestDetails::decode(&plain).unwrap(), details);
    fuzz("manifest details", &[plain, ManifestDetails::default().encode()], |bytes| {
        let _ = ManifestDetails::decode(bytes);
    });
}

#[test]
fn fuzz_packs() {
    let header = PackHeader { store: StoreId([1; 16]), nonce: [2; 32] };
    let segment = |offset, length| PackSegment {
        offset,
        length,
        kind: SegmentKind::Data,
        checksum: Name([length as u8; 32]),
    };
    let footer = PackFooter { segments: vec![segment(64, 100), segment(164, 7), segment(171, 9)] };
    let (bytes, _) = footer.encode(&header);
    fuzz("pack header", &[header.encode().to_vec()], |bytes| drop(PackHeader::decode(bytes)));
    fuzz("pack footer", &[bytes], |bytes| {
        for size in [bytes.len() as u64, 180 + bytes.len() as u64, u64::MAX] {
            let trailer = bytes.len().saturating_sub(PACK_TRAILER_BYTES);
            if let Ok((offset, length)) = PackFooter::locate(&bytes[trailer..], size) {
                assert!(offset.checked_add(length as u64).is_some_and(|end| end <= size));
            }
        }
        let _ = PackFooter::decode(&header, bytes);
    });
}

#[test]
fn fuzz_key_slots_and_kits() {
    let wrapping = WrappingKey::new(&simsim_model::Secret([1; 32]));
    let mut slots = KeySlots::new(sample::domain());
    let one = slots.encode();
    slots.add(&wrapping, &simsim_model::Secret([3; 32])).unwrap();
    fuzz("key slots", &[one, slots.encode()], |bytes| {
        for bytes in [bytes.to_vec(), summed(bytes)] {
            if let Ok(slots) = KeySlots::decode(&bytes) {
                let _ = slots.open(&wrapping);
            }
        }
    });
    let text = RecoveryKit::generate().unwrap().groups().join("-");
    fuzz("recovery kit", &[text.into_bytes(), "0".repeat(66).into_bytes()], |bytes| {
        let _ = RecoveryKit::parse(&String::from_utf8_lossy(bytes));
    });
    let kit = RecoveryKit::generate().unwrap();
    fuzz("proof of a kit", &[b"ask 3 7".to_vec(), b"proven 1700000000000".to_vec()], |bytes| {
        if let Some(proof) = KitProof::parse(&String::from_utf8_lossy(bytes)) {
            let answered = proof.answer(&kit, &["AAAAAA".to_owned()], 5).unwrap();
            assert!(KitProof::parse(&answered.text()).is_some());
        }
    });
}
