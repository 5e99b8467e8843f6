//! What was sealed is opened again before it is sent, as a restore would open it.
//!
//! Memory that flips a bit, and a codec that errs, have cost other systems whole stores: a chunk
//! that was damaged after it was named is stored for ever under a name that it does not carry. So
//! every segment is parsed, opened, decompressed and each of its names computed anew. From the
//! naming on, no wrong byte leaves this host unnoticed (ROT01, ROT02).

use bytes::Bytes;
use simsim_model::DomainId;

use crate::FormatError;
use crate::key::DomainKey;
use crate::segment::{Opener, SegmentKind, SegmentView};

/// Where a segment is on its way; tests damage it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The output of the codec.
    Compressed,
    /// Header, table and payload in one piece, not sealed yet.
    Filled,
    /// Sealed, without its checksum.
    Sealed,
    Finished,
}

/// What a test does to the bytes of a stage.
#[cfg(test)]
enum Meddle {
    Flip(usize),
    Replace(Vec<u8>),
}

/// Opens what a sealer has made.
pub(crate) struct Proof {
    opener: Opener,
    #[cfg(test)]
    meddler: Option<(Stage, Meddle)>,
}

impl Proof {
    pub(crate) fn new(key: DomainKey) -> Self {
        Self {
            opener: Opener::new(key),
            #[cfg(test)]
            meddler: None,
        }
    }

    /// Gives the segment back when it opens to what its names say.
    pub(crate) fn prove(
        &mut self,
        segment: Vec<u8>,
        kind: SegmentKind,
        domain: DomainId,
        items: usize,
    ) -> Result<Vec<u8>, FormatError> {
        let bytes = Bytes::from(segment);
        let proven = SegmentView::parse(bytes.clone()).and_then(|view| {
            if (view.kind, view.domain, view.items.len()) != (kind, domain, items) {
                let why = "its head is not as it was made";
                return Err(FormatError::Malformed { what: "segment", why });
            }
            self.open(&view)
        });
        proven.map_err(|error| FormatError::Proof { why: error.to_string() })?;
        Ok(Vec::from(bytes))
    }

    fn open(&mut self, view: &SegmentView) -> Result<(), FormatError> {
        let plaintext = self.opener.open(view)?;
        if view.kind == SegmentKind::Nodes {
            return self.opener.nodes_of(view, &plaintext).map(drop);
        }
        view.offsets().try_for_each(|(start, item)| {
            let chunk = plaintext.get(start..start + item.length as usize);
            self.opener.check_chunk(&item.name, chunk.unwrap_or_default())
        })
    }

    /// A place where a test damages what is being made.
    #[inline(always)]
    pub(crate) fn meddle(&self, stage: Stage, bytes: &mut Vec<u8>) {
        #[cfg(test)]
        match &self.meddler {
            Some((at, Meddle::Flip(byte))) if *at == stage => {
                let byte_at = byte % bytes.len().max(1);
                if let Some(found) = bytes.get_mut(byte_at) {
                    *found ^= 1 << (byte % 8);
                }
            }
            Some((at, Meddle::Replace(other))) if *at == stage => bytes.clone_from(other),
            _ => {}
        }
        #[cfg(not(test))]
        let _ = (stage, bytes);
    }
}

#[cfg(test)]
mod tests {
    use simsim_model::{Name, Secret};

    use super::*;
    use crate::{Content, Entry, Node, Page, Sealer};

    fn key() -> DomainKey {
        DomainKey::new(&Secret([5; 32]))
    }

    /// One chunk that compresses and one that does not.
    fn data(squeezable: bool) -> (Vec<(Name, u32)>, Vec<u8>) {
        let mut noise = vec![0; 300];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let text = if squeezable { b"again and again ".repeat(20) } else { noise.clone() };
        let items = [&text, &noise].map(|chunk| (key().chunk_name(chunk), chunk.len() as u32));
        (items.to_vec(), [text, noise].concat())
    }

    fn nodes() -> Vec<Node> {
        let entry = |name: &[u8]| Entry {
            name: name.to_vec(),
            kind: crate::EntryKind::File,
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime: simsim_model::Timestamp::new(3, 4),
            ctime: simsim_model::Timestamp::new(5, 6),
            ino: 7,
            dev: 0,
            nlink: 1,
            size: 9,
            flags: 0,
            xattrs: Vec::new(),
            content: Content::Inline(b"nine byte".to_vec()),
        };
        let page = Page::Entries(vec![entry(b"a"), entry(b"b"), entry(b"c")]);
        vec![Node::new(&key(), &page), Node::new(&key(), &Page::Entries(vec![entry(b"d")]))]
    }

    fn sealer() -> Sealer {
        Sealer::new(key(), DomainId([2; 16]), 3)
    }

