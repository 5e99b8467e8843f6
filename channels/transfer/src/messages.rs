//! What stands in the bodies, after the frames are opened. Integers are little-endian.

use bytes::Bytes;
use simsim_model::{CommitReply, ManifestDraft, Name, SavesetId, SegmentPlace, StoreTerms, limits};

use crate::TransferError;

/// Bytes of one place: pack name, offset u64, length u32.
pub const PLACE_BYTES: usize = Name::BYTES + 12;
/// In a `get` reply: this segment cannot be read any more.
const ABSENT: u32 = u32::MAX;
/// Bytes before the segment in a `put` request: its number.
pub const PUT_HEAD_BYTES: usize = 8;
/// Bytes before the manifest in a `commit-copy` request: how many segments were put.
pub const COPY_HEAD_BYTES: usize = 8;
/// Bytes of one piece of a plain stream.
pub const STREAM_PIECE_BYTES_MAX: usize = 4 << 20;
/// Bytes before the piece in a `stream-put` request: offset u64, last u8.
pub const STREAM_HEAD_BYTES: usize = 9;

fn bad(verb: &'static str, what: &'static str) -> TransferError {
    TransferError::Message { verb, what }
}

/// `has` and `locate`: names of 32 bytes, nothing else.
pub fn encode_names(names: &[Name]) -> Bytes {
    let mut bytes = Vec::with_capacity(names.len() * Name::BYTES);
    names.iter().for_each(|name| bytes.extend_from_slice(name.as_bytes()));
    bytes.into()
}

pub fn decode_names(bytes: &[u8]) -> Result<Vec<Name>, TransferError> {
    let (names, rest) = bytes.as_chunks::<{ Name::BYTES }>();
    if !rest.is_empty() || names.len() > limits::NAMES_PER_REQUEST_MAX {
        return Err(bad("has or locate", "not a whole number of names, or too many"));
    }
    Ok(names.iter().map(|name| Name(*name)).collect())
}

/// One bit a name, lowest bit first; unused bits of the last byte are 0.
pub fn encode_bits(bits: impl ExactSizeIterator<Item = bool>) -> Vec<u8> {
    let mut bytes = vec![0u8; bits.len().div_ceil(8)];
    for (at, bit) in bits.enumerate() {
        if let (true, Some(byte)) = (bit, bytes.get_mut(at / 8)) {
            *byte |= 1 << (at % 8);
        }
    }
    bytes
}

pub fn decode_bits(bytes: &[u8], count: usize) -> Result<Vec<bool>, TransferError> {
    if bytes.len() != count.div_ceil(8) {
        return Err(bad("has", "the answer is for another number of names"));
    }
    let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    Ok(bits.take(count).collect())
}

fn push_place(bytes: &mut Vec<u8>, place: &SegmentPlace) {
    bytes.extend_from_slice(place.pack.as_bytes());
    bytes.extend_from_slice(&place.offset.to_le_bytes());
    bytes.extend_from_slice(&place.length.to_le_bytes());
}

fn read_place(bytes: &[u8; PLACE_BYTES]) -> Option<SegmentPlace> {
    let (pack, rest) = bytes.split_first_chunk::<{ Name::BYTES }>()?;
    let (offset, length) = rest.split_first_chunk::<8>()?;
    Some(SegmentPlace {
        pack: Name(*pack),
        offset: u64::from_le_bytes(*offset),
        length: u32::from_le_bytes(length.try_into().ok()?),
    })
}

/// `locate` reply: a bit for each name, then the places of those that are there.
pub fn encode_located(places: &[Option<SegmentPlace>]) -> Bytes {
    let mut bytes = encode_bits(places.iter().map(Option::is_some));
    places.iter().flatten().for_each(|place| push_place(&mut bytes, place));
    bytes.into()
}

