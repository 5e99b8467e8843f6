//! What happens where something already is, and to files that do not become complete.

use std::fs;
use std::path::Path;

use simsim_format::EntryKind;
use simsim_model::{Kind, Overwrite, ProblemKind, Timestamp};
use simsim_source::{Created, FsSink, LinkTarget, SinkError, SinkOptions};

use crate::copier::{ALL, dir_entry, entry};

fn sink(path: &Path, overwrite: Overwrite) -> FsSink {
    FsSink::open(path, SinkOptions { overwrite, ..ALL }).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn each_overwrite_policy_keeps_and_replaces_what_it_says() {
    use Overwrite::{Always, IfChanged, IfNewer, Never};
    // What is there: (size, mtime) against the entry's (3, 1000).
    let cases = [
        (Never, 3, 1000, false),
        (Never, 9, 1, false),
        (IfChanged, 3, 1000, false),
        (IfChanged, 4, 1000, true),
        (IfChanged, 3, 2000, true),
        (IfNewer, 3, 999, true),
        (IfNewer, 9, 1000, false),
        (IfNewer, 3, 2000, false),
        (Always, 3, 1000, true),
    ];
    for (policy, size, seconds, replaced) in cases {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        fs::write(&path, vec![b'o'; size]).unwrap();
        let mtime = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
        let mut file = entry(b"f", EntryKind::File, 3);
        file.mtime = Timestamp::new(1000, 0);
        let sink = sink(home.path(), policy);
        let placed = sink.put(&sink.root(), &file, b"new").unwrap();
        assert_eq!(placed.kept.is_none(), replaced, "{policy:?} {size} {seconds}");
        let right = placed.kept.is_some_and(|kept| kept.right);
        assert_eq!(right, !replaced && policy != Never, "{policy:?}: only never reports it");
        let content = fs::read(&path).unwrap();
        assert_eq!(content == b"new", replaced, "{policy:?} {size} {seconds}");
        assert_eq!(names(home.path()), ["f"]);
        let mut link = entry(b"f", EntryKind::Symlink(b"t".to_vec()), 0);
        link.mtime = Timestamp::new(1, 0);
        let sink = self::sink(home.path(), policy);
        let kept = sink.special(&sink.root(), &link).unwrap().kept;
        assert_eq!(kept.is_some(), matches!(policy, Never | IfNewer), "{policy:?}");
        assert_eq!(names(home.path()), ["f"]);
    }
}

#[test]
fn a_directory_and_a_file_never_replace_each_other() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("dir")).unwrap();
    fs::write(home.path().join("dir/inside"), b"x").unwrap();
    fs::write(home.path().join("file"), b"x").unwrap();
    std::os::unix::fs::symlink("dir", home.path().join("link")).unwrap();
    let sink = sink(home.path(), Overwrite::Always);
    let root = sink.root();
    let errors = [
        sink.put(&root, &entry(b"dir", EntryKind::File, 1), b"y").err(),
        sink.special(&root, &entry(b"dir", EntryKind::Fifo, 0)).err(),
        sink.enter(&root, &dir_entry(b"file")).err(),
        sink.enter(&root, &dir_entry(b"link")).err(),
    ];
    for error in errors {
        let error = error.unwrap();
        assert!(matches!(error, SinkError::Occupied { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Invalid);
    }
    assert_eq!(names(home.path()), ["dir", "file", "link"]);
    assert_eq!(fs::read(home.path().join("dir/inside")).unwrap(), b"x");
}

#[test]
fn fid05_a_second_restore_of_hard_links_changes_nothing() {
    for overwrite in [Overwrite::Never, Overwrite::Always] {
        let home = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let sink = sink(home.path(), overwrite);
            let root = sink.root();
            let mut file = entry(b"one", EntryKind::File, 3);
            file.nlink = 2;
            sink.put(&root, &file, b"abc").unwrap();
            file.name = b"two".to_vec();
            let original = LinkTarget::new(root.clone(), b"one".to_vec());
            let placed = sink.link(&root, &file, &original).unwrap();
            assert_eq!(placed.kept, None, "{overwrite:?}");
            assert!(sink.leave(root).is_empty());
            assert_eq!(names(home.path()), ["one", "two"]);
            use std::os::unix::fs::MetadataExt;
            assert_eq!(home.path().join("two").metadata().unwrap().nlink(), 2);
        }
    }
}

#[test]
fn ret06_what_is_incomplete_keeps_its_bytes_under_a_name_that_says_so() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path(), Overwrite::Never);
    let dir = sink.enter(&sink.root(), &dir_entry(b"d")).unwrap();
    for round in 1..=2 {
        let Created::Write(writer) =
            sink.create(&dir, &entry(b"f", EntryKind::File, 10_000)).unwrap()
        else {
            panic!("nothing is there");
        };
        writer.write_at(5000, b"middle").unwrap();
        let problem = writer.incomplete("chunk 7 is gone");
        assert_eq!(problem.kind, ProblemKind::MissingData);
        assert!(problem.message.contains("chunk 7 is gone"), "{}", problem.message);
        let name = if round == 1 { "f.incomplete" } else { "f.incomplete.2" };
        assert!(problem.message.contains(name));
        let bytes = fs::read(home.path().join("d").join(name)).unwrap();
        assert_eq!((bytes.len(), &bytes[5000..5006]), (10_000, &b"middle"[..]));
    }
    // A name at the limit has no room for the ending, and is cut.
    let long = vec![b'n'; 255];
    let Created::Write(writer) = sink.create(&dir, &entry(&long, EntryKind::File, 1)).unwrap()
    else {
        panic!("nothing is there");
    };
    writer.incomplete("gone");
    assert_eq!(names(&home.path().join("d")).len(), 3);
}

