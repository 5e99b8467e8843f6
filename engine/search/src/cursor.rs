//! Where the next page of an answer begins.

use simsim_format::{Cursor, put_varint};

use crate::SearchError;
use crate::record::Key;

/// The last thing that was looked at: versions come by the saveset that they begin with, the newest
/// first, and then by path. As text it means nothing to its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageMark {
    pub(crate) generation: u64,
    pub(crate) at: u32,
    pub(crate) key: Key,
}

impl PageMark {
    pub fn to_text(&self) -> String {
        let mut bytes = self.generation.to_le_bytes().to_vec();
        put_varint(&mut bytes, self.at.into());
        self.key.encode(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Errors: `Invalid` for what was not made by [`PageMark::to_text`].
    pub fn parse(text: &str) -> Result<Self, SearchError> {
        let invalid =
            || SearchError::Invalid("the mark of the next page is none: search anew".into());
        let pairs = text.as_bytes().chunks(2).map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        let bytes = bytes.ok_or_else(invalid)?;
        let mut from = Cursor::new(&bytes, "mark of a page");
        let mut read = || Ok((from.u64()?, from.varint_u32()?, Key::decode(&mut from)?));
        let parsed: Result<_, simsim_format::FormatError> = read();
        let (generation, at, key) = parsed.map_err(|_| invalid())?;
        Ok(Self { generation, at, key })
    }
}
