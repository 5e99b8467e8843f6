//! Segments: sealed and opened, damaged, swapped, bombs.

use bytes::Bytes;
use simsim_format::*;
use simsim_model::{DomainId, Name, Secret, limits};

use crate::sample;

fn segment(chunks: &[&[u8]]) -> Vec<u8> {
    let key = sample::key();
    let items: Vec<(Name, u32)> =
        chunks.iter().map(|chunk| (key.chunk_name(chunk), chunk.len() as u32)).collect();
    Sealer::new(key, sample::domain(), 3).seal_data(&items, &chunks.concat()).unwrap()
}

#[test]
fn chunks_come_back_and_nothing_of_them_shows() {
    let text = b"a secret sentence that compresses, compresses, compresses".repeat(20);
    let noise = blake3::hash(b"noise").as_bytes().to_vec();
    let bytes = segment(&[&text, &noise]);
    assert!(!bytes.windows(8).any(|window| text.windows(8).any(|part| part == window)));
    let view = SegmentView::parse(Bytes::from(bytes)).unwrap();
    let mut opener = Opener::new(sample::key());
    let plain = opener.open(&view).unwrap();
    for ((start, item), chunk) in view.offsets().zip([&text[..], &noise]) {
        let got = &plain[start..start + item.length as usize];
        assert_eq!(got, chunk);
        opener.check_chunk(&item.name, got).unwrap();
        assert!(opener.check_chunk(&item.name, b"other").is_err());
    }
}

#[test]
fn rot04_every_flipped_bit_and_every_truncation_is_noticed() {
    let bytes = segment(&[b"one", b"two two two two two two"]);
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(SegmentView::parse(Bytes::from(damaged)).is_err(), "bit {at}");
    }
    for length in 0..bytes.len() {
        assert!(SegmentView::parse(Bytes::copy_from_slice(&bytes[..length])).is_err());
    }
}

#[test]
fn idx12_the_same_content_never_seals_to_the_same_bytes() {
    assert_ne!(segment(&[b"same"]), segment(&[b"same"]));
}

/// A forger without the key can make the checksum right, but not the seal.
#[test]
fn a_forged_table_or_domain_does_not_open() {
    let bytes = segment(&[b"content of one chunk"]);
    let mut other_domain = bytes.clone();
    other_domain[8..24].copy_from_slice(&DomainId([0xee; 16]).0);
    let mut other_name = bytes.clone();
    other_name[SEGMENT_HEADER_BYTES] ^= 1;
    for mut forged in [other_domain, other_name] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&forged[..64]);
        hasher.update(&forged[SEGMENT_HEADER_BYTES..]);
        forged[64..96].copy_from_slice(hasher.finalize().as_bytes());
        let view = SegmentView::parse(Bytes::from(forged)).unwrap();
        assert!(matches!(Opener::new(sample::key()).open(&view), Err(FormatError::Seal { .. })));
    }
    let view = SegmentView::parse(Bytes::from(bytes)).unwrap();
    assert!(Opener::new(DomainKey::new(&Secret([6; 32]))).open(&view).is_err());
}

#[test]
fn a_declared_size_past_the_limit_is_refused_before_anything_is_opened() {
    let bytes = segment(&[b"x"]);
    let mut bomb = bytes.clone();
    let past = (limits::SEGMENT_PLAIN_BYTES_MAX + 1) as u32;
    bomb[56..60].copy_from_slice(&past.to_le_bytes());
    assert!(matches!(SegmentView::parse(Bytes::from(bomb)), Err(FormatError::TooLarge { .. })));
    let mut long = bytes;
    long[60..64].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(SegmentView::length(&long).is_err());
}

#[test]
fn nodes_come_back_with_their_references() {
    let key = sample::key();
    let nodes: Vec<Node> = sample::pages().iter().map(|page| Node::new(&key, page)).collect();
    let bytes = Sealer::new(key.clone(), sample::domain(), 3).seal_nodes(&nodes).unwrap();
    let view = SegmentView::parse(Bytes::from(bytes)).unwrap();
    for ((item, refs), node) in view.node_refs().zip(&nodes) {
        assert_eq!(item.name, node.name);
        assert_eq!(refs.nodes().collect::<Vec<_>>(), node.nodes);
        assert_eq!(refs.chunks().collect::<Vec<_>>(), node.chunks);
    }
    assert_eq!(Opener::new(key).open_nodes(&view).unwrap(), nodes);
}

#[test]
fn a_manifest_copy_is_readable_without_a_key() {
    let manifest = sample::manifest().encode();
    let bytes = SegmentView::encode_manifest_copy(sample::domain(), Name([1; 32]), &manifest);
    let view = SegmentView::parse(Bytes::from(bytes)).unwrap();
    assert_eq!(view.manifest_copy().unwrap(), manifest);
}

#[test]
fn manifest_details_open_only_for_their_saveset() {
    let details = ManifestDetails {
        client: "c".to_owned(),
        task: "t".to_owned(),
        sources: vec![b"/\xff".to_vec()],
        problems: vec![(b"/x".to_vec(), "gone".to_owned())],
    };
    let manifest = sample::manifest();
    let key = sample::key();
    let sealed = details.seal(&key, manifest.domain, manifest.saveset).unwrap();
    let open = |saveset| ManifestDetails::open(&key, manifest.domain, saveset, &sealed);
    assert_eq!(open(manifest.saveset).unwrap(), details);
    assert!(open(simsim_model::SavesetId([0xaa; 16])).is_err());
}
