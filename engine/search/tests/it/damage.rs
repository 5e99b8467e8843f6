//! Flipped bits, files cut short, files that are gone: noticed, and the index is made anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use simsim_model::Kind;
use simsim_search::{Index, Pattern, Query, SearchError};

use crate::fixture::{all, seen, small};

/// Asks everything; the first error.
fn ask(folder: &Path) -> Result<String, SearchError> {
    let index = Index::open(folder)?;
    let snapshot = index.snapshot();
    let strands = all(&snapshot);
    for (text, ignore_case) in [("one", true), ("*.txt", false), ("e", false)] {
        let pattern = Pattern::new(text, ignore_case)?;
        snapshot.search(&Query {
            pattern: &pattern,
            strands: &strands,
            since_unix_ns: None,
            until_unix_ns: None,
            kind: None,
            limit: 100,
            after: None,
        })?;
    }
    for strand in strands {
        snapshot.history(strand, b"/a", b"one.txt")?;
    }
    Ok(seen(&snapshot))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn no_flipped_bit_and_no_cut_is_believed() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("index");
    drop(small(&folder));
    let good = ask(&folder).unwrap();
    for path in files(&folder) {
        let whole = std::fs::read(&path).unwrap();
        let mut noticed = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            let asked = catch_unwind(AssertUnwindSafe(|| ask(&folder))).expect("nothing panics");
            match asked {
                // Some bytes these questions do not touch.
                Ok(answer) => assert_eq!(answer, good, "{path:?} at {at}"),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
                    noticed += 1;
                }
            }
        }
        assert!(noticed * 2 > whole.len(), "{noticed} of {} in {path:?}", whole.len());
        for length in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(ask(&folder).unwrap_err().kind(), Kind::Corrupt, "{path:?} cut at {length}");
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert_eq!(ask(&folder).unwrap(), good);
}

#[test]
fn what_is_damaged_is_discarded_and_begins_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("index");
    drop(small(&folder));
    let good = ask(&folder).unwrap();
    let run = files(&folder).into_iter().find(|path| path.extension().is_some()).unwrap();
    std::fs::remove_file(run).unwrap();
    std::fs::write(folder.join("keep.txt"), "not of the index").unwrap();
    assert_eq!(Index::open(&folder).err().unwrap().kind(), Kind::Corrupt);
    Index::discard(&folder).unwrap();
    assert_eq!(files(&folder), [folder.join("keep.txt")]);
    drop(small(&folder));
    assert_eq!(ask(&folder).unwrap(), good);
    // Without the book nothing counts.
    std::fs::remove_file(folder.join("book")).unwrap();
    let index = Index::open(&folder).unwrap();
    assert_eq!(index.snapshot().figures().savesets, 0);
}
