//! Decoders against any bytes, and round trips.

use bytes::Bytes;
use proptest::prelude::*;
use simsim_format::*;
use simsim_model::{Name, StoreId};

use crate::sample;

#[test]
fn every_page_decodes_to_itself() {
    for page in sample::pages() {
        let node = Node::new(&sample::key(), &page);
        assert_eq!(node.page().unwrap(), page);
    }
}

#[test]
fn fid11_names_that_are_no_path_component_are_refused() {
    for name in [&b".."[..], b".", b"a/b", b"a\0b", &[b'x'; 256]] {
        let bad = sample::entry(name, EntryKind::Fifo, Content::None, 0);
        let node = Node::new(&sample::key(), &Page::Entries(vec![bad]));
        assert!(node.page().is_err(), "{name:?}");
    }
}

#[test]
fn fid15_entries_out_of_order_or_twice_are_refused() {
    let one = |name: &[u8]| sample::entry(name, EntryKind::Fifo, Content::None, 0);
    for names in [[&b"a"[..], b"a"], [b"b", b"a"]] {
        let page = Page::Entries(names.iter().map(|name| one(name)).collect());
        assert!(Node::new(&sample::key(), &page).page().is_err());
    }
}

#[test]
fn a_manifest_decodes_to_itself_and_every_flipped_bit_is_noticed() {
    let manifest = sample::manifest();
    let bytes = manifest.encode();
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(Manifest::decode(&damaged).is_err(), "bit {at}");
    }
    for length in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..length]).is_err());
    }
}

#[test]
fn a_copy_says_where_its_saveset_was_made_in_bytes_that_were_zero_before() {
    let made_here = sample::manifest();
    assert_eq!(made_here.encode()[96..112], [0; 16]);
    let copy = Manifest { origin: Some(StoreId([5; 16])), ..made_here };
    let bytes = copy.encode();
    assert_eq!(bytes[96..112], [5; 16]);
    assert_eq!(Manifest::decode(&bytes).unwrap(), copy);
}

#[test]
fn pwr12_a_manifest_without_a_root_does_not_decode() {
    let manifest = Manifest { root: Name::ZERO, ..sample::manifest() };
    assert!(Manifest::decode(&manifest.encode()).is_err());
}

#[test]
fn a_pack_footer_is_found_from_its_end_and_checked() {
    let header = PackHeader { store: StoreId([1; 16]), nonce: [2; 32] };
    let segment = |offset, length| PackSegment {
        offset,
        length,
        kind: SegmentKind::Data,
        checksum: Name([length as u8; 32]),
    };
    let footer = PackFooter { segments: vec![segment(64, 100), segment(164, 7)] };
    let (bytes, name) = footer.encode(&header);
    let pack_bytes = 171 + bytes.len() as u64;
    let trailer = &bytes[bytes.len() - PACK_TRAILER_BYTES..];
    assert_eq!(PackFooter::locate(trailer, pack_bytes).unwrap(), (171, bytes.len()));
    assert!(PackFooter::locate(trailer, pack_bytes - 1).is_err());
    assert_eq!(PackFooter::decode(&header, &bytes).unwrap(), (footer, name));
    assert_eq!(PackHeader::decode(&header.encode()).unwrap(), header);
    for at in 0..bytes.len() - PACK_TRAILER_BYTES {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(PackFooter::decode(&header, &damaged).is_err(), "byte {at}");
    }
    let other = PackHeader { store: StoreId([9; 16]), ..header };
    assert!(PackFooter::decode(&other, &bytes).is_err());
}

proptest! {
    #[test]
    fn varints_round_trip(value in any::<u64>(), signed in any::<i64>()) {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        put_zigzag(&mut out, signed);
        let mut cursor = Cursor::new(&out, "test");
        prop_assert_eq!(cursor.varint().unwrap(), value);
        prop_assert_eq!(cursor.zigzag().unwrap(), signed);
        prop_assert!(cursor.finish().is_ok());
    }

    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400), refs in 0usize..4) {
        let node = Node {
            name: Name::ZERO,
            nodes: vec![Name([1; 32]); refs],
            chunks: vec![Name([2; 32]); refs],
            body: bytes.clone(),
        };
        let _ = node.page();
        let _ = Manifest::decode(&bytes);
        let _ = KeySlots::decode(&bytes);
        let _ = SegmentView::parse(Bytes::from(bytes.clone()));
        let _ = SegmentView::parse_table(Bytes::from(bytes.clone()));
        let _ = PackHeader::decode(&bytes);
        let _ = PackFooter::locate(&bytes, bytes.len() as u64);
        let header = PackHeader { store: StoreId([1; 16]), nonce: [2; 32] };
        let _ = PackFooter::decode(&header, &bytes);
        let _ = RecoveryKit::parse(&String::from_utf8_lossy(&bytes));
    }

    /// Bytes near valid ones reach deeper than random ones.
    #[test]
    fn damaged_pages_decode_or_fail(which in 0usize..5, edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
        let mut node = Node::new(&sample::key(), &sample::pages()[which]);
        for (at, value) in edits {
            let at = at.index(node.body.len());
            node.body[at] = value;
        }
        if let Ok(Page::Entries(entries)) = node.page() {
            for entry in entries {
                prop_assert!(entry.name.is_empty() || Entry::valid_name(&entry.name));
            }
        }
    }
}
