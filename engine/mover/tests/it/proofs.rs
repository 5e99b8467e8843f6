//! Comparing what was restored with the saveset: what is the same passes, and every kind of difference is found.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use simsim_model::{Drilled, Overwrite, Progress};
use simsim_mover::tree::Tree;
use simsim_mover::{Chosen, Proof, Selection, prove};
use simsim_source::Beneath;
use tempfile::{TempDir, tempdir};

use crate::memory::Memory;
use crate::round_trip::{back_up, bring, key, saveset};

struct House {
    _folder: TempDir,
    store: Arc<Memory>,
    from: PathBuf,
    to: PathBuf,
}

impl House {
    fn new() -> Self {
        let folder = tempdir().unwrap();
        let from = folder.path().canonicalize().unwrap().join("from");
        fs::create_dir_all(from.join("sub/empty")).unwrap();
        let bytes: Vec<u8> =
            (0..5_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(from.join("large"), bytes).unwrap();
        fs::write(from.join("sub/small"), "small").unwrap();
        fs::write(from.join("sub/text"), "a line\n".repeat(500)).unwrap();
        let sparse = fs::File::create(from.join("sparse")).unwrap();
        sparse.set_len(3 << 20).unwrap();
        symlink("small", from.join("sub/link")).unwrap();
        let store = Arc::new(Memory::default());
        back_up(&store, &from, 1, None);
        let to = folder.path().join("to");
        let house = Self { store, from, to, _folder: folder };
        house.restore(&Selection::default());
        house
    }

    fn restore(&self, selection: &Selection) {
        let _ = fs::remove_dir_all(&self.to);
        bring(&self.store, 1, &self.to, Overwrite::Never, selection.clone()).unwrap();
    }

    fn at(&self, path: &str) -> PathBuf {
        self.to.join(self.from.strip_prefix("/").unwrap()).join(path)
    }

    fn proven(&self, selection: &Selection, source: bool) -> Drilled {
        let tree = Tree::open(self.store.clone(), key(), saveset(1)).unwrap();
        let mut drilled = Drilled::default();
        let may = |path: &[u8]| !path.ends_with(b"text");
        let proof = Proof {
            tree: &tree,
            key: &key(),
            chosen: &Chosen::new(selection).unwrap(),
            scratch: &Beneath::open(&self.to).unwrap(),
            owners: true,
            source: source.then_some(&may as &dyn Fn(&[u8]) -> bool),
            progress: &Progress::new(),
        };
        prove(&proof, &mut drilled).unwrap();
        drilled
    }

    /// What is found after a change, which is then made undone by restoring anew.
    fn found(&self, change: impl FnOnce(&dyn Fn(&str) -> PathBuf)) -> Vec<String> {
        change(&|path| self.at(path));
        let drilled = self.proven(&Selection::default(), false);
        assert_eq!(drilled.differences.len() as u64, drilled.differences_total);
        self.restore(&Selection::default());
        drilled.differences
    }
}

fn keep_time(file: &Path, change: impl FnOnce(&Path)) {
    let before = file.metadata().unwrap().modified().unwrap();
    change(file);
    fs::File::options().write(true).open(file).unwrap().set_modified(before).unwrap();
}

#[test]
fn what_was_restored_as_it_was_passes_and_each_difference_is_named() {
    let house = House::new();
    let drilled = house.proven(&Selection::default(), false);
    assert_eq!(drilled.differences, Vec::<String>::new());
    assert!(drilled.chunks > 1);

    let one = |found: Vec<String>, path: &str, what: &str| {
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(path) && found[0].contains(what), "{found:?}");
    };
    let flip = |file: &Path, at: usize| {
        keep_time(file, |file| {
            let mut bytes = fs::read(file).unwrap();
            bytes[at] ^= 1;
            fs::write(file, bytes).unwrap();
        });
    };
    one(house.found(|at| flip(&at("large"), 4_999_999)), "/large", "content differs");
    one(house.found(|at| flip(&at("sub/small"), 0)), "/sub/small", "content differs");
    one(house.found(|at| flip(&at("sparse"), 2 << 20)), "/sparse", "content differs");
    let cut = |at: &dyn Fn(&str) -> PathBuf| {
        keep_time(&at("large"), |file| {
            fs::File::options().write(true).open(file).unwrap().set_len(4_000_000).unwrap();
        });
    };
    let found = house.found(cut);
    assert!(found.iter().any(|one| one.contains("5000000 bytes became 4000000")), "{found:?}");
    let mode = |at: &dyn Fn(&str) -> PathBuf| {
        fs::set_permissions(at("sub/text"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    one(house.found(mode), "/sub/text", "mode");
    let time = |at: &dyn Fn(&str) -> PathBuf| {
        let file = fs::File::options().write(true).open(at("sub/text")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    };
    one(house.found(time), "/sub/text", "time");
    let missing = house.found(|at| fs::remove_file(at("sub/small")).unwrap());
    assert!(
        missing.iter().any(|one| one.contains("/sub/small: it was not restored")),
        "{missing:?}"
    );
    let extra = house.found(|at| fs::write(at("sub/extra"), "extra").unwrap());
    assert!(extra.iter().any(|one| one.contains("files lie there")), "{extra:?}");
    let link = house.found(|at| {
        fs::remove_file(at("sub/link")).unwrap();
        symlink("text", at("sub/link")).unwrap();
    });
    assert!(link.iter().any(|one| one.contains("the link leads elsewhere")), "{link:?}");
    let kind = house.found(|at| {
        fs::remove_file(at("sub/small")).unwrap();
        symlink("text", at("sub/small")).unwrap();
    });
    assert!(kind.iter().any(|one| one.contains("became a symbolic link")), "{kind:?}");
}

#[test]
fn a_sample_is_compared_by_itself_and_sources_that_stand_as_they_were_too() {
    let house = House::new();
    let path = |name: &str| house.from.join(name).into_os_string().into_encoded_bytes();
    let selection = Selection {
        paths: vec![path("large"), path("sub/small"), path("sub/text")],
        patterns: Vec::new(),
    };
    house.restore(&selection);
    let drilled = house.proven(&selection, true);
    assert_eq!(drilled.differences, Vec::<String>::new());
    // One may not be read.
    assert_eq!((drilled.sources_same, drilled.sources_changed), (2, 1));
    fs::write(house.from.join("sub/small"), "other").unwrap();
    let drilled = house.proven(&selection, true);
    assert_eq!((drilled.sources_same, drilled.sources_changed), (1, 2));
    assert_eq!(drilled.differences_total, 0, "a source that was changed is no failure");
    assert!(house.from.join("sub/small").metadata().unwrap().ctime() > 0);
}
