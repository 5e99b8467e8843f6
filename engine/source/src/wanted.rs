//! The chosen sources as a tree of names: the way down to each of them, and what lies whole.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::SourceError;

/// One name on the way to a source.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// This is a source: all of it is wanted.
    pub(crate) whole: bool,
    /// Names below that lead to sources. With `whole`, sources within a source.
    pub(crate) children: BTreeMap<Vec<u8>, Arc<Wanted>>,
}

impl Wanted {
    /// `sources` are absolute paths of raw bytes. Symlinks on the way to a source are resolved,
    /// so that the tree holds real directories; the last component is taken as it is.
    pub(crate) fn new(sources: &[Vec<u8>]) -> Result<Arc<Wanted>, SourceError> {
        if sources.is_empty() {
            return Err(SourceError::NoSources);
        }
        let mut root = Draft::default();
        for source in sources {
            let mut draft = &mut root;
            for name in components(source)? {
                draft = draft.children.entry(name).or_default();
            }
            draft.whole = true;
        }
        Ok(root.finish())
    }

    /// The sources at and below this name, as paths that continue `prefix`.
    pub(crate) fn paths(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let mut paths = Vec::new();
        if self.whole {
            paths.push(prefix.to_vec());
        }
        for (name, child) in &self.children {
            paths.extend(child.paths(&[prefix, b"/", name].concat()));
        }
        paths
    }
}

#[derive(Default)]
struct Draft {
    whole: bool,
    children: BTreeMap<Vec<u8>, Draft>,
}

impl Draft {
    fn finish(self) -> Arc<Wanted> {
        let children = self.children.into_iter();
        Arc::new(Wanted {
            whole: self.whole,
            children: children.map(|(name, child)| (name, child.finish())).collect(),
        })
    }
}

fn components(source: &[u8]) -> Result<Vec<Vec<u8>>, SourceError> {
    let path = Path::new(std::ffi::OsStr::from_bytes(source));
    if !path.is_absolute() || source.contains(&0) {
        return Err(SourceError::NotAbsolute { path: source.to_vec() });
    }
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    let resolved = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => parent.canonicalize().map(|parent| parent.join(name)),
        // "/" itself, or a path that ends in "..".
        _ => path.canonicalize(),
    };
    let resolved: PathBuf = match resolved {
        Ok(resolved) => resolved,
        Err(error) if goes_up => {
            return Err(SourceError::Unresolved { path: source.to_vec(), source: error });
        }
        // A parent that is missing or forbidden shows in the walk, which goes on with others;
        // a path too long for the system is walked component by component.
        Err(_) => path.to_path_buf(),
    };
    let names = resolved.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.as_bytes().to_vec()),
        _ => None,
    });
    Ok(names.collect())
}
