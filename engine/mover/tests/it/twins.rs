//! Restores to file systems that take two names for one: nothing is lost, merged or overwritten, and the
//! report names each entry that has another name than its own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use simsim_model::{Overwrite, Problem, Progress};
use simsim_mover::{RestoreJob, Selection, restore};
use simsim_source::{FsSink, SinkOptions};
use simsim_testkit::{FuseFolder, SmallFs, Temper, skip};
use tempfile::tempdir;

use crate::memory::Memory;
use crate::round_trip::{back_up, key, noise, saveset};

/// Letter case does not matter, nor whether an accent stands by itself.
struct Folding;

impl Temper for Folding {
    fn fold(&self, name: &OsStr) -> OsString {
        match name.to_str() {
            Some(text) => text.to_lowercase().replace("e\u{301}", "\u{e9}").into(),
            None => name.to_owned(),
        }
    }
}

fn source(links: bool) -> tempfile::TempDir {
    let home = tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let write = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        fs::write(at(name), bytes).unwrap();
    };
    for name in ["README", "readme", "Readme", "readme.twin", "caf\u{e9}", "cafe\u{301}"] {
        write(name, format!("this is {name}").as_bytes());
    }
    for number in 0..40 {
        write(&format!("many{number}"), format!("lower {number}").as_bytes());
        write(&format!("MANY{number}"), &noise(number, 3000));
    }
    // Several chunks each, so that they are written piece by piece.
    write("BIG", &noise(100, 5 << 20));
    write("big", &noise(101, 5 << 20));
    for (folder, only) in [("Src", "one"), ("src", "two"), ("SRC", "three")] {
        write(&format!("{folder}/{only}"), only.as_bytes());
        write(&format!("{folder}/same"), format!("same in {folder}").as_bytes());
        write(&format!("{folder}/deep/SAME"), format!("deep in {folder}").as_bytes());
    }
    write("Hard", b"of four names");
    for name in ["hard", "HARD", "other"] {
        fs::hard_link(at("Hard"), at(name)).unwrap();
    }
    if links {
        symlink("README", at("Link")).unwrap();
        symlink("readme", at("link")).unwrap();
        // A file and a folder, and a folder and a link.
        write("kind/x", b"in a folder");
        write("KIND", b"a file");
        write("way/x", b"in another folder");
        symlink("/", at("WAY")).unwrap();
    }
    home
}

fn bring(store: &Arc<Memory>, from: &Path, to: &Path, overwrite: Overwrite) -> Vec<Problem> {
    let sink = FsSink::open(to, SinkOptions { overwrite, owners: true, specials: true }).unwrap();
    let job = RestoreJob {
        session: store.clone(),
        key: key(),
        saveset: saveset(1),
        selection: Selection::default(),
        strip: from.as_os_str().as_bytes().to_vec(),
        threads: 4,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|_| {}),
    };
    restore(job, &sink).unwrap().problems
}

/// What an entry is, with all that is below it: twins of this test all differ.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
enum Is {
    File(Vec<u8>),
    Link(Vec<u8>),
    Folder(BTreeMap<Vec<u8>, Is>),
}

fn look(path: &Path) -> Is {
    let meta = path.symlink_metadata().unwrap();
    if meta.is_symlink() {
        Is::Link(fs::read_link(path).unwrap().into_os_string().into_vec())
    } else if meta.is_dir() {
        Is::Folder(children(path))
    } else {
        Is::File(fs::read(path).unwrap())
    }
}

fn children(path: &Path) -> BTreeMap<Vec<u8>, Is> {
    let children = fs::read_dir(path).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_vec(), look(&entry.path()))
    });
    children.collect()
}

