//! Open files for reading: a few stay open, the least recently used one is closed first.

use std::fs::File;
use std::sync::Arc;

use parking_lot::Mutex;

const FILES_MAX: usize = 48;

/// Files by key, most recently used last.
#[derive(Default)]
pub(crate) struct ReadFiles {
    files: Mutex<Vec<(String, Arc<File>)>>,
}

impl ReadFiles {
    pub(crate) fn get(
        &self,
        key: &str,
        open: impl FnOnce() -> std::io::Result<File>,
    ) -> std::io::Result<Arc<File>> {
        {
            let mut files = self.files.lock();
            if let Some(at) = files.iter().rposition(|(open, _)| open == key) {
                let found = files.remove(at);
                let file = found.1.clone();
                files.push(found);
                return Ok(file);
            }
        }
        let file = Arc::new(open()?);
        let mut files = self.files.lock();
        if files.len() >= FILES_MAX {
            files.remove(0);
        }
        files.push((key.to_owned(), file.clone()));
        Ok(file)
    }

    pub(crate) fn forget(&self, key: &str) {
        self.files.lock().retain(|(open, _)| open != key);
    }
}
