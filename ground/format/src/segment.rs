//! Segments: many chunks, or many nodes, compressed and sealed together (`docs/format/segment.md`).
//!
//! ```text
//!  0   4  magic "SSG1"
//!  4   1  version 1
//!  5   1  kind: 1 data, 2 nodes, 3 manifest copy
//!  6   1  seal: 0 none (manifest copies only), 1 AES-256-GCM under a subkey of the domain
//!  7   1  codec: 0 stored, 1 zstd
//!  8  16  domain id
//! 24  24  nonce
//! 48   4  items
//! 52   4  table bytes
//! 56   4  plaintext bytes
//! 60   4  payload bytes (sealed: with the tag)
//! 64  32  BLAKE3 of bytes 0..64, table and payload: the segment's checksum
//! 96      table, then payload
//! ```
//! A data item is name 32, length 4. A node item is name 32, body length 4, node references 4,
//! chunk references 4; after all items follow their references, 32 bytes each, nodes before
//! chunks. The table stays readable without a key. Bytes 0..64 and the table are the seal's
//! associated data.

use bytes::Bytes;
use simsim_model::limits::{
    CHUNK_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_ITEMS_MAX, SEGMENT_PLAIN_BYTES_MAX,
};
use simsim_model::{DomainId, Name};

use aws_lc_rs::aead::Aad;

use crate::FormatError;
use crate::cursor::Cursor;
use crate::key::{DomainKey, NONCE_BYTES, TAG_BYTES, random_bytes};
use crate::proof::{Proof, Stage};

pub const SEGMENT_HEADER_BYTES: usize = 96;
const MAGIC: [u8; 4] = *b"SSG1";
const VERSION: u8 = 1;
const WHAT: &str = "segment";

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    Data = 1,
    Nodes = 2,
    /// A copy of a manifest, so that everything can be rebuilt from packs alone.
    Manifest = 3,
}

/// One chunk or node of a segment, from the readable table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentItem {
    pub name: Name,
    /// Plaintext bytes: of the chunk, or of the node's body.
    pub length: u32,
    node_refs: u32,
    chunk_refs: u32,
}

/// The references of one node.
#[derive(Debug, Clone, Copy)]
pub struct NodeRefs<'a> {
    nodes: &'a [u8],
    chunks: &'a [u8],
}

impl<'a> NodeRefs<'a> {
    pub fn nodes(&self) -> impl Iterator<Item = Name> + 'a + use<'a> {
        self.nodes.chunks_exact(32).filter_map(Name::from_slice)
    }

    pub fn chunks(&self) -> impl Iterator<Item = Name> + 'a + use<'a> {
        self.chunks.chunks_exact(32).filter_map(Name::from_slice)
    }
}

/// A parsed segment, not yet opened: all that a device needs. Parsing checks sizes, the table and
/// the checksum.
#[derive(Debug, Clone)]
pub struct SegmentView {
    pub kind: SegmentKind,
    pub domain: DomainId,
    pub items: Vec<SegmentItem>,
    pub plain_bytes: u32,
    sealed: bool,
    codec: u8,
    nonce: [u8; NONCE_BYTES],
    bytes: Bytes,
    refs_start: usize,
    payload_start: usize,
}

impl SegmentView {
    /// Length of the segment that starts with this header.
    pub fn length(header: &[u8]) -> Result<usize, FormatError> {
        let mut cursor = Cursor::new(header, WHAT);
        if cursor.array::<4>()? != MAGIC {
            return Err(cursor.malformed("no segment starts here"));
        }
        let version = cursor.u8()?;
        if version != VERSION {
            return Err(FormatError::Version {
                what: WHAT,
                found: version.into(),
                known: VERSION.into(),
            });
        }
        cursor.bytes(47)?;
        let table = cursor.u32()? as usize;
        cursor.u32()?;
        let payload = cursor.u32()? as usize;
        let length = SEGMENT_HEADER_BYTES.saturating_add(table).saturating_add(payload);
        if length > SEGMENT_BYTES_MAX {
            return Err(FormatError::TooLarge { what: WHAT, limit: SEGMENT_BYTES_MAX });
        }
        Ok(length)
    }

