//! What of a base the datastore still holds, asked when it is known to have lost something.
//!
//! An unchanged file is not read, so its chunks are not asked for. If one of them is gone, a
//! saveset that relies on it would be refused at its commit, and every later one again. So the
//! names are asked for directory by directory, and a file that lacks one is read and sent anew
//! (ROT04). A list of pieces is asked for page by page: memory does not grow with the file.

use std::collections::HashSet;

use simsim_format::{Content, Entry, Page, Piece};
use simsim_model::{BackupSession, Name, limits};

use crate::MoverError;
use crate::tree::Tree;

/// Index pages of a list nest at most as deep as a balanced tree needs.
const LIST_DEPTH_MAX: usize = 16;

/// The entries of one directory whose content is held in full. Directories stay: they are
/// entered, and their nodes are made anew in any case.
pub(crate) fn only_held(
    tree: &Tree,
    session: &dyn BackupSession,
    entries: Vec<Entry>,
) -> Result<Vec<Entry>, MoverError> {
    let mut lacking = HashSet::new();
    let mut asked: Vec<(usize, Name)> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match &entry.content {
            Content::Pieces(pieces) => asked.extend(chunks(pieces).map(|name| (at, name))),
            Content::List(list) if !list_is_held(tree, session, *list)? => {
                lacking.insert(at);
            }
            _ => {}
        }
        if asked.len() >= limits::NAMES_PER_REQUEST_MAX / 2 {
            ask(session, &mut asked, &mut lacking)?;
        }
    }
    ask(session, &mut asked, &mut lacking)?;
    let mut at = 0..;
    Ok(entries.into_iter().filter(|_| at.next().is_some_and(|at| !lacking.contains(&at))).collect())
}

fn ask(
    session: &dyn BackupSession,
    asked: &mut Vec<(usize, Name)>,
    lacking: &mut HashSet<usize>,
) -> Result<(), MoverError> {
    for part in asked.chunks(limits::NAMES_PER_REQUEST_MAX) {
        let names: Vec<Name> = part.iter().map(|(_, name)| *name).collect();
        let held = session.has(&names)?;
        for (place, (at, _)) in part.iter().enumerate() {
            if held.get(place) != Some(&true) {
                lacking.insert(*at);
            }
        }
    }
    asked.clear();
    Ok(())
}

/// Every page of a list and every chunk that it names.
fn list_is_held(tree: &Tree, session: &dyn BackupSession, list: Name) -> Result<bool, MoverError> {
    let mut open = vec![(list, 0usize)];
    while let Some((page, depth)) = open.pop() {
        let mut names = vec![page];
        match tree.nodes.page(&page) {
            Ok(Page::Pieces(pieces)) => names.extend(chunks(&pieces)),
            Ok(Page::Lists(lists)) if depth < LIST_DEPTH_MAX => {
                open.extend(lists.iter().map(|list| (list.page, depth + 1)));
            }
            // Unreadable, or no list at all: the file is read.
            Ok(_) | Err(_) => return Ok(false),
        }
        for part in names.chunks(limits::NAMES_PER_REQUEST_MAX) {
            if session.has(part)?.contains(&false) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn chunks(pieces: &[Piece]) -> impl Iterator<Item = Name> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Chunk { name, .. } => Some(*name),
        Piece::Hole { .. } => None,
    })
}
