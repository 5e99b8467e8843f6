//! What a walk gives, in which order, and what it leaves out.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use simsim_model::ProblemKind;
use simsim_source::{FsSource, Item, Source, SourceError, WalkOptions};

use crate::copier::{bytes, source};
use crate::not_root;

/// `Enter`s as `name/`, `Leave`s as `^`, below `home`; and the problems.
fn steps(mut walk: FsSource, home: &Path) -> (Vec<String>, Vec<(String, ProblemKind)>) {
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
    let skipped = home.components().count();
    let mut depth = 0;
    while let Some(item) = walk.next() {
        match item {
            Item::Enter(found) => {
                depth += 1;
                if depth > skipped {
                    let mark = if found.unreadable { "!" } else { "" };
                    steps.push(format!("{}/{mark}", String::from_utf8_lossy(&found.name)));
                }
            }
            Item::Leave => {
                if depth > skipped {
                    steps.push("^".to_owned());
                }
                depth -= 1;
            }
            Item::Leaf(found) => steps.push(String::from_utf8_lossy(&found.name).into_owned()),
            Item::Problem(problem) => {
                let path = problem.path_text();
                let below = path.strip_prefix(home.to_str().unwrap()).unwrap_or(&path);
                problems.push((below.to_owned(), problem.kind));
            }
        }
    }
    assert_eq!(depth, 0);
    (steps, problems)
}

fn make(home: &Path, paths: &[&str]) {
    for path in paths {
        let path = home.join(path);
        if path.to_str().unwrap().ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"content").unwrap();
        }
    }
}

fn temporary() -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().canonicalize().unwrap();
    (home, path)
}

#[test]
fn order_is_by_raw_bytes_with_files_and_directories_mixed() {
    let (_home, home) = temporary();
    make(&home, &["s/b/z", "s/b/a", "s/a.txt", "s/a/x", "s/B", "s/b.", "s/\u{e4}", "s/c/"]);
    for threads in [1, 2, 4] {
        let options = WalkOptions { threads, ..WalkOptions::default() };
        let (steps, problems) = steps(source(&home.join("s"), options), &home);
        let wanted = "s/ B a/ x ^ a.txt b/ a z ^ b. c/ ^ \u{e4} ^";
        assert_eq!(steps.join(" "), wanted, "{threads} threads");
        assert_eq!(problems, []);
    }
}

#[test]
fn walks_with_and_without_threads_agree_on_a_large_tree() {
    let root = Path::new("/usr/share");
    let run = |threads| {
        let options = WalkOptions { threads, ..WalkOptions::default() };
        steps(source(root, options), Path::new("/usr")).0
    };
    let alone = run(1);
    assert!(alone.len() > 1000, "{}", alone.len());
    assert_eq!(alone, run(2));
    assert_eq!(alone, run(4));
}

#[test]
fn a_walk_dropped_early_ends_its_threads() {
    for taken in [0, 1, 10, 1000] {
        let options = WalkOptions { threads: 4, ..WalkOptions::default() };
        let mut walk = source(Path::new("/usr"), options);
        for _ in 0..taken {
            assert!(walk.next().is_some());
        }
    }
}

#[test]
fn missing_sources_are_named_and_the_others_go_on() {
    let (_home, home) = temporary();
    make(&home, &["a/file", "b/file", "b/sub/f", "plain"]);
    let paths = ["a", "gone", "b", "b/sub", "b/lost", "plain/below", "also/gone"];
    let sources: Vec<_> = paths.iter().map(|path| bytes(&home.join(path))).collect();
    let walk = FsSource::new(&sources, WalkOptions::default()).unwrap();
    assert!(walk.any_is_there());
    let (steps, mut problems) = steps(walk, &home);
    assert_eq!(steps.join(" "), "a/ file ^ b/ file sub/ f ^ ^");
    problems.sort_by(|a, b| a.0.cmp(&b.0));
    let missing = ["/also/gone", "/b/lost", "/gone", "/plain/below"];
    let missing = missing.map(|path| (path.to_owned(), ProblemKind::MissingSource));
    assert_eq!(problems, missing);
    let gone: Vec<_> = ["gone", "b/lost", "plain/below"].map(|path| bytes(&home.join(path))).into();
    assert!(!FsSource::new(&gone, WalkOptions::default()).unwrap().any_is_there());
}