    /// Length of header and table, from the header: what an index rebuild has to read.
    pub fn table_end(header: &[u8]) -> Result<usize, FormatError> {
        Self::length(header)?;
        let mut cursor = Cursor::new(header, WHAT);
        cursor.bytes(52)?;
        Ok(SEGMENT_HEADER_BYTES + cursor.u32()? as usize)
    }

    /// Parses a whole segment and checks its checksum.
    pub fn parse(bytes: Bytes) -> Result<Self, FormatError> {
        let view = Self::parse_table(bytes)?;
        let expected = view.bytes.len();
        if Self::length(&view.bytes)? != expected {
            return Err(FormatError::Malformed {
                what: WHAT,
                why: "its length is not as declared",
            });
        }
        if view.checksum() != view.computed_checksum() {
            return Err(FormatError::Checksum { what: WHAT });
        }
        Ok(view)
    }

    /// Parses header and table only; the payload may be absent and nothing is checksummed. For
    /// rebuilding an index from packs whose footers name the segments' checksums.
    pub fn parse_table(bytes: Bytes) -> Result<Self, FormatError> {
        Self::length(&bytes)?;
        let mut cursor = Cursor::new(&bytes, WHAT);
        cursor.bytes(5)?;
        let kind = match cursor.u8()? {
            1 => SegmentKind::Data,
            2 => SegmentKind::Nodes,
            3 => SegmentKind::Manifest,
            _ => return Err(cursor.malformed("its kind is unknown")),
        };
        let sealed = match cursor.u8()? {
            0 if kind == SegmentKind::Manifest => false,
            1 if kind != SegmentKind::Manifest => true,
            _ => return Err(cursor.malformed("its seal does not fit its kind")),
        };
        let codec = cursor.u8()?;
        if codec > 1 {
            return Err(cursor.malformed("its codec is unknown"));
        }
        let domain = DomainId(cursor.array()?);
        let nonce = cursor.array()?;
        let count = cursor.u32()? as usize;
        let table_bytes = cursor.u32()? as usize;
        let plain_bytes = cursor.u32()?;
        let payload_bytes = cursor.u32()? as usize;
        cursor.bytes(32)?;
        if count > SEGMENT_ITEMS_MAX {
            return Err(cursor.malformed("it has too many items"));
        }
        if plain_bytes as usize > SEGMENT_PLAIN_BYTES_MAX {
            return Err(FormatError::TooLarge { what: WHAT, limit: SEGMENT_PLAIN_BYTES_MAX });
        }
        if sealed && payload_bytes < TAG_BYTES {
            return Err(cursor.malformed("its payload is shorter than a tag"));
        }
        let mut table = Cursor::new(cursor.bytes(table_bytes)?, "segment table");
        let mut items = Vec::with_capacity(count.min(table_bytes / 36 + 1));
        let (mut plain, mut refs) = (0u64, 0u64);
        for _ in 0..count {
            let name = Name(table.array()?);
            let length = table.u32()?;
            let (node_refs, chunk_refs) = match kind {
                SegmentKind::Nodes => (table.u32()?, table.u32()?),
                SegmentKind::Data | SegmentKind::Manifest => (0, 0),
            };
            if kind == SegmentKind::Data && length as usize > CHUNK_BYTES_MAX {
                return Err(FormatError::TooLarge { what: "chunk", limit: CHUNK_BYTES_MAX });
            }
            plain += u64::from(length);
            refs += u64::from(node_refs) + u64::from(chunk_refs);
            items.push(SegmentItem { name, length, node_refs, chunk_refs });
        }
        if plain != u64::from(plain_bytes) {
            return Err(table.malformed("its items do not sum up to its plaintext"));
        }
        if table.remaining() as u64 != refs * 32 {
            return Err(table.malformed("its references do not fill it"));
        }
        let payload_start = SEGMENT_HEADER_BYTES + table_bytes;
        let refs_start = payload_start - table.remaining();
        Ok(Self {
            kind,
            domain,
            items,
            plain_bytes,
            sealed,
            codec,
            nonce,
            bytes,
            refs_start,
            payload_start,
        })
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The checksum in the header.
    pub fn checksum(&self) -> Name {
        self.bytes.get(64..96).and_then(Name::from_slice).unwrap_or(Name::ZERO)
    }

    fn computed_checksum(&self) -> Name {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.bytes.get(..64).unwrap_or_default());
        hasher.update(self.bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default());
        Name(*hasher.finalize().as_bytes())
    }