pub fn decode_located(
    bytes: &[u8],
    count: usize,
) -> Result<Vec<Option<SegmentPlace>>, TransferError> {
    let wrong = || bad("locate", "the answer has another size than its bits say");
    let (bits, rest) = bytes.split_at_checked(count.div_ceil(8)).ok_or_else(wrong)?;
    let bits = decode_bits(bits, count)?;
    let (places, rest) = rest.as_chunks::<PLACE_BYTES>();
    if !rest.is_empty() || places.len() != bits.iter().filter(|bit| **bit).count() {
        return Err(wrong());
    }
    let mut places = places.iter();
    Ok(bits
        .into_iter()
        .map(|bit| if bit { places.next().and_then(read_place) } else { None })
        .collect())
}

/// `get`: places, nothing else.
pub fn encode_places(places: &[SegmentPlace]) -> Bytes {
    let mut bytes = Vec::with_capacity(places.len() * PLACE_BYTES);
    places.iter().for_each(|place| push_place(&mut bytes, place));
    bytes.into()
}

pub fn decode_places(bytes: &[u8]) -> Result<Vec<SegmentPlace>, TransferError> {
    let (places, rest) = bytes.as_chunks::<PLACE_BYTES>();
    if !rest.is_empty() || places.len() > limits::PLACES_PER_REQUEST_MAX {
        return Err(bad("get", "not a whole number of places, or too many"));
    }
    let places: Vec<_> = places.iter().filter_map(read_place).collect();
    if places.iter().any(|place| place.length as usize > limits::SEGMENT_BYTES_MAX) {
        return Err(bad("get", "a place is longer than a segment can be"));
    }
    Ok(places)
}

/// `get` reply: for each place a length u32 and that many bytes, or `u32::MAX` and none.
pub fn encode_segments(segments: Vec<Option<Bytes>>) -> Vec<Bytes> {
    let mut parts = Vec::with_capacity(segments.len() * 2);
    for segment in segments {
        match segment {
            Some(segment) => {
                let length = u32::try_from(segment.len()).unwrap_or(ABSENT);
                parts.push(Bytes::copy_from_slice(&length.to_le_bytes()));
                if length != ABSENT {
                    parts.push(segment);
                }
            }
            None => parts.push(Bytes::copy_from_slice(&ABSENT.to_le_bytes())),
        }
    }
    parts
}

/// Bytes that a reply to these places may have.
pub fn segments_bytes_max(places: &[SegmentPlace]) -> usize {
    places.iter().map(|place| place.length as usize + 4).sum()
}

/// Cuts a reply into its segments without copying. A segment of another length than its place
/// says is refused.
pub fn decode_segments(
    mut bytes: Bytes,
    places: &[SegmentPlace],
) -> Result<Vec<Option<Bytes>>, TransferError> {
    let wrong = || bad("get", "a segment has another length than its place says");
    let mut segments = Vec::with_capacity(places.len());
    for place in places {
        let (length, _) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
        let length = u32::from_le_bytes(*length);
        let _ = bytes.split_to(4);
        if length == ABSENT {
            segments.push(None);
        } else if length == place.length && bytes.len() >= length as usize {
            segments.push(Some(bytes.split_to(length as usize)));
        } else {
            return Err(wrong());
        }
    }
    if bytes.is_empty() { Ok(segments) } else { Err(wrong()) }
}

/// `put`: the segment's number, then the segment. Gives both without copying.
pub fn decode_put(mut bytes: Bytes) -> Result<(u64, Bytes), TransferError> {
    let (number, _) = bytes.split_first_chunk::<8>().ok_or(bad("put", "shorter than its head"))?;
    let number = u64::from_le_bytes(*number);
    let segment = bytes.split_off(PUT_HEAD_BYTES);
    Ok((number, segment))
}

/// `commit`: the draft in CBOR; its reply in CBOR.
pub fn encode_draft(draft: &ManifestDraft) -> Result<Bytes, TransferError> {
    minicbor::to_vec(draft)
        .map(Bytes::from)
        .map_err(|_| bad("commit", "the draft cannot be written"))
}

pub fn decode_draft(bytes: &[u8]) -> Result<ManifestDraft, TransferError> {
    decode_whole(bytes).ok_or(bad("commit", "not a draft of a manifest"))
}

pub fn encode_committed(reply: &CommitReply) -> Result<Bytes, TransferError> {
    minicbor::to_vec(reply)
        .map(Bytes::from)
        .map_err(|_| bad("commit", "the reply cannot be written"))
}

