//! What is searched for: a part of a name, or a pattern with `*`, `?`, `[…]` and `{…}`; and the
//! trigrams that a name must have to fit it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use simsim_model::unescape_path;

use crate::SearchError;

/// No pattern is longer.
const PATTERN_BYTES_MAX: usize = 4096;
/// More trigrams make a search no narrower.
const TRIGRAMS_MAX: usize = 6;
/// Stands before and after a name in its trigrams; no name has it.
const EDGE: u8 = 0;

/// A pattern. Without case means the letters A to Z.
#[derive(Debug, Clone)]
pub struct Pattern {
    matcher: Matcher,
    /// Fits the whole path, not the name alone.
    whole_path: bool,
    ignore_case: bool,
    trigrams: Vec<u32>,
}

#[derive(Debug, Clone)]
enum Matcher {
    Part(Vec<u8>),
    Glob(GlobMatcher),
}

impl Pattern {
    /// `text` without `*?[{`: a part of the name, escaped as listings print names. With them: the
    /// whole name. With a `/`: the same of the whole path.
    ///
    /// Errors: `Invalid`, with what is wrong.
    pub fn new(text: &str, ignore_case: bool) -> Result<Self, SearchError> {
        let invalid = |why: String| SearchError::Invalid(format!("the pattern '{text}': {why}"));
        if text.is_empty() {
            return Err(SearchError::Invalid("the pattern is empty: give a part of a name".into()));
        }
        if text.len() > PATTERN_BYTES_MAX {
            let why = format!("a pattern has at most {PATTERN_BYTES_MAX} bytes");
            return Err(SearchError::Invalid(why));
        }
        let whole_path = text.contains('/');
        if text.contains(['*', '?', '[', '{']) {
            let glob = GlobBuilder::new(text)
                .literal_separator(true)
                .case_insensitive(ignore_case)
                .build()
                .map_err(|error| invalid(error.kind().to_string()))?
                .compile_matcher();
            let trigrams = trigrams_of_glob(text.rsplit('/').next().unwrap_or_default());
            return Ok(Self { matcher: Matcher::Glob(glob), whole_path, ignore_case, trigrams });
        }
        let mut part = unescape_path(text)
            .ok_or_else(|| invalid("a backslash must begin an escape such as \\x5c".into()))?;
        let mut literal = Vec::new();
        if let Some(at) = part.iter().rposition(|byte| *byte == b'/') {
            literal.push(EDGE);
            literal.extend_from_slice(part.get(at + 1..).unwrap_or_default());
        } else {
            literal.extend_from_slice(&part);
        }
        let mut trigrams = Vec::new();
        windows(&literal, &mut trigrams);
        if ignore_case {
            part.make_ascii_lowercase();
        }
        trigrams = narrowed(trigrams);
        Ok(Self { matcher: Matcher::Part(part), whole_path, ignore_case, trigrams })
    }

    /// Trigrams that every name has which fits; none: any name may.
    pub(crate) fn trigrams(&self) -> &[u32] {
        &self.trigrams
    }

    pub(crate) fn is_of_whole_path(&self) -> bool {
        self.whole_path
    }

    /// Whether a path fits.
    pub fn fits(&self, parent: &[u8], name: &[u8]) -> bool {
        if !self.whole_path {
            return self.fits_bytes(name);
        }
        let mut path = parent.to_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        self.fits_bytes(&path)
    }

    fn fits_bytes(&self, subject: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Glob(glob) => glob.is_match(Path::new(OsStr::from_bytes(subject))),
            Matcher::Part(part) if self.ignore_case => {
                subject.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
            }
            Matcher::Part(part) => subject.windows(part.len()).any(|window| window == part),
        }
    }
}

/// Appends the trigrams of a name with its edges; without case.
pub(crate) fn trigrams_of(name: &[u8], out: &mut Vec<u32>) {
    let mut last = [EDGE, EDGE];
    let mut first = true;
    for byte in name.iter().chain([&EDGE]) {
        let byte = byte.to_ascii_lowercase();
        // The first window is of the edge and two bytes.
        if !first {
            out.push(trigram(last[0], last[1], byte));
        }
        first = false;
        last = [last[1], byte];
    }
}