    /// The nodes of a node segment with their references, in order.
    pub fn node_refs(&self) -> impl Iterator<Item = (&SegmentItem, NodeRefs<'_>)> {
        let mut rest = self.bytes.get(self.refs_start..self.payload_start).unwrap_or_default();
        self.items.iter().map(move |item| {
            let (nodes, tail) =
                rest.split_at_checked(item.node_refs as usize * 32).unwrap_or_default();
            let (chunks, tail) =
                tail.split_at_checked(item.chunk_refs as usize * 32).unwrap_or_default();
            rest = tail;
            (item, NodeRefs { nodes, chunks })
        })
    }

    /// The manifest bytes of a manifest copy.
    pub fn manifest_copy(&self) -> Option<Bytes> {
        (self.kind == SegmentKind::Manifest && self.codec == 0 && !self.sealed)
            .then(|| self.bytes.slice(self.payload_start..))
    }

    /// Start of each item in the plaintext, in order.
    pub fn offsets(&self) -> impl Iterator<Item = (usize, &SegmentItem)> {
        self.items.iter().scan(0usize, |next, item| {
            let start = *next;
            *next += item.length as usize;
            Some((start, item))
        })
    }

    /// A segment that holds a manifest's bytes: readable by the device, which writes it.
    pub fn encode_manifest_copy(domain: DomainId, name: Name, manifest: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES + 36 + manifest.len());
        let lengths = [1u32, 36, manifest.len() as u32, manifest.len() as u32];
        write_header(&mut out, SegmentKind::Manifest, 0, 0, domain, &[0; NONCE_BYTES], lengths);
        out.extend_from_slice(&name.0);
        out.extend_from_slice(&(manifest.len() as u32).to_le_bytes());
        out.extend_from_slice(manifest);
        write_checksum(&mut out);
        out
    }
}

fn write_header(
    out: &mut Vec<u8>,
    kind: SegmentKind,
    seal: u8,
    codec: u8,
    domain: DomainId,
    nonce: &[u8; NONCE_BYTES],
    lengths: [u32; 4],
) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind as u8, seal, codec]);
    out.extend_from_slice(&domain.0);
    out.extend_from_slice(nonce);
    for length in lengths {
        out.extend_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(&[0; 32]);
}

fn write_checksum(out: &mut [u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&out[..64]);
    hasher.update(&out[SEGMENT_HEADER_BYTES..]);
    out[64..96].copy_from_slice(hasher.finalize().as_bytes());
}

/// Collects items and makes sealed segments of them. Keeps its compression contexts: one per
/// worker thread.
pub struct Sealer {
    key: DomainKey,
    domain: DomainId,
    compressor: zstd_safe::CCtx<'static>,
    level: i32,
    compressed: Vec<u8>,
    pub(crate) proof: Proof,
}

impl Sealer {
    pub fn new(key: DomainKey, domain: DomainId, zstd_level: i32) -> Self {
        let proof = Proof::new(key.clone());
        Self {
            key,
            domain,
            compressor: zstd_safe::CCtx::create(),
            level: zstd_level,
            compressed: Vec::new(),
            proof,
        }
    }

