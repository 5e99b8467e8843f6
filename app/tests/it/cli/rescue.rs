//! Everything but a copy of the datastore and the recovery kit is lost.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use simsim_testkit::{SmallFs, compare_trees, skip};

use super::documents::check;
use super::house::{EVIL_SHOWN, House, simsim, text};

/// A datastore with two savesets, the kit of its server, and nothing else any more.
struct Lost {
    scratch: tempfile::TempDir,
    kit: PathBuf,
}

impl Lost {
    fn new() -> Self {
        let house = House::with_saveset();
        let kit = house.path("kit.txt");
        house.good(&["key", "kit", "new", "--file", &kit, "--yes"]);
        std::fs::write(house.scratch.path().join("tree/later"), "later").unwrap();
        house.good(&["backup", "home"]);
        let kit = PathBuf::from(kit);
        let scratch = house.lose_server();
        Self { scratch, kit }
    }

    fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = simsim(&self.scratch.path().join("no-such-state"));
        command.arg("rescue").arg(self.store()).arg("--kit").arg(&self.kit).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?} {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        serde_json::from_str(&self.good(&all)).unwrap()
    }
}

/// Every file with its content, every folder, and their modes.
fn all_of(folder: &Path) -> Vec<(PathBuf, u32, Option<Vec<u8>>)> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.symlink_metadata().unwrap().mode();
        if path.is_dir() {
            found.extend(all_of(&path));
            found.push((path, mode, None));
        } else {
            let content = std::fs::read(&path).unwrap();
            found.push((path, mode, Some(content)));
        }
    }
    found.sort();
    found
}

