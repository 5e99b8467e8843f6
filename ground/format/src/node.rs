//! Nodes: pages of directories, and lists of a large file's pieces (`docs/format/node.md`).
//!
//! A node is a body (sealed) and its references (readable): names of nodes, then names of chunks,
//! in the order in which the body uses them. The body starts with a version byte and a page kind:
//! 0 entries · 1 index of pages · 2 pieces · 3 index of piece lists.
//!
//! What a page becomes in memory is bounded by the same figures that close pages when they are made:
//! a piece is one byte of a body and forty in memory, so that a body's length says little.

use simsim_model::Name;
use simsim_model::limits::PATH_COMPONENT_BYTES_MAX;

use crate::FormatError;
use crate::cursor::{Cursor, put_bytes, put_varint};
use crate::entry::{Entry, Piece, decode_pieces, encode_pieces};
use crate::key::DomainKey;

/// A page has at most so many entries, or pages of an index.
pub const PAGE_ENTRIES_MAX: usize = 1024;
/// A page of more than one entry weighs at most so much ([`Entry::weight`]): a node must fit into a
/// segment, and attributes alone can have 1 MiB an entry.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// A list, or an entry, has at most so many pieces, and an index of lists so many lists.
pub const LIST_PIECES_MAX: usize = 4096;
const VERSION: u8 = 1;
const WHAT: &str = "node";

/// A named node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: Name,
    pub nodes: Vec<Name>,
    pub chunks: Vec<Name>,
    pub body: Vec<u8>,
}

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Entries of a directory, sorted by name, no two alike.
    Entries(Vec<Entry>),
    /// Pages of a directory, sorted by their first name.
    Index(Vec<PageIndex>),
    /// Pieces of a file.
    Pieces(Vec<Piece>),
    /// Lists of pieces, in order.
    Lists(Vec<ListPage>),
}

/// A page of a directory, as its index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageIndex {
    /// Name of the first entry in or below the page.
    pub first: Vec<u8>,
    /// Entries in or below the page.
    pub entries: u64,
    pub page: Name,
}

/// A list of pieces, as its index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPage {
    /// Bytes of the file that the list covers.
    pub length: u64,
    pub page: Name,
}

impl Node {
    /// Encodes and names a page.
    pub fn new(key: &DomainKey, page: &Page) -> Self {
        let (mut nodes, mut chunks) = (Vec::new(), Vec::new());
        let mut body = vec![VERSION];
        match page {
            Page::Entries(entries) => {
                body.push(0);
                put_varint(&mut body, entries.len() as u64);
                for entry in entries {
                    entry.encode(&mut body, &mut nodes, &mut chunks);
                }
            }
            Page::Index(pages) => {
                body.push(1);
                put_varint(&mut body, pages.len() as u64);
                for page in pages {
                    put_bytes(&mut body, &page.first);
                    put_varint(&mut body, page.entries);
                    nodes.push(page.page);
                }
            }
            Page::Pieces(pieces) => {
                body.push(2);
                encode_pieces(pieces, &mut body, &mut chunks);
            }
            Page::Lists(lists) => {
                body.push(3);
                put_varint(&mut body, lists.len() as u64);
                for list in lists {
                    put_varint(&mut body, list.length);
                    nodes.push(list.page);
                }
            }
        }
        let name = key.node_name(&nodes, &chunks, &body);
        Self { name, nodes, chunks, body }
    }

    /// Decodes the page: at most 20 MiB in memory, whatever the body says. Every reference must be
    /// used, every byte read. Errors: [`FormatError::TooMany`] and [`FormatError::TooLarge`] name
    /// the limit that does not hold.
    pub fn page(&self) -> Result<Page, FormatError> {
        let mut cursor = Cursor::new(&self.body, WHAT);
        let version = cursor.u8()?;
        if version != VERSION {
            return Err(FormatError::Version {
                what: WHAT,
                found: version.into(),
                known: VERSION.into(),
            });
        }
        let mut nodes = self.nodes.iter().copied();
        let mut chunks = self.chunks.iter().copied();
        let too_few = || FormatError::Malformed { what: WHAT, why: "too few references" };
        let page = match cursor.u8()? {
            0 => {
                let count = cursor.count("entries", PAGE_ENTRIES_MAX)?;
                let mut entries: Vec<Entry> = Vec::new();
                let mut weight = 0;
                for _ in 0..count {
                    let entry = Entry::decode(&mut cursor, &mut nodes, &mut chunks)?;
                    weight += entry.weight();
                    if weight > PAGE_BYTES_MAX && !entries.is_empty() {
                        let what = "a page of entries";
                        return Err(FormatError::TooLarge { what, limit: PAGE_BYTES_MAX });
                    }
                    if entries.last().is_some_and(|last| last.name >= entry.name) {
                        return Err(cursor.malformed("entries are out of order"));
                    }
                    entries.push(entry);
                }
                Page::Entries(entries)
            }
            1 => {
                let count = cursor.count("pages", PAGE_ENTRIES_MAX)?;
                let mut pages: Vec<PageIndex> = Vec::new();
                for _ in 0..count {
                    let first = cursor.prefixed(PATH_COMPONENT_BYTES_MAX)?.to_vec();
                    if pages.last().is_some_and(|last| last.first >= first) {
                        return Err(cursor.malformed("pages are out of order"));
                    }
                    let entries = cursor.varint()?;
                    pages.push(PageIndex {
                        first,
                        entries,
                        page: nodes.next().ok_or_else(too_few)?,
                    });
                }
                Page::Index(pages)
            }
            2 => Page::Pieces(decode_pieces(&mut cursor, &mut chunks)?),
            3 => {
                let count = cursor.count("lists", LIST_PIECES_MAX)?;
                let mut lists = Vec::new();
                for _ in 0..count {
                    let length = cursor.varint()?;
                    lists.push(ListPage { length, page: nodes.next().ok_or_else(too_few)? });
                }
                Page::Lists(lists)
            }
            _ => return Err(cursor.malformed("its page kind is unknown")),
        };
        cursor.finish()?;
        if nodes.next().is_some() || chunks.next().is_some() {
            return Err(FormatError::Malformed { what: WHAT, why: "references are left over" });
        }
        Ok(page)
    }
}
