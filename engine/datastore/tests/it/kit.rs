//! Small backups made by hand: sealed chunks, nodes that refer to them, and a restore that reads
//! everything below a root.

use std::sync::Arc;

use bytes::Bytes;
use simsim_datastore::{CreateOptions, Datastore, OpenOptions, SessionOptions, WriteSession};
use simsim_format::{DomainKey, Manifest, Node, Opener, Sealer, SegmentKind, SegmentView};
use simsim_model::{
    BackupSession, CommitReply, DomainId, Level, ManifestDraft, Name, RestoreSession, SavesetId,
    Secret, SessionError, StoreId,
};
use simsim_storage::Storage;

pub const DOMAIN: DomainId = DomainId([7; 16]);
pub const STORE: StoreId = StoreId([3; 16]);

pub fn key() -> DomainKey {
    DomainKey::new(&Secret([9; 32]))
}

pub fn create_options() -> CreateOptions {
    CreateOptions { store: STORE, name: "golden".into(), cut: Default::default() }
}

pub fn open_options() -> OpenOptions {
    OpenOptions { pack_bytes: 64 << 10, reserve_bytes: Some(0), ..OpenOptions::default() }
}

pub fn open(storage: &Arc<dyn Storage>) -> Datastore {
    Datastore::open(storage.clone(), open_options()).unwrap()
}

/// Content that does not compress, different for each seed.
pub fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

pub fn data_segment(domain: DomainId, chunks: &[Vec<u8>]) -> (Vec<Name>, Bytes) {
    let names: Vec<Name> = chunks.iter().map(|chunk| key().chunk_name(chunk)).collect();
    let items: Vec<(Name, u32)> =
        names.iter().zip(chunks).map(|(name, chunk)| (*name, chunk.len() as u32)).collect();
    let sealed = Sealer::new(key(), domain, 1).seal_data(&items, &chunks.concat()).unwrap();
    (names, Bytes::from(sealed))
}

pub fn node(nodes: &[Name], chunks: &[Name]) -> Node {
    let name = key().node_name(nodes, chunks, b"body");
    Node { name, nodes: nodes.to_vec(), chunks: chunks.to_vec(), body: b"body".to_vec() }
}

pub fn node_segment(domain: DomainId, nodes: &[Node]) -> Bytes {
    Bytes::from(Sealer::new(key(), domain, 1).seal_nodes(nodes).unwrap())
}

pub fn draft(root: Name, segments: u64) -> ManifestDraft {
    ManifestDraft {
        level: Level::Full,
        root,
        base: None,
        scan_started_unix_ns: 1,
        files: 1,
        dirs: 1,
        bytes: 10,
        bytes_new: 10,
        bytes_stored: 10,
        problems: 0,
        sealed_details: b"details".to_vec(),
        segments,
    }
}

pub fn session(datastore: &Datastore, saveset: u8) -> WriteSession {
    datastore.session(DOMAIN, SavesetId([saveset; 16]), SessionOptions::default())
}

/// A backup of `data` segments of four chunks each, two node levels and a commit.
pub fn backup(
    session: &WriteSession,
    seed: u64,
    data: u64,
    chunk_bytes: usize,
) -> Result<CommitReply, SessionError> {
    let mut number = 0;
    let mut parents = Vec::new();
    for segment in 0..data {
        let chunks: Vec<Vec<u8>> =
            (0..4).map(|chunk| content(seed * 1000 + segment * 10 + chunk, chunk_bytes)).collect();
        let (names, bytes) = data_segment(session.domain(), &chunks);
        session.put(number, bytes)?;
        number += 1;
        parents.push(node(&[], &names));
    }
    let names: Vec<Name> = parents.iter().map(|node| node.name).collect();
    let root = node(&names, &[]);
    session.put(number, node_segment(session.domain(), &parents))?;
    session.put(number + 1, node_segment(session.domain(), std::slice::from_ref(&root)))?;
    session.commit(&draft(root.name, number + 2))
}

/// A chunk of the trees of [`backup_leaves`].
pub fn leaf_content(seed: u64) -> Vec<u8> {
    content(seed, 2000 + (seed % 7) as usize * 500)
}

/// A node that refers to these chunks, as they are named.
pub fn leaf(seeds: &[u64]) -> Node {
    let names: Vec<Name> =
        seeds.iter().map(|seed| key().chunk_name(&leaf_content(*seed))).collect();
    node(&[], &names)
}

/// Backs a tree of leaves up as a client does: it asks first, and sends what is not there, chunks before
/// the nodes that refer to them, several nodes in a segment.
pub fn backup_leaves(
    session: &WriteSession,
    leaves: &[Vec<u64>],
) -> Result<CommitReply, SessionError> {
    let (root, segments) = put_leaves(session, leaves)?;
    session.commit(&draft(root, segments))
}

