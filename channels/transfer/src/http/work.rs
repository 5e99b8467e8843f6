//! The work on an opened verb, on a thread that may block.

use std::sync::Arc;

use bytes::Bytes;
use simsim_model::{Kind, Name, RestoreSession, SavesetId, SegmentPlace, SessionError, limits};
use tokio::sync::mpsc;

use super::body::Piece;
use super::session::Session;
use crate::messages::{self, PUT_HEAD_BYTES, STREAM_PIECE_BYTES_MAX};
use crate::{TransferError, TransferHandler, Verb};

/// Segment bytes that are asked of the handler at once in a `get`.
const GET_BATCH_BYTES: u64 = 2 << 20;
/// Batches of a `get` that are in memory: one is made, one waits, one is sent.
const GET_BATCHES: u64 = 3;
/// Sealed frames on their way out.
const FRAMES_BYTES: u64 = 320 << 10;
/// What the work on one name of a `has` takes, its lookup in the index included.
const HAS_BYTES: u64 = 192;
/// The same of a `locate`, with the place that is answered.
const LOCATE_BYTES: u64 = 320;
/// And of a saveset's id.
const SAVESET_BYTES: u64 = 96;

/// Memory that the work on a request and its reply take beside the body, in KiB.
pub(crate) fn kib(handler: &dyn TransferHandler, verb: Verb, body: &Bytes) -> u32 {
    let length = body.len() as u64;
    let names = length / Name::BYTES as u64;
    let bytes = match verb {
        Verb::Open | Verb::Ping | Verb::Close | Verb::Abort | Verb::Terms => 0,
        Verb::Has => names * HAS_BYTES,
        Verb::Locate => names * LOCATE_BYTES,
        Verb::Savesets => length / 16 * SAVESET_BYTES,
        Verb::Put => handler.put_bytes(body.get(PUT_HEAD_BYTES..).unwrap_or_default()) as u64,
        // Read, decoded, and encoded anew.
        Verb::Commit | Verb::CommitCopy => 4 * length,
        Verb::Manifest => 2 * limits::MANIFEST_BYTES_MAX as u64,
        Verb::Get => {
            let places = messages::decode_places(body).unwrap_or_default();
            let lengths = || places.iter().map(|place| u64::from(place.length));
            let batch = lengths().max().unwrap_or_default().max(GET_BATCH_BYTES);
            lengths().sum::<u64>().min(GET_BATCHES * batch) + FRAMES_BYTES
        }
        Verb::StreamPut => length,
        Verb::StreamGet => STREAM_PIECE_BYTES_MAX as u64,
    };
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Does what was asked and sends the reply's pieces.
pub(crate) fn run(
    handler: &Arc<dyn TransferHandler>,
    session: &Session,
    verb: Verb,
    body: Bytes,
    reply: &mpsc::Sender<Piece>,
) {
    let done = match verb {
        Verb::Get => get(handler, session, &body, reply),
        _ => one(handler, session, verb, body).map(|answer| vec![answer]),
    };
    let last = match done {
        Ok(parts) => Piece::Last(parts),
        Err(error) => Piece::Failed(error),
    };
    // Nobody listens any more when the connection was cut; the client asks again.
    let _ = reply.blocking_send(last);
}

fn one(
    handler: &Arc<dyn TransferHandler>,
    session: &Session,
    verb: Verb,
    body: Bytes,
) -> Result<Bytes, SessionError> {
    let transfer = &session.ticket.transfer;
    if !verb.allowed(session.ticket.direction) {
        let direction = session.ticket.direction;
        let text = format!("'{}' is not allowed: the ticket is for a {direction:?}", verb.as_str());
        return Err(SessionError::new(Kind::Denied, text));
    }
    match verb {
        Verb::Close => {
            if session.end("closed") {
                session.drop_streams();
                handler.closed(transfer);
            }
            return Ok(Bytes::new());
        }
        Verb::Abort => {
            if session.end("aborted") {
                session.drop_streams();
                let reason: String =
                    String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).collect();
                handler.aborted(transfer, &format!("the client gave up: {reason}"));
            }
            return Ok(Bytes::new());
        }
        _ if session.is_ended() => return Err(TransferError::Ended.into()),
        _ => {}
    }
    match verb {
        Verb::Has => {
            let names = messages::decode_names(&body)?;
            let held = session.backup(&**handler)?.has(&names)?;
            same(verb, names.len(), held.len())?;
            Ok(messages::encode_bits(held.into_iter()).into())
        }
        Verb::Terms => Ok(messages::encode_terms(&session.backup(&**handler)?.terms()?)?),
        Verb::Put => {
            let (number, segment) = messages::decode_put(body)?;
            let backup = session.backup(&**handler)?;
            let bytes = segment.len() as u64;
            session
                .ledger
                .once(number, bytes, session.ticket.bytes_max, || backup.put(number, segment))?;
            Ok(Bytes::new())
        }
        Verb::Commit => commit(handler, session, &body),
        Verb::Savesets => {
            let savesets = messages::decode_ids(&body)?;
            let held = session.copy(&**handler)?.savesets(&savesets)?;
            same(verb, savesets.len(), held.len())?;
            Ok(messages::encode_bits(held.into_iter()).into())
        }
        Verb::CommitCopy => {
            let (segments, manifest) = messages::decode_commit_copy(body)?;
            let reply = session.copy(&**handler)?.commit_copy(manifest, segments)?;
            Ok(messages::encode_committed(&reply)?)
        }
        Verb::Locate => {
            let names = messages::decode_names(&body)?;
            let places = session.restore(&**handler)?.locate(&names)?;
            same(verb, names.len(), places.len())?;
            Ok(messages::encode_located(&places))
        }
        Verb::Manifest => {
            let wrong = TransferError::Message { verb: "manifest", what: "not a saveset id" };
            let saveset = SavesetId::from_slice(&body).ok_or(wrong)?;
            session.restore(&**handler)?.manifest(saveset)
        }
        Verb::StreamPut => {
            let (offset, last, piece) = messages::decode_stream_put(body)?;
            let end = session.stream_put(handler, offset, last, piece)?;
            Ok(Bytes::copy_from_slice(&end.to_le_bytes()))
        }
        Verb::StreamGet => {
            let wrong =
                TransferError::Message { verb: "stream-get", what: "not an offset and a size" };
            let (offset, most) = body.split_first_chunk::<8>().ok_or(wrong.clone())?;
            let most = u32::from_le_bytes(most.try_into().map_err(|_| wrong)?) as usize;
            let most = most.min(STREAM_PIECE_BYTES_MAX);
            let piece = session.stream_get(&**handler, u64::from_le_bytes(*offset), most)?;
            Ok(piece.into())
        }
        Verb::Ping => {
            let coming: Vec<_> = session.coming.lock().values().copied().take(1024).collect();
            Ok(messages::encode_under_way(&coming))
        }
        Verb::Open | Verb::Get | Verb::Close | Verb::Abort => Ok(Bytes::new()),
    }
}

