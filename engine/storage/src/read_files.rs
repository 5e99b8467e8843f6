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
    pub(crate) fn find(&self, key: &str) -> Option<Arc<File>> {
        let mut files = self.files.lock();
        let at = files.iter().rposition(|(open, _)| open == key)?;
        if at + 1 < files.len() {
            let found = files.remove(at);
            files.push(found);
        }
        files.last().map(|(_, file)| file.clone())
    }

    pub(crate) fn keep(&self, key: &str, file: File) -> Arc<File> {
        let file = Arc::new(file);
        let mut files = self.files.lock();
        if files.len() >= FILES_MAX {
            files.remove(0);
        }
        files.push((key.to_owned(), file.clone()));
        file
    }

    pub(crate) fn forget(&self, key: &str) {
        self.files.lock().retain(|(open, _)| open != key);
    }
}
