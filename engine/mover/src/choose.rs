//! What of a saveset is wanted: paths, patterns, or what matches within the paths.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::MoverError;
use crate::tree::{components, join};

/// What of a saveset is restored: everything where both lists are empty, and with both only what
/// matches a pattern within the paths.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Paths with all that is below them.
    pub paths: Vec<Vec<u8>>,
    /// Patterns: without a `/` for the name alone, with one for the whole path (`*` stops at
    /// `/`, `**` does not).
    pub patterns: Vec<String>,
}

impl Selection {
    /// Places that everything wanted lies at or beneath: the paths, narrowed by what the patterns say
    /// before their first wildcard. `/` for what may lie anywhere, nothing where paths and patterns
    /// have no place in common.
    pub fn places(&self) -> Vec<Vec<u8>> {
        let whole = |path: &[u8]| join(&[], &components(path).collect::<Vec<_>>().join(&b'/'));
        let or_root = |places: Vec<Vec<u8>>| match places.is_empty() {
            true => vec![b"/".to_vec()],
            false => places,
        };
        let paths = or_root(self.paths.iter().map(|path| whole(path)).collect());
        let patterns = self.patterns.iter().map(|pattern| whole(before_wildcard(pattern)));
        let patterns = or_root(patterns.collect());
        let mut places: Vec<Vec<u8>> = Vec::new();
        for path in &paths {
            for pattern in &patterns {
                let place = match (is_below(path, pattern), is_below(pattern, path)) {
                    (true, _) => path,
                    (_, true) => pattern,
                    _ if path == pattern => path,
                    _ => continue,
                };
                if !places.contains(place) {
                    places.push(place.clone());
                }
            }
        }
        places
    }
}

/// The part of a pattern that names one place: whole components without a wildcard.
fn before_wildcard(pattern: &str) -> &[u8] {
    if !pattern.contains('/') {
        return b"/";
    }
    match pattern.find(['*', '?', '[', '{', '\\']) {
        None => pattern.as_bytes(),
        Some(at) => {
            let end = pattern.get(..at).and_then(|before| before.rfind('/')).unwrap_or(0);
            pattern.as_bytes().get(..end).unwrap_or_default()
        }
    }
}

/// A selection, ready to be asked.
pub struct Chosen {
    paths: Vec<Vec<u8>>,
    patterns: Option<Patterns>,
}

struct Patterns {
    names: GlobSet,
    paths: GlobSet,
    text: String,
}

impl Chosen {
    /// Errors: [`MoverError::Target`] for a malformed pattern.
    pub fn new(selection: &Selection) -> Result<Self, MoverError> {
        let paths = selection
            .paths
            .iter()
            .map(|path| join(&[], &components(path).collect::<Vec<_>>().join(&b'/')))
            .collect();
        let patterns = match selection.patterns.as_slice() {
            [] => None,
            patterns => Some(Patterns::new(patterns)?),
        };
        Ok(Self { paths, patterns })
    }

    /// Is this path wanted by itself?
    pub fn wants(&self, path: &[u8]) -> bool {
        self.holds(path) && self.patterns.as_ref().is_none_or(|patterns| patterns.match_(path))
    }

    /// Can something below this directory be wanted?
    pub fn reaches(&self, path: &[u8]) -> bool {
        self.holds(path) || self.paths.iter().any(|chosen| is_below(chosen, path))
    }

    /// Are there patterns? Then a folder is wanted only if something in it is, or it matches.
    pub fn has_patterns(&self) -> bool {
        self.patterns.is_some()
    }

    /// Where to begin so that everything wanted is met once: no path lies below another.
    pub fn starts(&self) -> Vec<&[u8]> {
        if self.paths.is_empty() {
            return vec![b"/"];
        }
        let mut starts: Vec<&[u8]> = Vec::new();
        for path in &self.paths {
            let covered = self.paths.iter().any(|other| is_below(path, other));
            if !covered && !starts.contains(&path.as_slice()) {
                starts.push(path);
            }
        }
        starts
    }

    /// What a walk that met so many wanted entries comes to: patterns that match nothing are as
    /// wrong as a path that is not there.
    pub fn met(&self, count: u64) -> Result<(), MoverError> {
        match &self.patterns {
            Some(patterns) if count == 0 => {
                Err(MoverError::NoMatch { patterns: patterns.text.clone() })
            }
            _ => Ok(()),
        }
    }

    fn holds(&self, path: &[u8]) -> bool {
        self.paths.is_empty()
            || self.paths.iter().any(|chosen| chosen == path || is_below(path, chosen))
    }
}

