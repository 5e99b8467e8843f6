//! The manifest: the root of a saveset and its commit point (`docs/format/manifest.md`).
//!
//! ```text
//!   0   8  magic "SIMSIMMF"          112  8  scan started, unix ns (client's clock)
//!   8   2  version 1                 120  8  started, unix ns (device's clock)
//!  10   1  level                     128  8  committed, unix ns (device's clock)
//!  11   5  zero                      136  8  lock until, unix s (0: none)
//!  16  16  store id                  144 56  files · dirs · bytes · bytes new · bytes stored ·
//!  32  16  domain id                         problems · segments, u64 each
//!  48  16  saveset id                200  4  details bytes
//!  64   8  sequence                  204 32  root node's name
//!  72   8  generation                236  …  details: sealed (nonce 24, ciphertext, tag)
//!  80  16  base saveset id           …  32  BLAKE3 of all before
//!  96  16  origin: store id
//! ```
//! A base saveset id of zeros means none. A copy names the datastore in which the saveset was made;
//! an origin of zeros means this one.

use simsim_model::limits::MANIFEST_BYTES_MAX;
use simsim_model::{DomainId, Level, Name, SavesetId, StoreId};

use crate::FormatError;
use crate::cursor::{Cursor, put_bytes, put_varint};
use crate::key::{DomainKey, open_small, seal_small};

pub const MANIFEST_MAGIC: [u8; 8] = *b"SIMSIMMF";
const VERSION: u16 = 1;
const WHAT: &str = "manifest";

/// A saveset's root as stored. All of it but the details is readable without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub store: StoreId,
    pub domain: DomainId,
    pub saveset: SavesetId,
    /// Position among all savesets of the datastore.
    pub sequence: u64,
    /// The store's fencing generation at commit.
    pub generation: u64,
    pub level: Level,
    pub base: Option<SavesetId>,
    /// Of a copy: the datastore in which the saveset was made.
    pub origin: Option<StoreId>,
    pub root: Name,
    pub scan_started_unix_ns: i64,
    pub started_unix_ns: i64,
    pub committed_unix_ns: i64,
    /// The saveset must live until then; can be extended, never shortened. 0: no lock.
    pub lock_until_unix_s: u64,
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
    pub bytes_new: u64,
    pub bytes_stored: u64,
    pub problems: u64,
    pub segments: u64,
    pub sealed_details: Vec<u8>,
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(300 + self.sealed_details.len());
        out.extend_from_slice(&MANIFEST_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[self.level.to_byte(), 0, 0, 0, 0, 0]);
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.domain.0);
        out.extend_from_slice(&self.saveset.0);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.base.unwrap_or(SavesetId::ZERO).0);
        out.extend_from_slice(&self.origin.map_or([0; 16], |store| store.0));
        for time in [self.scan_started_unix_ns, self.started_unix_ns, self.committed_unix_ns] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        let numbers = [
            self.lock_until_unix_s,
            self.files,
            self.dirs,
            self.bytes,
            self.bytes_new,
            self.bytes_stored,
            self.problems,
            self.segments,
        ];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&(self.sealed_details.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.root.0);
        out.extend_from_slice(&self.sealed_details);
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(FormatError::TooLarge { what: WHAT, limit: MANIFEST_BYTES_MAX });
        }
        let mut cursor = Cursor::new(bytes, WHAT);
        if cursor.array::<8>()? != MANIFEST_MAGIC {
            return Err(cursor.malformed("this is not a manifest"));
        }
        let version = cursor.u16()?;
        if version != VERSION {
            return Err(FormatError::Version {
                what: WHAT,
                found: version.into(),
                known: VERSION.into(),
            });
        }
        let (body, checksum) =
            bytes.split_last_chunk::<32>().ok_or(FormatError::Truncated { what: WHAT })?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let level = Level::from_byte(cursor.u8()?)
            .ok_or_else(|| cursor.malformed("its level is unknown"))?;
        cursor.bytes(5)?;
        let store = StoreId(cursor.array()?);
        let domain = DomainId(cursor.array()?);
        let saveset = SavesetId(cursor.array()?);
        let sequence = cursor.u64()?;
        let generation = cursor.u64()?;
        let base = Some(SavesetId(cursor.array()?)).filter(|base| !base.is_zero());
        let origin = Some(StoreId(cursor.array()?)).filter(|store| store.0 != [0; 16]);
        let scan_started_unix_ns = cursor.i64()?;
        let started_unix_ns = cursor.i64()?;
        let committed_unix_ns = cursor.i64()?;
        let lock_until_unix_s = cursor.u64()?;
        let files = cursor.u64()?;
        let dirs = cursor.u64()?;
        let bytes = cursor.u64()?;
        let bytes_new = cursor.u64()?;
        let bytes_stored = cursor.u64()?;
        let problems = cursor.u64()?;
        let segments = cursor.u64()?;
        let details = cursor.u32()? as usize;
        let root = Name(cursor.array()?);
        // PWR12: a saveset without a tree does not exist.
        if root.is_zero() || saveset.is_zero() {
            return Err(cursor.malformed("it has no root"));
        }
        let sealed_details = cursor.bytes(details)?.to_vec();
        cursor.bytes(32)?;
        cursor.finish()?;
        Ok(Self {
            store,
            domain,
            saveset,
            sequence,
            generation,
            level,
            base,
            origin,
            root,
            scan_started_unix_ns,
            started_unix_ns,
            committed_unix_ns,
            lock_until_unix_s,
            files,
            dirs,
            bytes,
            bytes_new,
            bytes_stored,
            problems,
            segments,
            sealed_details,
        })
    }
}