/// As [`backup_leaves`], without the commit: the root and how many segments were sent.
pub fn put_leaves(
    session: &WriteSession,
    leaves: &[Vec<u64>],
) -> Result<(Name, u64), SessionError> {
    let nodes: Vec<Node> = leaves.iter().map(|seeds| leaf(seeds)).collect();
    let names: Vec<Name> = nodes.iter().map(|node| node.name).collect();
    // Two halves below the root, so that there is a level between.
    let middle: Vec<Node> =
        names.chunks(names.len().div_ceil(2).max(1)).map(|half| node(half, &[])).collect();
    let below: Vec<Name> = middle.iter().map(|node| node.name).collect();
    let root = node(&below, &[]);
    let missing = |nodes: Vec<Node>| -> Result<Vec<Node>, SessionError> {
        let names: Vec<Name> = nodes.iter().map(|node| node.name).collect();
        let known = session.has(&names)?;
        let mut lacking: Vec<Node> = nodes
            .into_iter()
            .zip(known)
            .filter(|(_, known)| !known)
            .map(|(node, _)| node)
            .collect();
        lacking.sort_by_key(|node| node.name);
        lacking.dedup_by_key(|node| node.name);
        Ok(lacking)
    };
    let mut number = 0;
    let mut put = |bytes: Bytes| -> Result<(), SessionError> {
        session.put(number, bytes)?;
        number += 1;
        Ok(())
    };
    let lacking = missing(nodes)?;
    for seeds in leaves.iter().filter(|seeds| {
        let name = leaf(seeds).name;
        lacking.iter().any(|node| node.name == name)
    }) {
        let mut contents: Vec<Vec<u8>> = seeds.iter().map(|seed| leaf_content(*seed)).collect();
        let names: Vec<Name> = contents.iter().map(|content| key().chunk_name(content)).collect();
        let mut known = session.has(&names)?.into_iter();
        contents.retain(|_| known.next() == Some(false));
        if !contents.is_empty() {
            put(data_segment(session.domain(), &contents).1)?;
        }
    }
    let upper = missing(middle)?;
    for nodes in [lacking, upper, missing(vec![root.clone()])?] {
        if !nodes.is_empty() {
            put(node_segment(session.domain(), &nodes))?;
        }
    }
    Ok((root.name, number))
}

/// Bytes that a tree of leaves restores to, each reference counted.
pub fn leaf_bytes(leaves: &[Vec<u64>]) -> u64 {
    leaves.iter().flatten().map(|seed| leaf_content(*seed).len() as u64).sum()
}

/// Opens everything below a saveset's root and checks every chunk's name. Returns the bytes of
/// all chunks.
pub fn restore(datastore: &Datastore, saveset: SavesetId) -> Result<u64, String> {
    let session = datastore.read_session(DOMAIN);
    let manifest = session.manifest(saveset).map_err(|error| error.to_string())?;
    let manifest = Manifest::decode(&manifest).map_err(|error| error.to_string())?;
    let mut opener = Opener::new(key());
    let mut pending = vec![(manifest.root, SegmentKind::Nodes)];
    let mut total = 0;
    while let Some((name, kind)) = pending.pop() {
        let place = session.locate(&[name]).map_err(|error| error.to_string())?[0]
            .ok_or_else(|| format!("{name} has no place"))?;
        let bytes = session.get(&[place]).map_err(|error| error.to_string())?[0]
            .clone()
            .ok_or_else(|| format!("{name} cannot be read"))?;
        let view = SegmentView::parse(bytes).map_err(|error| error.to_string())?;
        if view.kind != kind {
            return Err(format!("{name} is of another kind"));
        }
        let plain = opener.open(&view).map_err(|error| error.to_string())?;
        match kind {
            SegmentKind::Nodes => {
                let (_, refs) = view
                    .node_refs()
                    .find(|(item, _)| item.name == name)
                    .ok_or("the node is not in its segment")?;
                pending.extend(refs.nodes().map(|name| (name, SegmentKind::Nodes)));
                pending.extend(refs.chunks().map(|name| (name, SegmentKind::Data)));
            }
            _ => {
                let (start, item) = view
                    .offsets()
                    .find(|(_, item)| item.name == name)
                    .ok_or("the chunk is not in its segment")?;
                let chunk = &plain[start..start + item.length as usize];
                if key().chunk_name(chunk) != name {
                    return Err(format!("{name} has other content"));
                }
                total += chunk.len() as u64;
            }
        }
    }
    Ok(total)
}