#[test]
fn a_writer_dropped_leaves_nothing_and_one_past_its_size_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path(), Overwrite::Never);
    let file = entry(b"f", EntryKind::File, 10);
    let Created::Write(writer) = sink.create(&sink.root(), &file).unwrap() else {
        panic!("nothing is there");
    };
    for (offset, length) in [(0, 11), (10, 1), (u64::MAX, 1)] {
        let error = writer.write_at(offset, &vec![1; length]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    drop(writer);
    assert_eq!(names(home.path()), Vec::<String>::new());
    assert!(sink.put(&sink.root(), &file, b"short").is_err());
}

#[test]
fn several_threads_write_pieces_of_one_file() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path(), Overwrite::Never);
    let file = entry(b"f", EntryKind::File, 64 * 1000);
    let Created::Write(writer) = sink.create(&sink.root(), &file).unwrap() else {
        panic!("nothing is there");
    };
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let writer = &writer;
            scope.spawn(move || {
                for piece in (u64::from(thread)..64).step_by(4) {
                    writer.write_at(piece * 1000, &[piece as u8; 1000]).unwrap();
                }
            });
        }
    });
    assert!(writer.finish().unwrap().problems.is_empty());
    let bytes = fs::read(home.path().join("f")).unwrap();
    assert!(bytes.chunks(1000).enumerate().all(|(n, piece)| piece == [n as u8; 1000]));
}

#[test]
fn fid09_a_name_that_is_taken_by_a_twin_gets_an_ending_and_nothing_is_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path(), Overwrite::Always);
    // What a folding file system makes of two names: the same name stands in here. Real ones: the
    // tests of the mover with this ID.
    let fresh = sink.enter(&sink.root(), &dir_entry(b"fresh")).unwrap();
    for (dir, at) in [(fresh, home.path().join("fresh")), (sink.root(), home.path().to_owned())] {
        let file = entry(b"Name", EntryKind::File, 5);
        sink.put(&dir, &file, b"first").unwrap();
        let Created::Write(writer) = sink.create(&dir, &file).unwrap() else {
            panic!("the policy speaks of what was there before");
        };
        writer.write_at(0, b"later").unwrap();
        let original = LinkTarget::new(dir.clone(), b"Name".to_vec());
        let placed = [
            sink.put(&dir, &file, b"third").unwrap(),
            writer.finish().unwrap(),
            sink.special(&dir, &entry(b"Name", EntryKind::Fifo, 0)).unwrap(),
            sink.link(&dir, &file, &original).unwrap(),
        ];
        for (placed, number) in placed.into_iter().zip(["", ".2", ".3", ".4"]) {
            let name = format!("Name.twin{number}");
            assert_eq!(placed.name.as_deref(), Some(name.as_bytes()));
            assert_eq!(placed.kept, None);
            let [problem] = &placed.problems[..] else { panic!("{:?}", placed.problems) };
            assert_eq!(problem.path, at.join("Name").as_os_str().as_encoded_bytes());
            assert!(problem.message.contains(&format!("it is in '{name}'")), "{problem:?}");
        }
        let twin = sink.enter(&dir, &dir_entry(b"Name")).unwrap();
        assert_eq!(twin.path(b""), at.join("Name.twin.5").as_os_str().as_encoded_bytes());
        let [problem] = &sink.leave(twin)[..] else { panic!("one name is another") };
        assert!(problem.message.contains("all that is in it is in 'Name.twin.5'"), "{problem:?}");
        for (name, content) in [("Name", "first"), ("Name.twin", "third"), ("Name.twin.2", "later")]
        {
            assert_eq!(fs::read_to_string(at.join(name)).unwrap(), content);
        }
    }
    // The next restore finds each of them at its place.
    let again =
        FsSink::open(home.path(), SinkOptions { overwrite: Overwrite::Always, ..ALL }).unwrap();
    let file = entry(b"Name", EntryKind::File, 5);
    assert_eq!(again.put(&again.root(), &file, b"FIRST").unwrap().name, None);
    let second = again.put(&again.root(), &file, b"THIRD").unwrap();
    assert_eq!(second.name.as_deref(), Some(&b"Name.twin"[..]));
    assert_eq!(fs::read(home.path().join("Name")).unwrap(), b"FIRST");
    assert_eq!(fs::read(home.path().join("Name.twin")).unwrap(), b"THIRD");
    assert_eq!(names(home.path()).len(), 7);
}