    /// A data segment: `items` are names and lengths of the chunks that `plaintext` holds, one
    /// after the other. What was sealed is opened again and held against the names (ROT01, ROT02).
    pub fn seal_data(
        &mut self,
        items: &[(Name, u32)],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, FormatError> {
        let mut table = Vec::with_capacity(items.len() * 36);
        for (name, length) in items {
            table.extend_from_slice(&name.0);
            table.extend_from_slice(&length.to_le_bytes());
        }
        self.seal(SegmentKind::Data, items.len(), &table, plaintext)
    }

    /// A node segment.
    pub fn seal_nodes(&mut self, nodes: &[crate::Node]) -> Result<Vec<u8>, FormatError> {
        let mut table = Vec::new();
        let mut plaintext = Vec::new();
        for node in nodes {
            table.extend_from_slice(&node.name.0);
            for length in [node.body.len(), node.nodes.len(), node.chunks.len()] {
                table.extend_from_slice(&(length as u32).to_le_bytes());
            }
            plaintext.extend_from_slice(&node.body);
        }
        for name in nodes.iter().flat_map(|node| node.nodes.iter().chain(&node.chunks)) {
            table.extend_from_slice(&name.0);
        }
        self.seal(SegmentKind::Nodes, nodes.len(), &table, &plaintext)
    }

    pub(crate) fn seal(
        &mut self,
        kind: SegmentKind,
        items: usize,
        table: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, FormatError> {
        if plaintext.len() > SEGMENT_PLAIN_BYTES_MAX || items > SEGMENT_ITEMS_MAX {
            return Err(FormatError::TooLarge { what: WHAT, limit: SEGMENT_PLAIN_BYTES_MAX });
        }
        let start = SEGMENT_HEADER_BYTES + table.len();
        self.compressed.clear();
        self.compressed.reserve(zstd_safe::compress_bound(plaintext.len()));
        let compressed = self
            .compressor
            .compress(&mut self.compressed, plaintext, self.level)
            .map_err(compress_error)?;
        self.proof.meddle(Stage::Compressed, &mut self.compressed);
        let shrinks = compressed < plaintext.len();
        let payload = if shrinks { &self.compressed[..] } else { plaintext };
        let mut out = Vec::with_capacity(start + payload.len() + TAG_BYTES);
        let nonce: [u8; NONCE_BYTES] = random_bytes()?;
        write_header(&mut out, kind, 1, u8::from(shrinks), self.domain, &nonce, [0; 4]);
        out.extend_from_slice(table);
        out.extend_from_slice(payload);
        self.proof.meddle(Stage::Filled, &mut out);
        let payload = out.len() - start + TAG_BYTES;
        let lengths = [items, table.len(), plaintext.len(), payload];
        for (place, length) in lengths.iter().enumerate() {
            let at = 48 + place * 4;
            out[at..at + 4].copy_from_slice(&(*length as u32).to_le_bytes());
        }
        let (aead, short) = self.key.aead(&nonce)?;
        let (head, body) = out.split_at_mut(start);
        let tag = aead
            .seal_in_place_separate_tag(short, Aad::from(associated(head)), body)
            .map_err(|_| FormatError::Seal { what: WHAT })?;
        out.extend_from_slice(tag.as_ref());
        self.proof.meddle(Stage::Sealed, &mut out);
        write_checksum(&mut out);
        self.proof.meddle(Stage::Finished, &mut out);
        self.proof.prove(out, kind, self.domain, items)
    }
}

fn compress_error(code: usize) -> FormatError {
    FormatError::Compress { why: zstd_safe::get_error_name(code).to_owned() }
}

/// Bytes 0..64 and the table, in one piece: the checksum between them is left out.
fn associated(head: &[u8]) -> Vec<u8> {
    let mut associated = Vec::with_capacity(head.len());
    associated.extend_from_slice(head.get(..64).unwrap_or_default());
    associated.extend_from_slice(head.get(SEGMENT_HEADER_BYTES..).unwrap_or_default());
    associated
}

/// Opens segments. Keeps its decompression context and buffer: one per worker thread.
pub struct Opener {
    key: DomainKey,
    decompressor: zstd_safe::DCtx<'static>,
    buffer: Vec<u8>,
}

impl Opener {
    pub fn new(key: DomainKey) -> Self {
        Self { key, decompressor: zstd_safe::DCtx::create(), buffer: Vec::new() }
    }

    pub fn key(&self) -> &DomainKey {
        &self.key
    }

    /// Opens a segment into its plaintext. The output never grows past the declared length, which
    /// parsing has held against the limit. Names of items are *not* checked here.
    pub fn open(&mut self, view: &SegmentView) -> Result<Vec<u8>, FormatError> {
        if !view.sealed {
            return Err(FormatError::Malformed { what: WHAT, why: "it is not sealed" });
        }
        let (aead, short) = self.key.aead(&view.nonce)?;
        let head = view.bytes.get(..view.payload_start).unwrap_or_default();
        self.buffer.clear();
        self.buffer.extend_from_slice(view.bytes.get(view.payload_start..).unwrap_or_default());
        let payload = aead
            .open_in_place(short, Aad::from(associated(head)), &mut self.buffer)
            .map_err(|_| FormatError::Seal { what: WHAT })?;
        let plain_bytes = view.plain_bytes as usize;
        if view.codec == 0 {
            if payload.len() != plain_bytes {
                return Err(FormatError::Malformed {
                    what: WHAT,
                    why: "its stored length differs",
                });
            }
            return Ok(payload.to_vec());
        }
        // The declared length, checked when the view was made, is all the room there is.
        let mut plaintext = Vec::with_capacity(plain_bytes);
        let length = self
            .decompressor
            .decompress(&mut plaintext, payload)
            .map_err(|_| FormatError::Malformed { what: WHAT, why: "it does not decompress" })?;
        if length != plain_bytes {
            return Err(FormatError::Malformed { what: WHAT, why: "it decompresses to less" });
        }
        Ok(plaintext)
    }

    /// Does this plaintext carry this chunk name?
    pub fn check_chunk(&self, name: &Name, plaintext: &[u8]) -> Result<(), FormatError> {
        if self.key.chunk_name(plaintext) == *name {
            Ok(())
        } else {
            Err(FormatError::Name { what: "chunk" })
        }
    }

    /// Opens a node segment into its nodes, every name checked.
    pub fn open_nodes(&mut self, view: &SegmentView) -> Result<Vec<crate::Node>, FormatError> {
        if view.kind != SegmentKind::Nodes {
            return Err(FormatError::Malformed { what: WHAT, why: "it holds no nodes" });
        }
        let plaintext = self.open(view)?;
        self.nodes_of(view, &plaintext)
    }

    /// The nodes of an opened segment, every name checked.
    pub(crate) fn nodes_of(
        &self,
        view: &SegmentView,
        plaintext: &[u8],
    ) -> Result<Vec<crate::Node>, FormatError> {
        let mut rest = plaintext;
        let mut nodes = Vec::with_capacity(view.items.len());
        for (item, refs) in view.node_refs() {
            let (body, tail) = rest
                .split_at_checked(item.length as usize)
                .ok_or(FormatError::Truncated { what: "node" })?;
            rest = tail;
            let node = crate::Node {
                name: item.name,
                nodes: refs.nodes().collect(),
                chunks: refs.chunks().collect(),
                body: body.to_vec(),
            };
            if self.key.node_name(&node.nodes, &node.chunks, &node.body) != node.name {
                return Err(FormatError::Name { what: "node" });
            }
            nodes.push(node);
        }
        Ok(nodes)
    }
}