/// Every entry is there under its own name or a twin's, and nothing else is. Gives the names that
/// are not their own, as `path -> name`.
fn hold_against(
    was: &BTreeMap<Vec<u8>, Is>,
    is: &BTreeMap<Vec<u8>, Is>,
    at: &str,
    renamed: &mut Vec<(String, String)>,
) {
    let mut left = is.clone();
    for (name, what) in was {
        let text = String::from_utf8(name.clone()).unwrap();
        let twin = [name, &b".twin"[..]].concat();
        let found = left.iter().find(|(candidate, there)| {
            (*candidate == name || candidate.starts_with(&twin)) && alike(what, there)
        });
        let found = found.map(|(name, _)| name.clone());
        let Some(found) = found else {
            let names: Vec<_> = left.keys().map(|name| String::from_utf8_lossy(name)).collect();
            panic!("{at}/{text} is not there under any name: {names:?}");
        };
        if let (Is::Folder(was), Some(Is::Folder(is))) = (what, left.get(&found)) {
            hold_against(was, is, &format!("{at}/{text}"), renamed);
        }
        left.remove(&found);
        if found != *name {
            renamed.push((format!("{at}/{text}"), String::from_utf8(found).unwrap()));
        }
    }
    assert!(left.is_empty(), "{at}: nothing else may be there: {:?}", left.keys());
}

/// Is a folder the one that was meant? Twins of this test have a child that the others have not.
fn alike(was: &Is, is: &Is) -> bool {
    match (was, is) {
        (Is::Folder(was), Is::Folder(is)) => was.keys().all(|name| is.contains_key(name)),
        (was, is) => was == is,
    }
}

fn renamed_of(problems: &[Problem], to: &Path) -> Vec<(String, String)> {
    let mut renamed: Vec<_> = problems
        .iter()
        .filter(|problem| problem.message.contains("takes its name for that of another entry"))
        .map(|problem| {
            let path = String::from_utf8(problem.path.clone()).unwrap();
            let path = path.strip_prefix(to.to_str().unwrap()).unwrap().to_owned();
            let name = problem.message.split('\'').nth(1).unwrap().to_owned();
            (path, name)
        })
        .collect();
    renamed.sort();
    renamed
}

/// Restores three times into `to`, whose file system folds names.
fn restores_to_a_folding_target(to: &Path) {
    let links = symlink("x", to.join("probe")).is_ok();
    let _ = fs::remove_file(to.join("probe"));
    let home = source(links);
    let store = Arc::new(Memory::default());
    back_up(&store, home.path(), 1, None);
    let was = children(home.path());
    for (round, overwrite) in
        [Overwrite::Always, Overwrite::IfChanged, Overwrite::Always].into_iter().enumerate()
    {
        let problems = bring(&store, home.path(), to, overwrite);
        let mut renamed = Vec::new();
        hold_against(&was, &children(to), "", &mut renamed);
        renamed.sort();
        let files: Vec<_> = renamed.iter().map(|(path, _)| path.as_str()).collect();
        assert!(files.iter().any(|path| path.eq_ignore_ascii_case("/readme")), "{renamed:?}");
        assert!(renamed.len() >= 48, "every twin but one of each: {renamed:?}");
        if overwrite == Overwrite::Always {
            // Linked names that stand as they are have nothing to be told of.
            let mut told = renamed_of(&problems, to);
            if round > 0 {
                let hard = |(path, _): &(String, String)| !path.eq_ignore_ascii_case("/hard");
                told.retain(hard);
                renamed.retain(hard);
            }
            assert_eq!(told, renamed, "round {round}");
        }
    }
}

#[test]
fn fid09_twins_are_all_restored_and_named_where_a_file_system_folds_case_and_forms() {
    let target = match FuseFolder::mount(Arc::new(Folding)) {
        Ok(target) => target,
        Err(why) => return skip(&why),
    };
    restores_to_a_folding_target(target.path());
    let made = target.path().join("a folder");
    fs::create_dir(&made).unwrap();
    restores_to_a_folding_target(&made);
}

#[test]
fn fid09_twins_are_all_restored_and_named_on_vfat() {
    match SmallFs::image("vfat", &[], 96 << 20) {
        Ok(target) => restores_to_a_folding_target(target.path()),
        Err(why) => skip(&why),
    }
}

#[test]
fn fid09_twins_are_all_restored_and_named_in_a_folding_folder_of_ext4() {
    let target = match SmallFs::image("ext4", &["-q", "-O", "casefold"], 96 << 20) {
        Ok(target) => target,
        Err(why) => return skip(&why),
    };
    let folding = target.path().join("folding");
    fs::create_dir(&folding).unwrap();
    let set = Command::new("chattr").arg("+F").arg(&folding).status();
    if !set.is_ok_and(|status| status.success()) {
        return skip("chattr cannot make a folder fold names");
    }
    restores_to_a_folding_target(&folding);
}
