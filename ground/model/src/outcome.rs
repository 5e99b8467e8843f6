//! How a job ended, and what it has to report.

use std::fmt;

use minicbor::{Decode, Encode};

/// The outcome of a job. *Finished with errors* is never shown as success.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Outcome {
    /// Everything that was asked for was done.
    #[n(0)]
    Finished,
    /// Done, but some items could not be read or written; the report names them.
    #[n(1)]
    FinishedWithErrors,
    /// Nothing usable came of it.
    #[n(2)]
    Failed,
    /// Ended by a person.
    #[n(3)]
    Cancelled,
    /// The server or a daemon ended while the job ran.
    #[n(4)]
    Interrupted,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Finished => "finished",
            Outcome::FinishedWithErrors => "finished_with_errors",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
            Outcome::Interrupted => "interrupted",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [
            Outcome::Finished,
            Outcome::FinishedWithErrors,
            Outcome::Failed,
            Outcome::Cancelled,
            Outcome::Interrupted,
        ]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}

/// Problems beyond this number are counted, not kept.
pub const PROBLEMS_KEPT_MAX: usize = 1000;

/// What went wrong with one item of a job.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub struct Problem {
    /// Path as stored: any bytes.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "path_text")]
    #[schemars(with = "String")]
    pub path: Vec<u8>,
    #[n(1)]
    pub kind: ProblemKind,
    /// One sentence for people: what happened and what it means.
    #[n(2)]
    pub message: String,
}

impl Problem {
    pub fn new(path: impl Into<Vec<u8>>, kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { path: path.into(), kind, message: message.into() }
    }

    /// The path for people: control characters and bytes that are not UTF-8 are escaped.
    pub fn path_text(&self) -> String {
        escape_path(&self.path)
    }
}

/// Kinds of problems. Only [`ProblemKind::Note`] leaves the outcome *finished*.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum ProblemKind {
    /// Worth knowing, nothing missing (a socket was recreated, an excluded mount).
    #[n(0)]
    Note,
    /// Could not be read; it is not in the saveset, or its content is not.
    #[n(1)]
    Unreadable,
    /// Was there when the directory was listed, and gone when it was read.
    #[n(2)]
    Vanished,
    /// Changed while it was read, also on the retry; what was read is stored.
    #[n(3)]
    ChangedWhileRead,
    /// A source of the task does not exist.
    #[n(4)]
    MissingSource,
    /// Content or metadata could not be written on restore.
    #[n(5)]
    NotWritten,
    /// Content is missing or damaged in the datastore.
    #[n(6)]
    MissingData,
    /// An attribute could not be set (owner, xattr, flags); content is complete.
    #[n(7)]
    Attribute,
    /// A command of the client's owner that belongs to the job failed; what was backed up is complete.
    #[n(8)]
    Command,
}

/// A path for people and logs: UTF-8 stays, control characters and other bytes become `\xNN`.
pub fn escape_path(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    text.push_str(&format!("\\x{byte:02x}"));
                }
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

mod path_text {
    //! Paths in JSON are the escaped text: lossless, because a backslash is escaped too.
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(path: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::escape_path(path))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::unescape_path(&text)
            .ok_or_else(|| serde::de::Error::custom("bad \\x escape in a path"))
    }
}

/// The inverse of [`escape_path`].
pub fn unescape_path(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\' {
            let digits = tail.get(1..3)?;
            if tail.first() != Some(&b'x') {
                return None;
            }
            // from_str_radix alone would also take a sign.
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            let digits = std::str::from_utf8(digits).ok()?;
            path.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(3..)?;
        } else {
            path.push(first);
            rest = tail;
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fid08_paths_of_any_bytes_escape_without_loss() {
        let every: Vec<u8> = (0..=255).collect();
        let text = escape_path(&every);
        assert!(!text.chars().any(char::is_control));
        assert_eq!(unescape_path(&text), Some(every));
        assert_eq!(escape_path("grün/ä b".as_bytes()), "grün/ä b");
        assert_eq!(unescape_path("\\x4"), None);
    }
}
