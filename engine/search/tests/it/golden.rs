//! Golden files: what version 1 writes, and that it is read for good.

use std::path::{Path, PathBuf};

use simsim_search::Index;

use crate::fixture::{seen, small};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/format/search-v1")
}

/// The book without its generation, which differs each time, and without the checksum over it.
fn settled(book: &[u8]) -> Vec<u8> {
    let mut book = book[..book.len() - 8].to_vec();
    book.drain(10..18);
    book
}

#[test]
fn the_search_index_of_version_1_is_written_as_ever_and_read_as_ever() {
    let scratch = tempfile::tempdir().unwrap();
    let (new, old) = (scratch.path().join("new"), scratch.path().join("old"));
    let index = small(&new);
    let now = seen(&index.snapshot());
    std::fs::create_dir(&old).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let written = std::fs::read(new.join(&name)).unwrap();
        if name == "book" {
            assert_eq!(settled(&written), settled(&bytes));
        } else {
            assert_eq!(written, bytes, "{name:?}");
        }
        std::fs::write(old.join(&name), bytes).unwrap();
        names.push(name);
    }
    assert_eq!(names.len(), std::fs::read_dir(&new).unwrap().count());
    assert_eq!(seen(&Index::open(&old).unwrap().snapshot()), now);
}
