//! The tree knows nothing of the machine it was written on: no absolute work folders, no people's
//! home folders, no package hosts.

use super::Finding;
use crate::workspace::File;

const RULE: &str = "places";

/// Spelled in two halves, so that this file does not find itself.
const FOLDERS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

const HOSTS: [&str; 9] = [
    concat!("static.cra", "tes.io"),
    concat!("index.cra", "tes.io"),
    concat!("cra", "tes.io/api"),
    concat!("proxy.gol", "ang.org"),
    concat!("registry.np", "mjs.org"),
    concat!("files.pythonho", "sted.org"),
    concat!("py", "pi.org"),
    concat!("deb.deb", "ian.org"),
    concat!("archive.ubu", "ntu.com"),
];

/// Home folders of people who exist in examples only.
const EXAMPLE_PEOPLE: [&str; 3] = ["alice", "bob", "ada"];

/// A name shorter than this is nobody's.
const PERSON_BYTES_MIN: usize = 3;

pub fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path != "Cargo.lock") {
        for (at, line) in file.text().lines().enumerate() {
            if let Some(folder) = FOLDERS.iter().find(|folder| names_folder(line, folder)) {
                let message = format!("'{folder}…' is a place on one machine");
                findings.push(Finding::new(RULE, &file.path, at + 1, message));
            }
            if let Some(host) = HOSTS.iter().find(|host| line.contains(**host)) {
                let message = format!("'{host}' is a package host: the build needs none by name");
                findings.push(Finding::new(RULE, &file.path, at + 1, message));
            }
        }
    }
    findings
}

/// Does the line name something in this folder, from the root of the file system?
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let inner = &line[at + folder.len()..];
        let from_root = !before.is_some_and(|c| c.is_alphanumeric() || "._-}/~".contains(c));
        let name = inner.split('/').next().unwrap_or("");
        let named = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
        // A home folder counts with something in it: `/a/b` and the like stand for nobody.
        let somebody = *folder != *FOLDERS[2]
            || (name.len() >= PERSON_BYTES_MIN
                && inner.len() > name.len()
                && !EXAMPLE_PEOPLE.contains(&name));
        from_root && named && somebody
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> usize {
        check(&[File::sample("docs/a.md", line)]).len()
    }

    #[test]
    fn machine_folders_are_found() {
        for folder in FOLDERS {
            assert_eq!(found(&format!("cd {folder}xyz/y")), 1, "{folder}");
            assert_eq!(found(&format!("\"{folder}xyz/z\"")), 1, "{folder}");
            assert_eq!(found(&format!("frame{folder}xyz/y")), 0, "{folder}");
            assert_eq!(found(&format!("{{dir}}{folder}xyz/y")), 0, "{folder}");
        }
        assert_eq!(found(&format!("{}alice/photos", FOLDERS[2])), 0);
        assert_eq!(found(&format!("{}a/b", FOLDERS[2])), 0);
        assert_eq!(found(&format!("{}jdoe/photos", FOLDERS[2])), 1);
        assert_eq!(found(&format!("{}$USER", FOLDERS[2])), 0);
    }

    #[test]
    fn package_hosts_are_found() {
        for host in HOSTS {
            assert_eq!(found(&format!("https://{host}/x")), 1, "{host}");
        }
    }
}
