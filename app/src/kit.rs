//! The recovery kit in files: a text, and a page to print.

use std::path::{Path, PathBuf};

use simsim_format::KitPage;

use crate::exit::Failure;
use crate::state::write_private;

/// Where the two files lie.
pub struct KitFiles {
    pub text: PathBuf,
    pub page: PathBuf,
}

impl KitFiles {
    /// `recovery-kit.txt` and `recovery-kit.html` in a folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self { text: folder.join("recovery-kit.txt"), page: folder.join("recovery-kit.html") }
    }

    /// Writes both, for the owner only; durable when it returns.
    pub fn write(&self, kit: &KitPage<'_>) -> Result<(), Failure> {
        let kind = simsim_model::Kind::of_io;
        for (file, content) in [(&self.text, kit.text()), (&self.page, kit.html())] {
            write_private(file, content.as_bytes()).map_err(|error| {
                Failure::new(kind(&error), format!("{}: {error}", file.display()))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use simsim_format::KitOwner;

    use super::*;

    #[test]
    fn both_files_hold_the_kit_and_only_their_owner_reads_them() {
        let scratch = tempfile::tempdir().unwrap();
        let groups: Vec<String> = (0..11).map(|at| format!("GROUP{at}")).collect();
        let files = KitFiles::in_folder(scratch.path());
        files.write(&KitPage { owner: &KitOwner::Unknown, groups: &groups }).unwrap();
        for file in [&files.text, &files.page] {
            assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
            let text = std::fs::read_to_string(file).unwrap();
            assert!(groups.iter().all(|group| text.contains(group)), "{text}");
        }
    }
}
