//! One text for two databases.
//!
//! PostgreSQL writes `$1` where the queries of this crate write `?1`, and has other words for three
//! types of a schema step. Each of the three is chosen so that a column holds and orders there just
//! what it holds and orders in SQLite:
//!
//! | in the step | in PostgreSQL | because |
//! |---|---|---|
//! | `INTEGER` | `BIGINT` | SQLite's has 64 bits, PostgreSQL's only 32 |
//! | `BLOB` | `BYTEA` | the word |
//! | `TEXT` | `TEXT COLLATE "C"` | SQLite orders and compares by bytes, whatever the language |
//!
//! PostgreSQL's text holds every character but NUL. A NUL is kept as [`ESCAPE`] and `0`, an
//! [`ESCAPE`] that was there as [`ESCAPE`] and `1`; so every text of SQLite has one form there, and
//! two texts that differ stay different.

use std::borrow::Cow;

/// A character that no text has by right: Unicode says of U+10FFFE that it never is one.
const ESCAPE: char = '\u{10FFFE}';

/// A query as PostgreSQL takes it. A `?` without a number is the next one, as in SQLite.
pub(super) fn query(text: &str) -> String {
    let mut last = 0_u32;
    pieces(text)
        .map(|piece| match piece {
            Piece::Other(text) | Piece::Word(text) => Cow::Borrowed(text),
            Piece::Bound(number) => {
                let number = number.parse().unwrap_or(last + 1);
                last = last.max(number);
                Cow::Owned(format!("${number}"))
            }
        })
        .collect()
}

/// A schema step as PostgreSQL takes it.
pub(super) fn step(text: &str) -> String {
    pieces(text)
        .map(|piece| match piece {
            Piece::Word("INTEGER") => "BIGINT",
            Piece::Word("BLOB") => "BYTEA",
            Piece::Word("TEXT") => "TEXT COLLATE \"C\"",
            Piece::Word(text) | Piece::Other(text) => text,
            Piece::Bound(_) => "",
        })
        .collect()
}

/// A text as it lies in PostgreSQL.
pub(super) fn escape_text(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, '1']),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// The text that lies in PostgreSQL as `escaped`.
pub(super) fn unescape_text(escaped: String) -> String {
    if !escaped.contains(ESCAPE) {
        return escaped;
    }
    let mut text = String::with_capacity(escaped.len());
    let mut characters = escaped.chars().peekable();
    while let Some(character) = characters.next() {
        let meant = match (character, characters.peek()) {
            (ESCAPE, Some('0')) => '\0',
            (ESCAPE, Some('1')) => ESCAPE,
            (other, _) => {
                text.push(other);
                continue;
            }
        };
        characters.next();
        text.push(meant);
    }
    text
}

enum Piece<'t> {
    /// Letters, digits and underscores outside of quotes and comments.
    Word(&'t str),
    /// `?` outside of quotes and comments: the number that follows it, which may be empty.
    Bound(&'t str),
    Other(&'t str),
}

/// Cuts a text into pieces that make it up again.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let ends = |rest: &str, inside: fn(char) -> bool| {
            rest.char_indices().find(|(_, c)| !inside(*c)).map_or(rest.len(), |(at, _)| at)
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let quote_end = |rest: &str, quote: char| {
            rest.char_indices()
                .skip(1)
                .find(|(_, c)| *c == quote)
                .map_or(rest.len(), |(at, _)| at + 1)
        };
        let length = match first {
            '\'' | '"' => quote_end(rest, first),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '?' => 1 + ends(rest.get(1..).unwrap_or_default(), |c| c.is_ascii_digit()),
            _ if is_word(first) => ends(rest, |c| c.is_ascii_alphanumeric() || c == '_'),
            _ => first.len_utf8(),
        };
        let (piece, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(match first {
            '?' => Piece::Bound(piece.get(1..).unwrap_or_default()),
            _ if is_word(first) => Piece::Word(piece),
            _ => Piece::Other(piece),
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_bound_gets_the_other_sign_outside_of_quotes_and_comments() {
        assert_eq!(
            query("SELECT a FROM b WHERE c = ?1 AND d=?12"),
            "SELECT a FROM b WHERE c = $1 AND d=$12"
        );
        assert_eq!(
            query("x = '?1' AND \"?2\" = ?3 -- ?4\nAND ?5"),
            "x = '?1' AND \"?2\" = $3 -- ?4\nAND $5"
        );
        assert_eq!(query("a = 'it''s ?1' AND ?2"), "a = 'it''s ?1' AND $2");
    }

    #[test]
    fn a_sign_without_a_number_is_the_next_one() {
        assert_eq!(
            query("a = ? AND b IN (?, ?) AND c = ?7 AND d = ?"),
            "a = $1 AND b IN ($2, $3) AND c = $7 AND d = $8"
        );
    }

    #[test]
    fn a_step_gets_the_other_words_for_types_and_nothing_else() {
        assert_eq!(
            step(
                "CREATE TABLE t (-- TEXT of an INTEGER\n a INTEGER, b BLOB, c TEXT CHECK (c IN ('TEXT')))"
            ),
            "CREATE TABLE t (-- TEXT of an INTEGER\n a BIGINT, b BYTEA, c TEXT COLLATE \"C\" CHECK (c IN ('TEXT')))"
        );
    }

    proptest! {
        #[test]
        fn a_text_comes_back_as_it_was_and_never_with_nul(
            text in prop::collection::vec(prop_oneof![Just('\0'), Just(ESCAPE), Just('0'), Just('1'), any::<char>()], 0..40)
        ) {
            let text: String = text.into_iter().collect();
            let there = escape_text(&text).into_owned();
            prop_assert!(!there.contains('\0'));
            prop_assert_eq!(unescape_text(there), text);
        }

        #[test]
        fn a_query_without_signs_stays_as_it_is(text in "[^?]{0,60}") {
            prop_assert_eq!(query(&text), text);
        }
    }
}
