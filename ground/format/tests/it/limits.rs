//! Each limit of what is read: what lies at it decodes, one past it is refused, and the error names it.

use bytes::Bytes;
use simsim_format::*;
use simsim_model::Name;
use simsim_model::limits::*;

use crate::sample;

fn node(page: &Page) -> Result<Page, FormatError> {
    Node::new(&sample::key(), page).page()
}

/// `make(limit)` decodes to itself; `make(limit + 1)` is refused with a text that says the limit.
fn holds(limit: usize, make: impl Fn(usize) -> Page) {
    let whole = make(limit);
    assert!(node(&whole).unwrap() == whole, "{limit}");
    let error = node(&make(limit + 1)).expect_err("one past the limit");
    let named = error.to_string().contains(&limit.to_string());
    assert!(named, "{error}");
}

fn fifo(name: impl Into<Vec<u8>>) -> Entry {
    sample::entry(&name.into(), EntryKind::Fifo, Content::None, 0)
}

fn only(entry: Entry) -> Page {
    Page::Entries(vec![entry])
}

fn file_of(pieces: Vec<Piece>) -> Page {
    let size = pieces.iter().map(Piece::length).sum();
    only(sample::entry(b"file", EntryKind::File, Content::Pieces(pieces), size))
}

#[test]
fn a_page_has_so_many_entries_and_an_index_so_many_pages() {
    let name = |at: usize| format!("{at:06}").into_bytes();
    holds(PAGE_ENTRIES_MAX, |count| Page::Entries((0..count).map(|at| fifo(name(at))).collect()));
    let page = |at| PageIndex { first: name(at), entries: 1, page: Name([9; 32]) };
    holds(PAGE_ENTRIES_MAX, |count| Page::Index((0..count).map(page).collect()));
}

#[test]
fn a_list_has_so_many_pieces_and_so_has_an_entry() {
    let holes = |count| vec![Piece::Hole { length: 1 }; count];
    holds(LIST_PIECES_MAX, |count| Page::Pieces(holes(count)));
    holds(LIST_PIECES_MAX, |count| file_of(holes(count)));
    let list = ListPage { length: 1, page: Name([8; 32]) };
    holds(LIST_PIECES_MAX, |count| Page::Lists(vec![list; count]));
}

/// A hole is one byte of a body and forty in memory.
#[test]
fn a_body_of_nothing_but_holes_is_refused_before_it_is_unfolded() {
    for kind in [2u8, 3, 0, 1] {
        let mut body = vec![1, kind];
        put_varint(&mut body, 16 << 20);
        body.resize(SEGMENT_PLAIN_BYTES_MAX, 1);
        let node = Node { name: Name::ZERO, nodes: Vec::new(), chunks: Vec::new(), body };
        let error = node.page().expect_err("too many");
        assert!(matches!(error, FormatError::TooMany { .. }), "{error}");
    }
}

#[test]
fn entries_of_one_page_have_a_weight_together_and_one_alone_its_own_limits() {
    // Seven whole values, and one of these bytes.
    let heavy = |at: u8, bytes: usize| {
        let values = std::iter::repeat_n(XATTR_VALUE_BYTES_MAX, 7).chain([bytes]);
        let xattrs = (b'a'..).zip(values).map(|(name, bytes)| (vec![name], vec![0; bytes]));
        Entry { xattrs: xattrs.collect(), ..fifo(vec![b'a' + at]) }
    };
    let weight = heavy(0, 0).weight();
    let page = |bytes: usize| {
        let rest = bytes - 9 * weight;
        let entries: Vec<_> = (0..9).map(|at| heavy(at, if at < 8 { 0 } else { rest })).collect();
        assert_eq!(entries.iter().map(Entry::weight).sum::<usize>(), bytes);
        Page::Entries(entries)
    };
    holds(PAGE_BYTES_MAX, page);
    let alone = file_of(vec![Piece::Hole { length: 1 }; LIST_PIECES_MAX]);
    assert_eq!(node(&alone).unwrap(), alone);
}

#[test]
fn attributes_have_limits_of_number_of_value_and_of_all_together() {
    let with = |xattrs| only(Entry { xattrs, ..fifo("x") });
    let tiny =
        |count: usize| (0..count).map(|at| (format!("{at:05}").into(), Vec::new())).collect();
    holds(XATTRS_MAX, |count| with(tiny(count)));
    holds(XATTR_VALUE_BYTES_MAX, |bytes| with(vec![(b"user.a".to_vec(), vec![0; bytes])]));
    let of = |bytes: usize| {
        let names = (0..16u8).map(|at| vec![b'a' + at]);
        let mut all: Vec<_> = names.map(|name| (name, vec![0; 60 << 10])).collect();
        let rest = bytes - 16 - 16 * (60 << 10) - 1;
        all.push((b"z".to_vec(), vec![0; rest]));
        all
    };
    holds(XATTRS_BYTES_MAX, |bytes| with(of(bytes)));
}