pub fn decode_committed(bytes: &[u8]) -> Result<CommitReply, TransferError> {
    decode_whole(bytes).ok_or(bad("commit", "not a reply to a commit"))
}

/// `terms` reply, in CBOR.
pub fn encode_terms(terms: &StoreTerms) -> Result<Bytes, TransferError> {
    minicbor::to_vec(terms).map(Bytes::from).map_err(|_| bad("terms", "they cannot be written"))
}

pub fn decode_terms(bytes: &[u8]) -> Result<StoreTerms, TransferError> {
    decode_whole(bytes).ok_or(bad("terms", "not the terms of a datastore"))
}

/// `savesets`: ids of 16 bytes, nothing else. The reply is as that of `has`.
pub fn encode_ids(savesets: &[SavesetId]) -> Bytes {
    savesets.iter().flat_map(|saveset| saveset.0).collect()
}

pub fn decode_ids(bytes: &[u8]) -> Result<Vec<SavesetId>, TransferError> {
    let (ids, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() || ids.len() > limits::NAMES_PER_REQUEST_MAX {
        return Err(bad("savesets", "not a whole number of ids, or too many"));
    }
    Ok(ids.iter().map(|id| SavesetId(*id)).collect())
}

/// `commit-copy`: segments put so far, then the original's manifest. Gives both without copying.
pub fn decode_commit_copy(mut bytes: Bytes) -> Result<(u64, Bytes), TransferError> {
    let wrong = bad("commit-copy", "shorter than its head");
    let (segments, _) = bytes.split_first_chunk::<8>().ok_or(wrong)?;
    let segments = u64::from_le_bytes(*segments);
    let manifest = bytes.split_off(COPY_HEAD_BYTES);
    Ok((segments, manifest))
}

fn decode_whole<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().ok()?;
    (decoder.position() == bytes.len()).then_some(value)
}

/// `stream-put`: offset of the piece, whether it is the last, the piece.
pub fn encode_stream_head(offset: u64, last: bool) -> Bytes {
    let mut bytes = offset.to_le_bytes().to_vec();
    bytes.push(u8::from(last));
    bytes.into()
}

pub fn decode_stream_put(mut bytes: Bytes) -> Result<(u64, bool, Bytes), TransferError> {
    let wrong = bad("stream-put", "the head is not an offset and a mark");
    let (offset, rest) = bytes.split_first_chunk::<8>().ok_or(wrong.clone())?;
    let offset = u64::from_le_bytes(*offset);
    let last = match rest.first() {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(wrong),
    };
    let piece = bytes.split_off(STREAM_HEAD_BYTES);
    Ok((offset, last, piece))
}

/// A request under way, as the reply to a ping tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    pub number: u64,
    /// Received of its body; of a reply that a limit holds back, sent so far.
    pub bytes: u64,
    /// A rate limit holds it back: it stands still on purpose.
    pub held: bool,
}

/// The highest bit of the bytes says that a limit holds the request back.
const HELD: u64 = 1 << 63;

/// `ping` reply: each request whose body is still coming, or whose reply a limit holds back.
pub fn encode_under_way(all: &[UnderWay]) -> Bytes {
    let mut bytes = Vec::with_capacity(all.len() * 16);
    for one in all {
        bytes.extend_from_slice(&one.number.to_le_bytes());
        let count = one.bytes & !HELD | if one.held { HELD } else { 0 };
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    bytes.into()
}

pub fn decode_under_way(bytes: &[u8]) -> Vec<UnderWay> {
    let (pairs, _) = bytes.as_chunks::<8>();
    let (pairs, _) = pairs.as_chunks::<2>();
    let of = |[number, count]: &[[u8; 8]; 2]| {
        let count = u64::from_le_bytes(*count);
        let number = u64::from_le_bytes(*number);
        UnderWay { number, bytes: count & !HELD, held: count & HELD != 0 }
    };
    pairs.iter().map(of).collect()
}

/// One u64, such as an acknowledged offset.
pub fn decode_u64(verb: &'static str, bytes: &[u8]) -> Result<u64, TransferError> {
    Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| bad(verb, "not eight bytes"))?))
}