fn commit(
    handler: &Arc<dyn TransferHandler>,
    session: &Session,
    body: &Bytes,
) -> Result<Bytes, SessionError> {
    let draft = messages::decode_draft(body)?;
    let hash = blake3::hash(body);
    // Held while the handler works: a repeated commit waits for the first and takes its reply.
    let mut committed = session.committed.lock();
    match &*committed {
        Some((first, reply)) if *first == hash => Ok(reply.clone()),
        Some(_) => {
            Err(SessionError::new(Kind::Invalid, "this transfer has committed another saveset"))
        }
        None => {
            let reply = session.backup(&**handler)?.commit(&draft)?;
            let reply = messages::encode_committed(&reply)?;
            *committed = Some((hash, reply.clone()));
            Ok(reply)
        }
    }
}

/// Sends segments batch by batch; a batch is made while the one before is on its way.
fn get(
    handler: &Arc<dyn TransferHandler>,
    session: &Session,
    body: &[u8],
    reply: &mpsc::Sender<Piece>,
) -> Result<Vec<Bytes>, SessionError> {
    if session.is_ended() {
        return Err(TransferError::Ended.into());
    }
    let places = messages::decode_places(body)?;
    let restore = session.restore(&**handler)?;
    let mut rest = places.as_slice();
    loop {
        let mut bytes = 0;
        let fits = |place: &&SegmentPlace| {
            bytes += u64::from(place.length);
            bytes <= GET_BATCH_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (now, later) = rest.split_at(count);
        let parts = batch(restore, now)?;
        if later.is_empty() {
            return Ok(parts);
        }
        rest = later;
        if reply.blocking_send(Piece::More(parts)).is_err() {
            return Ok(Vec::new());
        }
    }
}

fn batch(
    restore: &dyn RestoreSession,
    places: &[SegmentPlace],
) -> Result<Vec<Bytes>, SessionError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let segments = restore.get(places)?;
    same(Verb::Get, places.len(), segments.len())?;
    for (place, segment) in places.iter().zip(&segments) {
        if let Some(segment) = segment
            && segment.len() != place.length as usize
        {
            let (found, said) = (segment.len(), place.length);
            let text = format!(
                "segment at {} of pack {} has {found} bytes, its place says {said}",
                place.offset, place.pack
            );
            return Err(SessionError::new(Kind::Corrupt, text));
        }
    }
    Ok(messages::encode_segments(segments))
}

fn same(verb: Verb, asked: usize, answered: usize) -> Result<(), SessionError> {
    if asked == answered {
        return Ok(());
    }
    let text = format!("the device answered {answered} of {asked} items of '{}'", verb.as_str());
    Err(SessionError::new(Kind::Internal, text))
}