#[test]
fn names_and_targets_of_links_have_their_limits() {
    let link = |bytes| EntryKind::Symlink(vec![b'x'; bytes]);
    holds(SYMLINK_BYTES_MAX, |bytes| only(sample::entry(b"l", link(bytes), Content::None, 0)));
    holds(PATH_COMPONENT_BYTES_MAX, |bytes| only(fifo(vec![b'x'; bytes])));
    let inline = |bytes: usize| {
        let content = Content::Inline(vec![1; bytes]);
        only(sample::entry(b"i", EntryKind::File, content, bytes as u64))
    };
    holds(INLINE_BYTES_MAX, inline);
}

#[test]
fn a_chunk_has_its_limit_where_a_file_names_it_and_where_a_segment_holds_it() {
    let piece = |bytes: usize| vec![Piece::Chunk { name: Name([1; 32]), length: bytes as u32 }];
    node(&file_of(piece(CHUNK_BYTES_MAX))).unwrap();
    let error = node(&file_of(piece(CHUNK_BYTES_MAX + 1))).unwrap_err();
    assert!(error.to_string().contains("a chunk is larger than its limit"), "{error}");

    let key = sample::key();
    let mut sealer = Sealer::new(key.clone(), sample::domain(), 1);
    let mut seal = |bytes: usize| {
        let plaintext = vec![0; bytes];
        sealer.seal_data(&[(key.chunk_name(&plaintext), bytes as u32)], &plaintext)
    };
    let whole = seal(CHUNK_BYTES_MAX).unwrap();
    let view = SegmentView::parse(Bytes::from(whole.clone())).unwrap();
    assert_eq!(view.items[0].length as usize, CHUNK_BYTES_MAX);
    assert!(seal(CHUNK_BYTES_MAX + 1).is_err());
    // As one who seals by hand would send it.
    let mut larger = whole;
    for at in [56, SEGMENT_HEADER_BYTES + 32] {
        larger[at..at + 4].copy_from_slice(&(CHUNK_BYTES_MAX as u32 + 1).to_le_bytes());
    }
    let error = SegmentView::parse_table(Bytes::from(larger)).unwrap_err();
    assert_eq!(error, FormatError::TooLarge { what: "chunk", limit: CHUNK_BYTES_MAX });
}

/// A header that declares these lengths: items, table, plaintext, payload.
fn header(lengths: [usize; 4]) -> Vec<u8> {
    let mut header = b"SSG1\x01\x01\x01\x01".to_vec();
    header.resize(SEGMENT_HEADER_BYTES, 0);
    for (place, length) in lengths.iter().enumerate() {
        let at = 48 + 4 * place;
        header[at..at + 4].copy_from_slice(&(*length as u32).to_le_bytes());
    }
    header
}

#[test]
fn a_segment_has_limits_of_items_of_plaintext_and_of_all_of_it() {
    let parse = |items: usize, plain: usize| {
        let mut bytes = header([items, items * 36, plain, 16]);
        let mut table = vec![0; items * 36];
        table.chunks_exact_mut(36).enumerate().for_each(|(at, item)| {
            let length = (plain / 4) as u32 * u32::from(at < 4);
            item[32..].copy_from_slice(&length.to_le_bytes());
        });
        if let Some(first) = table.get_mut(32..36) {
            let length = (plain / 4 + plain % 4) as u32;
            first.copy_from_slice(&length.to_le_bytes());
        }
        bytes.append(&mut table);
        SegmentView::parse_table(Bytes::from(bytes)).map(|view| view.items.len())
    };
    assert_eq!(parse(SEGMENT_ITEMS_MAX, 0), Ok(SEGMENT_ITEMS_MAX));
    let error = parse(SEGMENT_ITEMS_MAX + 1, 0).unwrap_err();
    assert!(error.to_string().contains("too many items"), "{error}");
    assert_eq!(parse(4, SEGMENT_PLAIN_BYTES_MAX), Ok(4));
    let limit = SEGMENT_PLAIN_BYTES_MAX;
    assert_eq!(parse(4, limit + 1), Err(FormatError::TooLarge { what: "segment", limit }));

    let payload = SEGMENT_BYTES_MAX - SEGMENT_HEADER_BYTES - 36;
    assert_eq!(SegmentView::length(&header([1, 36, 1, payload])), Ok(SEGMENT_BYTES_MAX));
    let limit = SEGMENT_BYTES_MAX;
    let larger = SegmentView::length(&header([1, 36, 1, payload + 1]));
    assert_eq!(larger, Err(FormatError::TooLarge { what: "segment", limit }));
}

#[test]
fn a_manifest_has_its_limit() {
    let of = |sealed: usize| Manifest { sealed_details: vec![7; sealed], ..sample::manifest() };
    let empty = of(1 << 17).encode().len() - (1 << 17);
    let whole = of(MANIFEST_BYTES_MAX - empty);
    assert_eq!(whole.encode().len(), MANIFEST_BYTES_MAX);
    assert_eq!(Manifest::decode(&whole.encode()).unwrap(), whole);
    let error = Manifest::decode(&of(MANIFEST_BYTES_MAX - empty + 1).encode()).unwrap_err();
    assert!(matches!(error, FormatError::TooLarge { limit: MANIFEST_BYTES_MAX, .. }), "{error}");
}
