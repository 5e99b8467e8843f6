//! Values with every field in use.

use simsim_format::*;
use simsim_model::{DomainId, Level, Name, SavesetId, Secret, StoreId, Timestamp};

pub fn key() -> DomainKey {
    DomainKey::new(&Secret([5; 32]))
}

pub fn domain() -> DomainId {
    DomainId([2; 16])
}

pub fn entry(name: &[u8], kind: EntryKind, content: Content, size: u64) -> Entry {
    Entry {
        name: name.to_vec(),
        kind,
        mode: 0o4755,
        uid: 1000,
        gid: 70_000,
        mtime: Timestamp::new(-5, 999_999_999),
        ctime: Timestamp::new(1_767_225_600, 7),
        ino: u64::MAX,
        dev: 0,
        nlink: 1,
        size,
        flags: 0,
        xattrs: Vec::new(),
        content,
    }
}

pub fn entries() -> Vec<Entry> {
    let chunk = |byte, length| Piece::Chunk { name: Name([byte; 32]), length };
    let pieces = vec![chunk(1, 4096), Piece::Hole { length: 1 << 40 }, chunk(2, 1)];
    let size = pieces.iter().map(Piece::length).sum();
    let totals = DirTotals { files: 3, dirs: 1, bytes: 99 };
    let mut all = vec![
        entry(b"a", EntryKind::File, Content::None, 0),
        entry(b"b", EntryKind::File, Content::Inline(b"inline".to_vec()), 6),
        entry(b"c\xff\n", EntryKind::File, Content::Pieces(pieces), size),
        entry(b"d", EntryKind::File, Content::List(Name([3; 32])), 1 << 50),
        entry(b"e", EntryKind::Directory(totals), Content::Tree(Name([4; 32])), 0),
        entry(b"f", EntryKind::Symlink(b"\xfe/../x".to_vec()), Content::None, 0),
        entry(b"g", EntryKind::Fifo, Content::None, 0),
        entry(b"h", EntryKind::Socket, Content::None, 0),
        entry(b"i", EntryKind::CharDevice { major: 1, minor: 3 }, Content::None, 0),
        entry(b"j", EntryKind::BlockDevice { major: 8, minor: 1 }, Content::None, 0),
        entry(b"k", EntryKind::File, Content::Missing, 12),
    ];
    all[2].dev = 77;
    all[2].nlink = 3;
    all[2].flags = 0x10;
    all[2].xattrs = vec![(b"user.a".to_vec(), b"1\0\xff".to_vec()), (b"user.b".to_vec(), vec![])];
    all
}

pub fn pages() -> Vec<Page> {
    let index =
        |first: &[u8], entries| PageIndex { first: first.to_vec(), entries, page: Name([9; 32]) };
    vec![
        Page::Entries(entries()),
        Page::Entries(Vec::new()),
        Page::Index(vec![index(b"a", 3), index(b"b", 1 << 40)]),
        Page::Pieces(vec![
            Piece::Hole { length: 9 },
            Piece::Chunk { name: Name([6; 32]), length: 8 << 20 },
        ]),
        Page::Lists(vec![ListPage { length: 1 << 60, page: Name([8; 32]) }]),
    ]
}

pub fn manifest() -> Manifest {
    Manifest {
        store: StoreId([1; 16]),
        domain: domain(),
        saveset: SavesetId([3; 16]),
        sequence: 4,
        generation: 5,
        level: Level::Incr,
        base: Some(SavesetId([6; 16])),
        origin: None,
        root: Name([7; 32]),
        scan_started_unix_ns: -8,
        started_unix_ns: 9,
        committed_unix_ns: 10,
        lock_until_unix_s: 11,
        files: 12,
        dirs: 13,
        bytes: 14,
        bytes_new: 15,
        bytes_stored: 16,
        problems: 17,
        segments: 18,
        sealed_details: b"sealed".to_vec(),
    }
}