    #[test]
    fn rot01_a_bit_that_flips_between_naming_and_sealing_is_noticed() {
        for squeezable in [true, false] {
            let (items, plaintext) = data(squeezable);
            assert!(sealer().seal_data(&items, &plaintext).is_ok());
            for at in 0..plaintext.len() {
                let mut damaged = plaintext.clone();
                damaged[at] ^= 1 << (at % 8);
                let error = sealer().seal_data(&items, &damaged).expect_err("a wrong chunk");
                assert!(matches!(error, FormatError::Proof { .. }), "byte {at}: {error}");
            }
            for at in 0..items.len() * 32 {
                let mut items = items.clone();
                items[at / 32].0.0[at % 32] ^= 1 << (at % 8);
                assert!(sealer().seal_data(&items, &plaintext).is_err(), "name byte {at}");
            }
        }
        for (at, node) in nodes().iter().enumerate() {
            for byte in 0..node.body.len() {
                let mut nodes = nodes();
                nodes[at].body[byte] ^= 1 << (byte % 8);
                assert!(sealer().seal_nodes(&nodes).is_err(), "node {at} byte {byte}");
            }
        }
    }

    #[test]
    fn rot01_a_bit_that_flips_while_a_segment_is_made_is_noticed() {
        let (items, plaintext) = data(true);
        for stage in [Stage::Filled, Stage::Sealed, Stage::Finished] {
            let mut noticed = 0;
            for at in 0..800 {
                let mut sealer = sealer();
                sealer.proof.meddler = Some((stage, Meddle::Flip(at)));
                match sealer.seal_data(&items, &plaintext) {
                    Err(_) => noticed += 1,
                    // What is written after that stage, or a bit that means nothing to the codec.
                    Ok(segment) => assert_eq!(opened(segment), plaintext, "{stage:?} byte {at}"),
                }
                match sealer.seal_nodes(&nodes()) {
                    Err(_) => noticed += 1,
                    Ok(segment) => {
                        let view = SegmentView::parse(Bytes::from(segment)).unwrap();
                        assert_eq!(Opener::new(key()).open_nodes(&view).unwrap(), nodes());
                    }
                }
            }
            assert!(noticed > 1200, "{stage:?}: {noticed} of 1600");
        }
    }

    fn opened(segment: Vec<u8>) -> Vec<u8> {
        let view = SegmentView::parse(Bytes::from(segment)).unwrap();
        assert_eq!(view.domain, DomainId([2; 16]));
        Opener::new(key()).open(&view).unwrap()
    }

    #[test]
    fn rot02_a_codec_that_errs_is_noticed() {
        let (items, plaintext) = data(true);
        for at in 0..400 {
            let mut sealer = sealer();
            sealer.proof.meddler = Some((Stage::Compressed, Meddle::Flip(at)));
            match sealer.seal_data(&items, &plaintext) {
                Err(error) => assert!(matches!(error, FormatError::Proof { .. }), "{error}"),
                // A bit that means nothing to the decoder.
                Ok(segment) => assert_eq!(opened(segment), plaintext, "byte {at}"),
            }
        }
    }

    /// A client has the key of its domain and may seal what it likes.
    #[test]
    fn a_sealed_bomb_stops_at_the_declared_length() {
        let bomb = |bytes: usize| {
            let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(bytes));
            zstd_safe::CCtx::create().compress(&mut compressed, &vec![0; bytes], 3).unwrap();
            compressed
        };
        let (items, plaintext) = data(true);
        for bytes in [0, 1, plaintext.len() - 1, plaintext.len() + 1, 1 << 20, 64 << 20] {
            let mut sealer = sealer();
            sealer.proof.meddler = Some((Stage::Compressed, Meddle::Replace(bomb(bytes))));
            let error = sealer.seal_data(&items, &plaintext).expect_err("a bomb");
            assert!(error.to_string().contains("decompress"), "{bytes}: {error}");
        }
    }

    /// Tables that do not fit what is sealed with them.
    #[test]
    fn fuzz_tables_under_a_valid_seal() {
        let table: Vec<u8> = nodes()
            .iter()
            .flat_map(|node| {
                let lengths = [node.body.len(), node.nodes.len(), node.chunks.len()];
                [node.name.0.to_vec(), lengths.map(|n| (n as u32).to_le_bytes()).concat()].concat()
            })
            .collect();
        let plaintext: Vec<u8> = nodes().iter().flat_map(|node| node.body.clone()).collect();
        let sealer = std::cell::RefCell::new(sealer());
        simsim_testkit::fuzz("table under a seal", &[table], |table| {
            for kind in [SegmentKind::Nodes, SegmentKind::Data] {
                for items in 0..4 {
                    let _ = sealer.borrow_mut().seal(kind, items, table, &plaintext);
                }
            }
        });
    }
}