#[test]
fn sources_that_make_no_sense_are_refused() {
    let new = |path: &str| FsSource::new(&[path.into()], WalkOptions::default()).err();
    assert!(matches!(new("relative"), Some(SourceError::NotAbsolute { .. })));
    assert!(matches!(new("/no/such/../x/.."), Some(SourceError::Unresolved { .. })));
    assert!(matches!(
        FsSource::new(&[], WalkOptions::default()).err(),
        Some(SourceError::NoSources)
    ));
    let options = WalkOptions { excludes: vec!["[z-a]".to_owned()], ..WalkOptions::default() };
    let error = FsSource::new(&[b"/tmp".to_vec()], options).err().unwrap();
    assert_eq!(error.kind(), simsim_model::Kind::Invalid);
}

#[test]
fn a_source_behind_a_symlink_is_stored_at_its_real_place() {
    let (_home, home) = temporary();
    make(&home, &["real/dir/file"]);
    symlink("real", home.join("link")).unwrap();
    let (walked, problems) = steps(source(&home.join("link/dir"), WalkOptions::default()), &home);
    assert_eq!((walked.join(" "), problems), ("real/ dir/ file ^ ^".to_owned(), vec![]));
    // As a source itself a symlink is a symlink, and the report says so.
    let (walked, problems) = steps(source(&home.join("link"), WalkOptions::default()), &home);
    assert_eq!(walked, ["link"]);
    assert_eq!(problems, [("/link".to_owned(), ProblemKind::Note)]);
}

#[test]
fn excludes_follow_gitignore_and_prune_directories() {
    let (_home, home) = temporary();
    make(
        &home,
        &[
            "s/keep.tmp",
            "s/a.tmp",
            "s/n/a.tmp",
            "s/n/node/x",
            "s/cache/f",
            "s/x/cache",
            "s/src.tmp",
        ],
    );
    let anchored = format!("{}/s/n/node/", home.display());
    let excludes = ["# a comment", "", "*.tmp", "!keep.tmp", &anchored, "cache/"];
    let excludes = excludes.map(str::to_owned).to_vec();
    let options = WalkOptions { excludes, ..WalkOptions::default() };
    let sources = [bytes(&home.join("s")), bytes(&home.join("s/src.tmp"))];
    let (steps, problems) = steps(FsSource::new(&sources, options).unwrap(), &home);
    assert_eq!(steps.join(" "), "s/ keep.tmp n/ ^ src.tmp x/ cache ^ ^");
    assert_eq!(problems, []);
}

#[test]
fn cache_directories_keep_only_their_mark_and_large_files_a_note() {
    let (_home, home) = temporary();
    make(&home, &["s/c/f", "s/c/d/f", "s/fake/f", "s/fake/CACHEDIR.TAG", "s/z"]);
    let tag = b"Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n";
    fs::write(home.join("s/c/CACHEDIR.TAG"), tag).unwrap();
    fs::write(home.join("s/large"), vec![0; 4097]).unwrap();
    let options =
        WalkOptions { exclude_caches: true, file_bytes_max: Some(4096), ..WalkOptions::default() };
    let (steps, problems) = steps(source(&home.join("s"), options), &home);
    assert_eq!(steps.join(" "), "s/ c/ CACHEDIR.TAG ^ fake/ CACHEDIR.TAG f ^ z ^");
    assert_eq!(problems, [("/s/large".to_owned(), ProblemKind::Note)]);
}

#[test]
fn fid14_loops_of_symlinks_and_bind_mounts_end() {
    let (_home, home) = temporary();
    make(&home, &["s/a/f", "s/a/loop/"]);
    symlink("../..", home.join("s/a/up")).unwrap();
    symlink("me", home.join("s/a/me")).unwrap();
    if not_root("a bind mount") {
        return;
    }
    let point = home.join("s/a/loop");
    let mount = |args: &[&std::ffi::OsStr]| {
        std::process::Command::new(args[0]).args(&args[1..]).status().is_ok_and(|s| s.success())
    };
    if !mount(&["mount".as_ref(), "--bind".as_ref(), home.join("s").as_ref(), point.as_ref()]) {
        println!("skipped: mounting is not possible here");
        return;
    }
    let walked = steps(source(&home.join("s"), WalkOptions::default()), &home);
    assert!(mount(&["umount".as_ref(), point.as_ref()]));
    assert_eq!(walked.0.join(" "), "s/ a/ f loop/ ^ me up ^ ^");
    assert_eq!(walked.1, [("/s/a/loop".to_owned(), ProblemKind::Note)]);
}

