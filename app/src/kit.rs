//! The recovery kit as people keep it: a text file, and a page to print.
//!
//! With the kit and a copy of a datastore everything in it can be restored, on a host that never
//! saw the server. So both say how, in words that hold without this suite's documentation.

use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::state::write_private;

/// Where the two files lie.
pub struct KitFiles {
    pub text: PathBuf,
    pub page: PathBuf,
}

/// What stands on the kit besides its groups.
pub struct KitFacts<'a> {
    /// The server's name.
    pub server: &'a str,
    /// Fingerprint of the server's key.
    pub fingerprint: &'a str,
    pub groups: &'a [String],
}

impl KitFiles {
    /// `recovery-kit.txt` and `recovery-kit.html` in a folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self { text: folder.join("recovery-kit.txt"), page: folder.join("recovery-kit.html") }
    }

    /// Writes both, for the owner only; durable when it returns.
    pub fn write(&self, facts: &KitFacts<'_>) -> Result<(), Failure> {
        let kind = simsim_model::Kind::of_io;
        for (file, content) in [(&self.text, facts.text()), (&self.page, facts.page())] {
            write_private(file, content.as_bytes()).map_err(|error| {
                Failure::new(kind(&error), format!("{}: {error}", file.display()))
            })?;
        }
        Ok(())
    }
}

/// How to use it, a step a line.
const STEPS: [&str; 6] = [
    "Bring a copy of the datastore's folder to any Linux host, and install simsim there. The \
     kit is asked for, and nothing is written to the copy.",
    "See what is there:                simsim rescue /the/copy list",
    "Restore the newest, or any other: simsim rescue /the/copy restore latest --to /a/folder",
    "To go on with a new server:       simsim server",
    "It takes the copy into service:   simsim datastore attach /the/copy",
    "And reads it with this kit:       simsim datastore rebuild-catalog --kit -",
];

impl KitFacts<'_> {
    /// The kit in plain text: nine lines of groups would fit a label, the rest says how.
    pub fn text(&self) -> String {
        let groups = self.groups.iter().enumerate();
        let groups: String =
            groups.map(|(at, group)| format!("  {:>2}  {group}\n", at + 1)).collect();
        let steps: String =
            STEPS.iter().enumerate().map(|(at, step)| format!("  {}. {step}\n", at + 1)).collect();
        format!(
            "SIMSIM RECOVERY KIT\n\n\
             Server       {}\n\
             Its key      {}\n\n\
             The kit, eleven groups of six letters and digits:\n\n{groups}\n\
             In one line: {}\n\n\
             Whoever has this kit and a copy of a datastore can read everything in it. Without\n\
             the kit, nobody can once the server is lost. Keep it on paper, away from the server.\n\n\
             When the server is lost:\n\n{steps}",
            self.server,
            self.fingerprint,
            self.groups.join("-"),
        )
    }

    /// The same, as a page to print.
    pub fn page(&self) -> String {
        let groups: String = self
            .groups
            .iter()
            .map(|group| format!("<li><code>{}</code></li>", escape(group)))
            .collect();
        let steps: String = STEPS
            .iter()
            .map(|step| match step.split_once(':') {
                Some((what, verb)) => {
                    format!("<li>{}:<br><code>{}</code></li>", escape(what), escape(verb.trim()))
                }
                None => format!("<li>{}</li>", escape(step)),
            })
            .collect();
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>simsim recovery kit</title>\
             <style>@page{{margin:2cm}}body{{font:12pt/1.4 serif;max-width:42em;margin:2em auto}}\
             code{{font:bold 12pt monospace;letter-spacing:.08em}}ol.kit{{columns:2}}\
             dt{{float:left;width:6em}}</style>\
             <h1>simsim recovery kit</h1>\
             <dl><dt>Server</dt><dd>{}</dd><dt>Its key</dt><dd>{}</dd></dl>\
             <ol class=kit>{groups}</ol>\
             <p>Whoever has this kit and a copy of a datastore can read everything in it. Without \
             the kit, nobody can once the server is lost. Keep it on paper, away from the \
             server.</p><h2>When the server is lost</h2><ol>{steps}</ol></html>\n",
            escape(self.server),
            escape(self.fingerprint),
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn both_forms_hold_every_group_and_only_their_owner_reads_them() {
        let scratch = tempfile::tempdir().unwrap();
        let groups: Vec<String> = (0..11).map(|at| format!("GROUP{at}")).collect();
        let facts = KitFacts { server: "a<b", fingerprint: "SHA256:x", groups: &groups };
        let files = KitFiles::in_folder(scratch.path());
        files.write(&facts).unwrap();
        for file in [&files.text, &files.page] {
            assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
            let text = std::fs::read_to_string(file).unwrap();
            for part in groups.iter().map(String::as_str).chain(["SHA256:x", "simsim rescue"]) {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        assert!(!facts.page().contains("a<b") && facts.page().contains("a&lt;b"));
    }
}
