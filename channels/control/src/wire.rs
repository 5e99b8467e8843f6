//! How values travel where the plain encoding would be too strict or too large.
//!
//! A peer one minor version newer may send a variant that we do not know. A closed set (an
//! outcome, a kind) then becomes its cautious member and never success; the rest of the message
//! stays readable.

use minicbor::data::Type;
use minicbor::decode::Error;
use minicbor::{Decode, Decoder};
use simsim_model::{Kind, Outcome, PROBLEMS_KEPT_MAX, Problem, ProblemKind};

/// A list of byte strings (paths): one CBOR byte string each, not arrays of numbers.
pub(crate) mod byte_strings {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::Error as EncodeError;
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    pub fn encode<C, W: Write>(
        list: &[Vec<u8>],
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.array(list.len() as u64)?;
        for item in list {
            encoder.bytes(item)?;
        }
        Ok(())
    }

    pub fn decode<'b, C>(
        decoder: &mut Decoder<'b>,
        context: &mut C,
    ) -> Result<Vec<Vec<u8>>, DecodeError> {
        let mut list = Vec::new();
        for item in decoder.array_iter_with::<C, minicbor::bytes::ByteVec>(context)? {
            list.push(item?.into());
        }
        Ok(list)
    }
}

/// The longest beginning of a text that has at most `bytes_max` bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// An unknown outcome is never taken for success.
pub(crate) fn outcome_or_failed<C>(
    decoder: &mut Decoder<'_>,
    context: &mut C,
) -> Result<Outcome, Error> {
    or_else(decoder, context, Outcome::Failed)
}

/// An unknown kind of error counts as internal: nothing that a caller could act on.
pub(crate) fn kind_or_internal<C>(
    decoder: &mut Decoder<'_>,
    context: &mut C,
) -> Result<Kind, Error> {
    or_else(decoder, context, Kind::Internal)
}

/// For closed sets that name their own cautious member by `Default`.
pub(crate) fn or_default<'b, C, T: Decode<'b, C> + Default>(
    decoder: &mut Decoder<'b>,
    context: &mut C,
) -> Result<T, Error> {
    or_else(decoder, context, T::default())
}

fn or_else<'b, C, T: Decode<'b, C>>(
    decoder: &mut Decoder<'b>,
    context: &mut C,
    cautious: T,
) -> Result<T, Error> {
    let start = decoder.position();
    match T::decode(decoder, context) {
        Err(error) if error.is_unknown_variant() => {
            decoder.set_position(start);
            decoder.skip()?;
            Ok(cautious)
        }
        result => result,
    }
}

/// Problems of kinds that this version does not know stay in the report as unreadable items. At most
/// [`PROBLEMS_KEPT_MAX`] of them are kept: an empty one is some bytes here and a hundred in memory.
pub(crate) fn problems<C>(
    decoder: &mut Decoder<'_>,
    context: &mut C,
) -> Result<Vec<Problem>, Error> {
    let mut list = Vec::new();
    let count = decoder.array()?;
    let mut seen = 0u64;
    loop {
        match count {
            Some(count) if seen == count => break,
            None if decoder.datatype()? == Type::Break => {
                decoder.skip()?;
                break;
            }
            _ => {}
        }
        let start = decoder.position();
        match Problem::decode(decoder, context) {
            Ok(_) if list.len() >= PROBLEMS_KEPT_MAX => {}
            Ok(problem) => list.push(problem),
            Err(error) if error.is_unknown_variant() => {
                decoder.set_position(start);
                decoder.skip()?;
                if list.len() < PROBLEMS_KEPT_MAX {
                    list.push(Problem::new(
                        Vec::new(),
                        ProblemKind::Unreadable,
                        "the other side reports a kind of problem that this version does not know; \
                         see its own log",
                    ));
                }
            }
            Err(error) => return Err(error),
        }
        seen += 1;
    }
    Ok(list)
}