#[test]
fn one_file_system_and_the_kernels_file_systems_are_left_out() {
    if not_root("mounts") {
        return;
    }
    let (_home, home) = temporary();
    make(&home, &["s/p/", "s/t/", "s/z"]);
    let run = |program: &str, args: &[&str]| {
        std::process::Command::new(program).args(args).status().is_ok_and(|s| s.success())
    };
    let (p, t) = (home.join("s/p"), home.join("s/t"));
    let (p, t) = (p.to_str().unwrap(), t.to_str().unwrap());
    if !run("mount", &["-t", "proc", "proc", p]) || !run("mount", &["-t", "tmpfs", "tmpfs", t]) {
        let _ = run("umount", &[p]);
        println!("skipped: mounting is not possible here");
        return;
    }
    fs::write(home.join("s/t/inside"), b"x").unwrap();
    let all = steps(source(&home.join("s"), WalkOptions::default()), &home);
    let options = WalkOptions { one_file_system: true, ..WalkOptions::default() };
    let one = steps(source(&home.join("s"), options), &home);
    let mut itself = source(&home.join("s/p/self/ns"), WalkOptions::default());
    let proc_items = std::iter::from_fn(|| itself.next()).count();
    // Lazily: a process that another test starts at this moment may hold them for an instant.
    assert!(run("umount", &["-l", p]) && run("umount", &["-l", t]));
    assert_eq!(all.0.join(" "), "s/ p/ ^ t/ inside ^ z ^");
    assert_eq!(all.1, [("/s/p".to_owned(), ProblemKind::Note)]);
    assert_eq!(one.0.join(" "), "s/ p/ ^ t/ ^ z ^");
    assert_eq!(one.1.len(), 2);
    assert!(proc_items > 5);
}

#[test]
fn fid13_what_cannot_be_read_is_reported_and_the_walk_goes_on() {
    // Root may read everything, so a child without rights walks, if there can be one.
    let (_home, home) = temporary();
    make(&home, &["s/closed/f", "s/listed/f", "s/z"]);
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(home.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("s/closed", 0o000);
    mode("s/listed", 0o444);
    let home = home.clone();
    let walked = std::thread::spawn({
        let home = home.clone();
        move || {
            if rustix::process::geteuid().is_root() && !give_up_rights() {
                return None;
            }
            // Without threads: rights belong to a thread.
            let options = WalkOptions { threads: 1, ..WalkOptions::default() };
            Some(steps(source(&home.join("s"), options), &home))
        }
    })
    .join()
    .unwrap();
    mode("s/closed", 0o755);
    mode("s/listed", 0o755);
    let Some((steps, problems)) = walked else {
        println!("skipped: a thread without rights is not possible here");
        return;
    };
    assert_eq!(steps.join(" "), "s/ closed/! ^ listed/ ^ z ^");
    let unreadable = |path: &str| (path.to_owned(), ProblemKind::Unreadable);
    assert_eq!(problems, [unreadable("/s/closed"), unreadable("/s/listed/f")]);
}

/// Takes this thread's right to pass by permissions.
fn give_up_rights() -> bool {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let Ok(now) = capabilities(None) else { return false };
    let without = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let sets = CapabilitySets { effective: now.effective - without, ..now };
    set_capabilities(None, sets).is_ok()
}

#[test]
fn fid12_a_file_that_became_a_fifo_is_refused_without_waiting() {
    let (_home, home) = temporary();
    make(&home, &["s/f", "s/gone"]);
    let mut walk = source(&home.join("s"), WalkOptions::default());
    let mut leaves = Vec::new();
    while let Some(item) = walk.next() {
        if let Item::Leaf(found) = item {
            leaves.push(found);
        }
    }
    fs::remove_file(home.join("s/f")).unwrap();
    fs::remove_file(home.join("s/gone")).unwrap();
    let fifo = home.join("s/f");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let errors: Vec<_> = leaves
        .iter()
        .map(|leaf| leaf.place.open(&leaf.name).err().map(|error| error.kind()))
        .collect();
    let wanted = [std::io::ErrorKind::InvalidInput, std::io::ErrorKind::NotFound];
    assert_eq!(errors, wanted.map(Some));
    assert_eq!(leaves[0].place.path(&leaves[0].name), fifo.as_os_str().as_bytes());
}
