//! Building the tree: entries in order become pages, pages become nodes, children first.

use std::sync::Arc;

use simsim_format::{
    Content, DirTotals, Entry, EntryKind, LIST_PIECES_MAX, ListPage, Node, PAGE_BYTES_MAX,
    PAGE_ENTRIES_MAX, Page, PageIndex, Piece,
};
use simsim_model::Name;
use simsim_model::limits::BYTES_TOLD_MAX;

use crate::MoverError;
use crate::chunks::ChunkWriter;

/// A page may end after so many entries; it ends where a name's hash says so, so that an inserted
/// entry changes one page and not all that follow.
const PAGE_ENTRIES_MIN: usize = 128;
const LIST_PIECES_MIN: usize = 512;

/// Files with more pieces than this get list nodes of their own.
pub(crate) const PIECES_IN_ENTRY_MAX: usize = 256;

/// Entries of one directory on their way into pages.
#[derive(Default)]
pub(crate) struct DirBuilder {
    entries: Vec<Entry>,
    /// About what the entries take in a node.
    bytes: usize,
    pages: Vec<PageIndex>,
    pub(crate) totals: DirTotals,
}

impl DirBuilder {
    pub(crate) fn push(&mut self, entry: Entry, writer: &ChunkWriter) -> Result<(), MoverError> {
        match &entry.kind {
            EntryKind::Directory(totals) => {
                self.totals.files += totals.files;
                self.totals.dirs += totals.dirs + 1;
                self.add_bytes(totals.bytes);
            }
            _ => {
                self.totals.files += 1;
                self.add_bytes(entry.size);
            }
        }
        let weight = entry.weight();
        if !self.entries.is_empty() && self.bytes + weight > PAGE_BYTES_MAX {
            self.close_page(writer)?;
        }
        self.bytes += weight;
        let border = self.entries.len() + 1 >= PAGE_ENTRIES_MIN
            && blake3::hash(&entry.name).as_bytes()[0] == 0;
        self.entries.push(entry);
        if border || self.entries.len() >= PAGE_ENTRIES_MAX {
            self.close_page(writer)?;
        }
        Ok(())
    }

    /// Sparse files can say more bytes together than any number has.
    fn add_bytes(&mut self, bytes: u64) {
        self.totals.bytes = self.totals.bytes.saturating_add(bytes).min(BYTES_TOLD_MAX);
    }

    fn close_page(&mut self, writer: &ChunkWriter) -> Result<(), MoverError> {
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        let first = entries.first().map(|entry| entry.name.clone()).unwrap_or_default();
        let count = entries.len() as u64;
        let inline = entries.iter().map(inline_bytes).sum();
        let page = writer.add_node(Node::new(writer.key(), &Page::Entries(entries)), inline)?;
        self.pages.push(PageIndex { first, entries: count, page });
        Ok(())
    }

    /// The directory's tree node.
    pub(crate) fn finish(mut self, writer: &ChunkWriter) -> Result<Name, MoverError> {
        if !self.entries.is_empty() || self.pages.is_empty() {
            self.close_page(writer)?;
        }
        let mut pages = self.pages;
        while pages.len() > 1 {
            let mut above = Vec::new();
            for group in pages.chunks(PAGE_ENTRIES_MAX) {
                let first = group.first().map(|page| page.first.clone()).unwrap_or_default();
                let entries = group.iter().map(|page| page.entries).sum();
                let node = Node::new(writer.key(), &Page::Index(group.to_vec()));
                above.push(PageIndex { first, entries, page: writer.add_node(node, 0)? });
            }
            pages = above;
        }
        pages.first().map(|page| page.page).ok_or(MoverError::Lost)
    }
}

/// Content that stands in the entry itself.
fn inline_bytes(entry: &Entry) -> u64 {
    match &entry.content {
        Content::Inline(bytes) => bytes.len() as u64,
        _ => 0,
    }
}

/// Pieces of a file on their way into list nodes.
pub(crate) struct ListBuilder {
    writer: Arc<ChunkWriter>,
    pieces: Vec<Piece>,
    lists: Vec<ListPage>,
}

impl ListBuilder {
    pub(crate) fn new(writer: Arc<ChunkWriter>) -> Self {
        Self { writer, pieces: Vec::new(), lists: Vec::new() }
    }

    pub(crate) fn push(&mut self, piece: Piece) -> Result<(), MoverError> {
        if let (Some(Piece::Hole { length }), Piece::Hole { length: more }) =
            (self.pieces.last_mut(), piece)
        {
            *length += more;
            return Ok(());
        }
        let border = self.pieces.len() + 1 >= LIST_PIECES_MIN
            && matches!(piece, Piece::Chunk { name, .. } if name.0[0] == 0);
        self.pieces.push(piece);
        if border || self.pieces.len() >= LIST_PIECES_MAX {
            self.close_list()?;
        }
        Ok(())
    }

    fn close_list(&mut self) -> Result<(), MoverError> {
        let pieces = std::mem::take(&mut self.pieces);
        let length = pieces.iter().map(Piece::length).sum();
        let page = self.writer.add_node(Node::new(self.writer.key(), &Page::Pieces(pieces)), 0)?;
        self.lists.push(ListPage { length, page });
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Content, MoverError> {
        if self.lists.is_empty() && self.pieces.len() <= PIECES_IN_ENTRY_MAX {
            return Ok(if self.pieces.is_empty() {
                Content::None
            } else {
                Content::Pieces(self.pieces)
            });
        }
        if !self.pieces.is_empty() {
            self.close_list()?;
        }
        let mut lists = self.lists;
        while lists.len() > 1 {
            let mut above = Vec::new();
            for group in lists.chunks(LIST_PIECES_MAX) {
                let length = group.iter().map(|list| list.length).sum();
                let node = Node::new(self.writer.key(), &Page::Lists(group.to_vec()));
                above.push(ListPage { length, page: self.writer.add_node(node, 0)? });
            }
            lists = above;
        }
        lists.first().map(|list| Content::List(list.page)).ok_or(MoverError::Lost)
    }
}