fn take_write_rights(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for (path, mode, _) in all_of(folder) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o555)).unwrap();
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn a_copy_and_the_kit_are_enough_and_the_copy_is_not_written_to() {
    let lost = Lost::new();
    take_write_rights(&lost.store());
    let before = all_of(&lost.store());
    let list = lost.json(&["list"]);
    check("RescueList", &list);
    assert_eq!((list["savesets"].as_array().unwrap().len(), &list["sealed"]), (2, &0.into()));
    assert_eq!(list["savesets"][0]["task"], "home");
    let tree = lost.scratch.path().join("tree");
    let shown = lost.good(&["ls", "latest", tree.to_str().unwrap()]);
    assert!(shown.contains(EVIL_SHOWN) && shown.contains("later\n"), "{shown}");
    let older = list["savesets"][1]["saveset"].as_str().unwrap();
    let shown = lost.good(&["ls", &older[..8], tree.to_str().unwrap()]);
    assert!(!shown.contains("later"), "{shown}");
    check("Listing", &lost.json(&["ls"]));
    check("Listing", &lost.json(&["find", "hello*"]));

    let back = lost.scratch.path().join("back");
    let to = back.to_str().unwrap();
    let plan = lost.json(&["restore", "latest:home", "--to", to, "--dry-run"]);
    check("RescueReport", &plan);
    assert!(plan["progress"]["files_done"].as_u64() >= Some(5) && !back.exists(), "{plan}");
    let report = lost.json(&["restore", "home", "--to", to]);
    check("RescueReport", &report);
    assert_eq!(report["outcome"], "finished");
    let restored = back.join(tree.strip_prefix("/").unwrap());
    let differences = compare_trees(&tree, &restored);
    assert!(differences.is_empty(), "{differences:?}");
    // Again over it: what is there stays, and that is an error of its own.
    let output = lost.run(&["restore", "home", "--to", to]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    let verified = lost.good(&["verify"]);
    assert!(verified.starts_with("finished in "), "{verified}");
    assert_eq!(all_of(&lost.store()), before, "the copy was changed");
}

#[test]
fn a_medium_that_nobody_can_write_to_is_rescued_from() {
    let small = match SmallFs::tmpfs(256 << 20, None) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let lost = Lost::new();
    let copy = small.path().join("copy");
    // Room that the datastore kept for itself, and that a copy need not have.
    let _ = std::fs::remove_file(lost.store().join("reserve"));
    let copied = Command::new("cp").arg("-a").arg(lost.store()).arg(&copy).status().unwrap();
    assert!(copied.success());
    // The index and the manifests are missing, which would have to be written.
    for folder in ["index", "manifests"] {
        std::fs::remove_dir_all(copy.join(folder)).unwrap();
    }
    small.make_read_only().unwrap();
    assert!(std::fs::write(copy.join("probe"), "x").is_err(), "it is truly read-only");
    let rescue = |arguments: &[&str]| {
        let mut command = simsim(&lost.scratch.path().join("no-such-state"));
        command.arg("rescue").arg(&copy).arg("--kit").arg(&lost.kit).args(arguments);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?} {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(rescue(&["list"]).contains("home"));
    let tree = lost.scratch.path().join("tree");
    assert!(rescue(&["ls", "home", tree.to_str().unwrap()]).contains("later\n"));
    let back = lost.scratch.path().join("back");
    rescue(&["restore", "home", "--to", back.to_str().unwrap()]);
    let differences = compare_trees(&tree, &back.join(tree.strip_prefix("/").unwrap()));
    assert!(differences.is_empty(), "{differences:?}");
    assert!(rescue(&["verify"]).starts_with("finished in "));
}

#[test]
fn without_the_index_it_works_too_and_damage_is_named() {
    let lost = Lost::new();
    std::fs::remove_dir_all(lost.store().join("index")).unwrap();
    for name in ["lock", "reserve", "tmp"] {
        let path = lost.store().join(name);
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir_all(&path);
    }
    assert!(lost.good(&["verify", "home"]).starts_with("finished in "));
    let pack = all_of(&lost.store().join("packs")).into_iter().find(|one| one.2.is_some()).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&pack.0, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = pack.2.unwrap();
    bytes[200] ^= 1;
    std::fs::write(&pack.0, bytes).unwrap();
    let output = lost.run(&["verify", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcome"], "finished_with_errors");
    assert!(!report["problems"].as_array().unwrap().is_empty());
}

#[test]
fn a_wrong_kit_and_a_wrong_folder_are_told_apart() {
    let lost = Lost::new();
    let told = |output: Output, status: i32| {
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{told}");
        told.replace(lost.scratch.path().to_str().unwrap(), "FOLDER")
    };
    let other = simsim_format::RecoveryKit::generate().unwrap().groups();
    let with_kit = |groups: &[String]| {
        let file = lost.scratch.path().join("other.txt");
        std::fs::write(&file, groups.join("-")).unwrap();
        let mut command = simsim(lost.scratch.path());
        command.arg("rescue").arg(lost.store()).arg("--kit").arg(file).arg("list");
        command.output().unwrap()
    };
    let mut all = told(with_kit(&other), 4);
    // One wrong letter; one in 32 passes the group's check, so not just any.
    let wrong = |letter: char| {
        let mut typo = other.clone();
        typo[0].replace_range(..1, &letter.to_string());
        typo
    };
    let noticed = |groups: &Vec<String>| {
        let told = simsim_format::RecoveryKit::parse(&groups.join("-")).err();
        told.is_some_and(|error| error.to_string().contains("group 1"))
    };
    let typo = ('A'..='Z').map(wrong).find(noticed).unwrap();
    all.push_str(&told(with_kit(&typo), 2));
    all.push_str(&told(with_kit(&other[..5]), 2));
    let mut command = simsim(lost.scratch.path());
    command.arg("rescue").arg(lost.scratch.path().join("tree")).args(["--kit", "-", "list"]);
    all.push_str(&told(command.output().unwrap(), 5));
    let mut command = simsim(lost.scratch.path());
    command.arg("rescue").arg("/not/there").args(["--kit", "-", "list"]);
    all.push_str(&told(command.output().unwrap(), 5));
    all.push_str(&told(lost.run(&["ls", "nope"]), 5));
    all.push_str(&told(lost.run(&["ls", "latest", "/nope"]), 5));
    let mut command = simsim(lost.scratch.path());
    command.arg("rescue").arg(lost.store()).arg("list").stdin(std::process::Stdio::null());
    all.push_str(&told(command.output().unwrap(), 2));
    insta::assert_snapshot!(all);
}
