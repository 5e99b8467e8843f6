//! Figures by hand: `cargo test --release -p simsim-source -- --ignored --nocapture speed`.

use std::time::Instant;

use simsim_format::EntryKind;
use simsim_source::{FsSink, Item, Source, WalkOptions};

use crate::copier::{ALL, dir_entry, entry, source};

#[test]
#[ignore = "takes a while and some gigabytes"]
fn speed_of_usr_and_it_comes_back() {
    let home = tempfile::tempdir_in("/dev/shm").unwrap();
    let start = Instant::now();
    let usr = std::path::Path::new("/usr");
    let problems = crate::copier::copy(&mut source(usr, WalkOptions::default()), home.path(), ALL);
    println!("copied in {:?}", start.elapsed());
    let start = Instant::now();
    let differences = simsim_source::compare(usr, &home.path().join("usr")).unwrap();
    println!("compared in {:?}", start.elapsed());
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.path_text(), problem.message))
        .chain(differences.iter().map(ToString::to_string))
        .collect();
    assert_eq!(lines, Vec::<String>::new());
}

const FILES: usize = 87_000;
const FILES_PER_DIR: usize = 17;

#[test]
#[ignore = "measures"]
fn speed_of_put_and_walk() {
    let home = tempfile::tempdir_in("/dev/shm").unwrap();
    let sink = FsSink::open(home.path(), ALL).unwrap();
    let content = vec![b'x'; 4000];
    for target in ["one", "two"] {
        let start = Instant::now();
        let top = sink.enter(&sink.root(), &dir_entry(target.as_bytes())).unwrap();
        for dir in 0..FILES / FILES_PER_DIR {
            let handle = sink.enter(&top, &dir_entry(format!("d{dir}").as_bytes())).unwrap();
            for file in 0..FILES_PER_DIR {
                let name = format!("file-{file}.c");
                let mut file = entry(name.as_bytes(), EntryKind::File, content.len() as u64);
                file.mode = 0o664;
                assert!(sink.put(&handle, &file, &content).unwrap().problems.is_empty());
            }
            assert!(sink.leave(handle).is_empty());
        }
        assert!(sink.leave(top).is_empty());
        let took = start.elapsed();
        println!("put: {took:?}, {:.2} us a file", took.as_secs_f64() * 1e6 / FILES as f64);
    }
    for threads in [1, 2, 3, 1, 2, 3] {
        let start = Instant::now();
        let options = WalkOptions { threads, ..WalkOptions::default() };
        let mut walk = source(&home.path().join("one"), options);
        let mut leaves = 0;
        while let Some(item) = walk.next() {
            leaves += usize::from(matches!(item, Item::Leaf(_)));
        }
        println!("walk with {threads} threads: {leaves} files in {:?}", start.elapsed());
    }
}
