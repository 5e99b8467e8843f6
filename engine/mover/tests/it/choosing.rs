//! What of a saveset is written: paths, patterns, policies, and a target without room.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use simsim_model::{Kind, Overwrite, Problem, ProblemKind};
use simsim_mover::Selection;
use simsim_testkit::SmallFs;
use tempfile::tempdir;

use crate::changes::{settle, walk};
use crate::memory::Memory;
use crate::round_trip::{below, bring, bring_telling, noise};

/// Everything below a folder, folders with a slash at the end.
fn tree(path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = entry.path().strip_prefix(path).unwrap().to_str().unwrap().to_owned();
            if entry.file_type().unwrap().is_dir() {
                all.push(format!("{name}/"));
                open.push(entry.path());
            } else {
                all.push(name);
            }
        }
    }
    all.sort();
    all
}

/// Paths, patterns, and what comes back.
type Case<'a> = (Vec<Vec<u8>>, Vec<String>, &'a [&'a str]);

#[test]
fn paths_and_patterns_bring_back_what_is_in_both_and_only_the_folders_for_it() {
    let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
    let from = home.path().join("from");
    for dir in ["one/deep/deeper", "one/other", "two", "empty"] {
        fs::create_dir_all(from.join(dir)).unwrap();
    }
    for file in ["one/deep/deeper/x.txt", "one/other/y.bin", "one/z.txt", "two/x.txt"] {
        fs::write(from.join(file), noise(1, 3000)).unwrap();
    }
    walk(&store, &from, 1, None);
    let path = |below: &str| from.join(below).as_os_str().as_bytes().to_vec();
    let whole = |below: &str| from.join(below).to_str().unwrap().to_owned();
    let one = ["one/", "one/deep/", "one/deep/deeper/", "one/deep/deeper/x.txt", "one/z.txt"];
    let all = [&one[..], &["two/", "two/x.txt"]].concat();
    let cases: [Case<'_>; 7] = [
        (vec![path("one")], vec!["*.txt".into()], &one),
        (vec![], vec!["*.txt".into()], &all),
        (vec![], vec!["y.bin".into()], &["one/", "one/other/", "one/other/y.bin"]),
        (
            vec![path("one")],
            vec![whole("one/*")],
            &["one/", "one/deep/", "one/other/", "one/z.txt"],
        ),
        (vec![], vec!["**/two/*".into()], &["two/", "two/x.txt"]),
        (vec![path("empty")], vec![], &["empty/"]),
        (vec![path("two"), path("one/z.txt")], vec!["x*".into()], &["two/", "two/x.txt"]),
    ];
    for (number, (paths, patterns, expected)) in cases.into_iter().enumerate() {
        let to = home.path().join(format!("to{number}"));
        let selection = Selection { paths, patterns };
        let report = bring(&store, 1, &to, Overwrite::Never, selection).unwrap();
        assert_eq!(report.problems_total, 0, "{number}");
        assert_eq!(tree(&below(&to, &from)), expected, "{number}");
    }
    for (paths, pattern) in [(vec![], "*.none"), (vec![path("two")], "z.txt")] {
        let to = home.path().join("nothing");
        let selection = Selection { paths, patterns: vec![pattern.to_owned()] };
        let error = bring(&store, 1, &to, Overwrite::Never, selection).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        assert!(error.to_string().contains(pattern), "{error}");
        assert_eq!(tree(&to), Vec::<String>::new());
    }
}

#[test]
fn only_never_reports_what_it_kept() {
    let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    fs::create_dir(&from).unwrap();
    for size in [0, 100, 1000, 9000] {
        fs::write(from.join(format!("f{size}")), noise(1, size)).unwrap();
    }
    fs::hard_link(from.join("f9000"), from.join("link")).unwrap();
    walk(&store, &from, 1, None);
    let bring = |overwrite| bring(&store, 1, &to, overwrite, Selection::default()).unwrap();
    assert_eq!((bring(Overwrite::Never).files, bring(Overwrite::Always).files), (5, 5));
    for (overwrite, problems) in
        [(Overwrite::IfChanged, 0), (Overwrite::IfNewer, 0), (Overwrite::Never, 5)]
    {
        let report = bring(overwrite);
        assert_eq!((report.files, report.bytes), (0, 0), "{overwrite:?}: nothing was written");
        assert_eq!(report.problems_total, problems, "{overwrite:?}: {:?}", report.problems);
        let notes = report.problems.iter().filter(|one| one.kind == ProblemKind::Note).count();
        assert_eq!(notes, usize::from(problems == 0), "one sentence for all: {overwrite:?}");
    }
    fs::write(below(&to, &from).join("f100"), "changed").unwrap();
    let report = bring(Overwrite::IfChanged);
    assert_eq!((report.files, report.problems_total), (1, 0));
    assert!(fs::read(below(&to, &from).join("f100")).unwrap() == noise(1, 100));
}

/// A full target is not a damaged datastore, and nothing goes on as if it were.
#[test]
fn full_restore_target_ends_the_job_with_the_reason() {
    for size in [300_000, 8 << 20] {
        let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
        let from = home.path().join("from");
        fs::create_dir(&from).unwrap();
        for number in 0..20 {
            fs::write(from.join(format!("f{number:02}")), noise(number, size)).unwrap();
        }
        walk(&store, &from, 1, None);
        let small = match SmallFs::tmpfs(2 << 20, None) {
            Ok(small) => small,
            Err(why) => return simsim_testkit::skip(&why),
        };
        let told: Arc<Mutex<Vec<Problem>>> = Arc::default();
        let told_to = Arc::clone(&told);
        let tell = move |problem: &Problem| told_to.lock().unwrap().push(problem.clone());
        let error = bring_telling(
            &store,
            1,
            small.path(),
            Overwrite::Never,
            Selection::default(),
            Arc::new(tell),
        )
        .unwrap_err();
        assert_eq!(error.kind(), Kind::Full, "{error}");
        let told = told.lock().unwrap();
        assert!(!told.is_empty() && told.len() < 10, "it stops early: {told:?}");
        for problem in told.iter() {
            assert_eq!(problem.kind, ProblemKind::NotWritten, "{problem:?}");
            assert!(problem.message.contains("No space left"), "{problem:?}");
        }
        let leftovers = tree(small.path());
        assert!(!leftovers.iter().any(|name| name.contains("incomplete")), "{leftovers:?}");
    }
}

/// What was there before is another file, whatever its name is.
#[test]
fn fid05_ret_a_name_that_was_kept_is_nothing_to_link_to() {
    for overwrite in [Overwrite::Never, Overwrite::IfNewer] {
        for size in [100, 1000, 9000, 3 << 20] {
            let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
            let (from, to) = (home.path().join("from"), home.path().join("to"));
            fs::create_dir(&from).unwrap();
            fs::write(from.join("a"), noise(1, size)).unwrap();
            for name in ["b", "c"] {
                fs::hard_link(from.join("a"), from.join(name)).unwrap();
            }
            walk(&store, &from, 1, None);
            settle();
            let there = below(&to, &from);
            fs::create_dir_all(&there).unwrap();
            fs::write(there.join("a"), "of somebody else").unwrap();
            let report = bring(&store, 1, &to, overwrite, Selection::default()).unwrap();
            let reported = u64::from(overwrite == Overwrite::Never);
            assert_eq!(report.problems_total, reported, "{size}: {:?}", report.problems);
            assert_eq!(report.files, 2, "what was kept was not written");
            assert_eq!(fs::read(there.join("a")).unwrap(), b"of somebody else");
            assert!(fs::read(there.join("b")).unwrap() == noise(1, size), "{size}");
            let ino = |name| there.join(name).metadata().unwrap().ino();
            assert_eq!(ino("b"), ino("c"), "{size}: those that are restored stay one file");
        }
    }
}

#[test]
fn fid05_ret06_a_name_without_its_data_is_nothing_to_link_to() {
    let (store, home) = (Arc::new(Memory::default()), tempdir().unwrap());
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("a"), noise(1, 9000)).unwrap();
    fs::hard_link(from.join("a"), from.join("b")).unwrap();
    walk(&store, &from, 1, None);
    for segment in store.data_segment_numbers() {
        store.take(segment);
    }
    let there = below(&to, &from);
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join("a"), "old").unwrap();
    let report = bring(&store, 1, &to, Overwrite::Always, Selection::default()).unwrap();
    let kinds: Vec<ProblemKind> = report.problems.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [ProblemKind::MissingData; 2]);
    assert_eq!(fs::read(there.join("a")).unwrap(), b"old");
    assert!(!there.join("b").exists(), "no link to what an older restore left");
}