/// The part of a manifest that only a key opens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManifestDetails {
    pub client: String,
    pub task: String,
    pub sources: Vec<Vec<u8>>,
    /// The first problems of the report: path, sentence.
    pub problems: Vec<(Vec<u8>, String)>,
}

impl ManifestDetails {
    /// Sealed for one saveset of one domain.
    pub fn seal(
        &self,
        key: &DomainKey,
        domain: DomainId,
        saveset: SavesetId,
    ) -> Result<Vec<u8>, FormatError> {
        seal_small(key.seal_key(), &associated(domain, saveset), &self.encode())
    }

    /// What is sealed. The problems kept are cut to 256 KiB.
    pub fn encode(&self) -> Vec<u8> {
        let mut plain = vec![1];
        put_bytes(&mut plain, self.client.as_bytes());
        put_bytes(&mut plain, self.task.as_bytes());
        put_varint(&mut plain, self.sources.len() as u64);
        for source in &self.sources {
            put_bytes(&mut plain, source);
        }
        let mut problems = Vec::new();
        let mut count = 0;
        for (path, text) in &self.problems {
            if problems.len() + path.len() + text.len() > 256 * 1024 {
                break;
            }
            put_bytes(&mut problems, path);
            put_bytes(&mut problems, text.as_bytes());
            count += 1;
        }
        put_varint(&mut plain, count);
        plain.extend_from_slice(&problems);
        plain
    }

    pub fn open(
        key: &DomainKey,
        domain: DomainId,
        saveset: SavesetId,
        sealed: &[u8],
    ) -> Result<Self, FormatError> {
        let associated = associated(domain, saveset);
        Self::decode(&open_small(key.seal_key(), &associated, sealed, "manifest details")?)
    }

    /// The inverse of [`ManifestDetails::encode`]: a client wrote it, so nothing is believed.
    pub fn decode(plain: &[u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "manifest details";
        let mut cursor = Cursor::new(plain, WHAT);
        let version = cursor.u8()?;
        if version != 1 {
            return Err(FormatError::Version { what: WHAT, found: version.into(), known: 1 });
        }
        let text = |cursor: &mut Cursor<'_>| -> Result<String, FormatError> {
            String::from_utf8(cursor.prefixed(MANIFEST_BYTES_MAX)?.to_vec())
                .map_err(|_| cursor.malformed("a text is not UTF-8"))
        };
        let client = text(&mut cursor)?;
        let task = text(&mut cursor)?;
        let mut sources = Vec::new();
        for _ in 0..cursor.varint()? {
            sources.push(cursor.prefixed(MANIFEST_BYTES_MAX)?.to_vec());
        }
        let mut problems = Vec::new();
        for _ in 0..cursor.varint()? {
            let path = cursor.prefixed(MANIFEST_BYTES_MAX)?.to_vec();
            problems.push((path, text(&mut cursor)?));
        }
        cursor.finish()?;
        Ok(Self { client, task, sources, problems })
    }
}

fn associated(domain: DomainId, saveset: SavesetId) -> Vec<u8> {
    [b"simsim manifest details v1".as_slice(), &domain.0, &saveset.0].concat()
}