fn windows(literal: &[u8], out: &mut Vec<u32>) {
    out.extend(literal.windows(3).filter_map(|window| match window {
        [a, b, c] => {
            Some(trigram(a.to_ascii_lowercase(), b.to_ascii_lowercase(), c.to_ascii_lowercase()))
        }
        _ => None,
    }));
}

fn trigram(a: u8, b: u8, c: u8) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

/// Those of the longest stretch without a wildcard say most, and of them the ones furthest apart.
fn narrowed(mut trigrams: Vec<u32>) -> Vec<u32> {
    let mut seen = std::collections::HashSet::new();
    trigrams.retain(|one| seen.insert(*one));
    if trigrams.len() > TRIGRAMS_MAX {
        let count = trigrams.len();
        let pick = |at: usize| trigrams.get(at * (count - 1) / (TRIGRAMS_MAX - 1)).copied();
        return (0..TRIGRAMS_MAX).filter_map(pick).collect();
    }
    trigrams
}

fn trigrams_of_glob(glob: &str) -> Vec<u32> {
    let mut trigrams = Vec::new();
    let mut literal = vec![EDGE];
    let mut bytes = glob.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            // One of several: what all of them have is not looked for.
            b'{' | b'}' => return Vec::new(),
            b'*' | b'?' => {
                windows(&literal, &mut trigrams);
                literal.clear();
            }
            b'[' => {
                windows(&literal, &mut trigrams);
                literal.clear();
                // A ']' at the beginning belongs to the class.
                let mut at = 0;
                for byte in bytes.by_ref() {
                    match byte {
                        b'!' | b'^' if at == 0 => {}
                        b']' if at > 0 => break,
                        _ => at += 1,
                    }
                }
            }
            b'\\' => literal.extend(bytes.next()),
            byte => literal.push(byte),
        }
    }
    literal.push(EDGE);
    windows(&literal, &mut trigrams);
    narrowed(trigrams)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, ignore_case: bool, path: &str) -> bool {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() { "/" } else { parent };
        let pattern = Pattern::new(pattern, ignore_case).unwrap();
        let fits = pattern.fits(parent.as_bytes(), name.as_bytes());
        let mut has = Vec::new();
        trigrams_of(name.as_bytes(), &mut has);
        let may = pattern.trigrams().iter().all(|one| has.contains(one));
        assert!(may || !fits, "{path} fits and does not have the trigrams");
        fits
    }

    #[test]
    fn a_text_is_a_part_of_the_name_and_a_pattern_is_the_whole_name() {
        assert!(fits("port", false, "/a/report.txt"));
        assert!(!fits("Port", false, "/a/report.txt") && fits("Port", true, "/a/rePORT.txt"));
        assert!(!fits("a", false, "/a/b") && fits("a/b", false, "/a/bc"));
        assert!(fits("*.txt", false, "/a/report.txt") && !fits("*.txt", false, "/a/x.txt.old"));
        assert!(fits("/a/*", false, "/a/b") && !fits("/a/*", false, "/a/b/c"));
        assert!(fits("/a/**/d", false, "/a/b/c/d") && fits("*.{c,h}", false, "/x/y.h"));
        assert!(fits("[ab]bc*", true, "/x/ABCd") && fits("a?c", false, "/a\u{e9}/abc"));
        assert!(fits("[!]a]bc", false, "/x/dbc") && !fits("[!]a]bc", false, "/x/abc"));
        assert!(fits("\\x5cn", false, "/x/\\n") && fits("x\\*y*", false, "/x/x*yz"));
        assert!(fits("foo/", false, "/foo/x") && fits("a", false, "/a"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for (text, why) in [("", "empty"), ("[a", "character class"), ("\\q", "backslash")] {
            let error = Pattern::new(text, false).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