impl Patterns {
    fn new(patterns: &[String]) -> Result<Self, MoverError> {
        let bad = |error: globset::Error| MoverError::Target(format!("a pattern: {error}"));
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let glob = |pattern: &str| {
            GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .map_err(|error| MoverError::Target(format!("pattern '{pattern}': {error}")))
        };
        for pattern in patterns {
            if !pattern.contains('/') {
                names.add(glob(pattern)?);
            } else if pattern.starts_with('/') {
                paths.add(glob(pattern)?);
            } else {
                paths.add(glob(&format!("/{pattern}"))?);
            }
        }
        let quoted: Vec<String> = patterns.iter().map(|one| format!("'{one}'")).collect();
        Ok(Self {
            names: names.build().map_err(bad)?,
            paths: paths.build().map_err(bad)?,
            text: quoted.join(" or "),
        })
    }

    fn match_(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let as_path = |bytes| Path::new(OsStr::from_bytes(bytes));
        // The root has no name, and whoever gives patterns does not mean it.
        !name.is_empty()
            && (self.names.is_match(as_path(name)) || self.paths.is_match(as_path(path)))
    }
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    match path.strip_prefix(above) {
        Some([]) | None => false,
        Some(rest) => above == b"/" || rest.first() == Some(&b'/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(paths: &[&str], patterns: &[&str]) -> Chosen {
        Chosen::new(&Selection {
            paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
            patterns: patterns.iter().map(ToString::to_string).collect(),
        })
        .unwrap()
    }

    #[test]
    fn a_pattern_without_a_slash_is_for_the_name_and_one_with_it_for_the_whole_path() {
        let yes = [
            ("*.conf", "/etc/a/b.conf"),
            ("b.conf", "/b.conf"),
            ("/etc/*.conf", "/etc/b.conf"),
            ("etc/*.conf", "/etc/b.conf"),
            ("**/a/*.conf", "/etc/a/b.conf"),
            ("**/b.conf", "/b.conf"),
            ("/etc/**", "/etc/a/b.conf"),
        ];
        for (pattern, path) in yes {
            assert!(chosen(&[], &[pattern]).wants(path.as_bytes()), "{pattern} {path}");
        }
        let no = [
            ("*.conf", "/etc/a.conf/b"),
            ("/etc/*.conf", "/etc/a/b.conf"),
            ("etc/*.conf", "/usr/etc/b.conf"),
            ("*", "/"),
        ];
        for (pattern, path) in no {
            assert!(!chosen(&[], &[pattern]).wants(path.as_bytes()), "{pattern} {path}");
        }
        assert!(
            Chosen::new(&Selection { patterns: vec!["a[".into()], ..Default::default() })
                .is_err_and(|error| error.kind() == simsim_model::Kind::Invalid)
        );
    }

    #[test]
    fn paths_and_patterns_together_choose_what_is_in_both() {
        let both = chosen(&["/a/b/", "/c"], &["*.txt"]);
        assert!(both.wants(b"/a/b/x.txt") && both.wants(b"/c/d/x.txt"));
        assert!(
            !both.wants(b"/a/b/x.bin") && !both.wants(b"/a/x.txt") && !both.wants(b"/cc/x.txt")
        );
        assert!(both.reaches(b"/a") && both.reaches(b"/") && both.reaches(b"/a/b/deep"));
        assert!(!both.reaches(b"/d"));
        assert!(both.met(0).is_err() && both.met(1).is_ok());
        assert!(chosen(&["/a"], &[]).met(0).is_ok());
    }

    #[test]
    fn places_are_no_wider_than_what_can_be_wanted() {
        let places = |paths: &[&str], patterns: &[&str]| {
            let selection = Selection {
                paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
                patterns: patterns.iter().map(ToString::to_string).collect(),
            };
            let texts =
                selection.places().into_iter().map(|place| String::from_utf8(place).unwrap());
            texts.collect::<Vec<_>>()
        };
        assert_eq!(places(&[], &[]), ["/"]);
        assert_eq!(places(&["/a/b", "c/"], &[]), ["/a/b", "/c"]);
        assert_eq!(places(&[], &["*.txt"]), ["/"], "a name may be anywhere");
        assert_eq!(places(&["/a"], &["*.txt"]), ["/a"]);
        assert_eq!(places(&[], &["/a/b/*.txt", "c/d?/e", "/x/y"]), ["/a/b", "/c", "/x/y"]);
        assert_eq!(places(&[], &["/a/b*/c", "**/x", "/{a,b}/c", "/a\\*/b"]), ["/a", "/"]);
        assert_eq!(places(&["/"], &["/a/b/**"]), ["/a/b"]);
        assert_eq!(places(&["/a/b/c", "/z"], &["/a/**"]), ["/a/b/c"]);
        assert!(places(&["/a"], &["/ab/*"]).is_empty(), "nothing can be wanted");
    }

    #[test]
    fn a_walk_begins_at_no_path_twice() {
        let starts = |paths: &[&str]| {
            let chosen = chosen(paths, &[]);
            chosen.starts().iter().map(|path| path.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(starts(&[]), [b"/"]);
        assert_eq!(starts(&["/a/b", "/a", "/ab", "/a/"]), [b"/a".to_vec(), b"/ab".to_vec()]);
        assert_eq!(starts(&["/", "/a"]), [b"/"]);
    }
}
