//! Every decoder of the port against changed valid messages.

use bytes::Bytes;
use simsim_model::{
    CommitReply, CutParameters, Direction, Level, ManifestDraft, Name, SavesetId, SegmentPlace,
    StoreTerms, limits,
};
use simsim_testkit::fuzz;
use simsim_transfer::frame::{FrameOpener, FrameSealer};
use simsim_transfer::keys::{SessionKeys, Way};
use simsim_transfer::{Verb, messages, verb};

use crate::front::stranger_ticket;

fn places() -> Vec<SegmentPlace> {
    let place = |byte| SegmentPlace { pack: Name([byte; 32]), offset: 64, length: 5 };
    vec![place(1), place(2), place(3)]
}

#[test]
fn fuzz_messages() {
    let names = vec![Name([1; 32]), Name([2; 32])];
    fuzz("names", &[messages::encode_names(&names).to_vec()], |bytes| {
        if let Ok(names) = messages::decode_names(bytes) {
            assert!(names.len() <= limits::NAMES_PER_REQUEST_MAX);
        }
    });
    let located: Vec<_> = places().into_iter().map(Some).chain([None]).collect();
    fuzz("located", &[messages::encode_located(&located).to_vec()], |bytes| {
        for count in [0, 1, 4, 9, limits::NAMES_PER_REQUEST_MAX] {
            if let Ok(located) = messages::decode_located(bytes, count) {
                assert_eq!(located.len(), count);
            }
            let _ = messages::decode_bits(bytes, count);
        }
    });
    fuzz("places", &[messages::encode_places(&places()).to_vec()], |bytes| {
        if let Ok(places) = messages::decode_places(bytes) {
            assert!(places.iter().all(|p| p.length as usize <= limits::SEGMENT_BYTES_MAX));
        }
    });
    let segments = vec![Some(Bytes::from_static(b"12345")), None, Some("67890".into())];
    fuzz("segments", &[messages::encode_segments(segments).concat()], |bytes| {
        let decoded = messages::decode_segments(Bytes::copy_from_slice(bytes), &places());
        if let Ok(segments) = decoded {
            assert_eq!(segments.len(), 3);
            assert!(segments.iter().flatten().all(|segment| segment.len() == 5));
        }
    });
    let draft = ManifestDraft {
        level: Level::Incr,
        root: Name([3; 32]),
        base: Some(SavesetId([4; 16])),
        scan_started_unix_ns: -5,
        files: 6,
        dirs: 7,
        bytes: 8,
        bytes_new: 9,
        bytes_stored: 10,
        problems: 11,
        sealed_details: vec![12; 13],
        segments: 14,
    };
    fuzz("draft", &[messages::encode_draft(&draft).unwrap().to_vec()], |bytes| {
        let _ = messages::decode_draft(bytes);
    });
    let reply = CommitReply { saveset: SavesetId([1; 16]), sequence: 2, committed_unix_ns: 3 };
    fuzz("committed", &[messages::encode_committed(&reply).unwrap().to_vec()], |bytes| {
        let _ = messages::decode_committed(bytes);
    });
    let terms = StoreTerms { cut: CutParameters::default(), intact: true };
    fuzz("terms", &[messages::encode_terms(&terms).unwrap().to_vec()], |bytes| {
        let _ = messages::decode_terms(bytes);
    });
    let ids = messages::encode_ids(&[SavesetId([1; 16]), SavesetId([2; 16])]).to_vec();
    assert_eq!(messages::decode_ids(&ids).unwrap(), [SavesetId([1; 16]), SavesetId([2; 16])]);
    let one_too_many = vec![0; (limits::NAMES_PER_REQUEST_MAX + 1) * 16];
    assert!(messages::decode_ids(&one_too_many).is_err());
    fuzz("ids", &[ids], |bytes| {
        if let Ok(ids) = messages::decode_ids(bytes) {
            assert!(ids.len() <= limits::NAMES_PER_REQUEST_MAX);
        }
    });
    fuzz("commit of a copy", &[vec![7; 40]], |bytes| {
        let shared = Bytes::copy_from_slice(bytes);
        if let Ok((_, manifest)) = messages::decode_commit_copy(shared) {
            assert_eq!(manifest.len() + messages::COPY_HEAD_BYTES, bytes.len());
        }
    });
    let head = messages::encode_stream_head(7, true).to_vec();
    fuzz("put and stream", &[head, vec![0; 40]], |bytes| {
        let shared = Bytes::copy_from_slice(bytes);
        let _ = messages::decode_put(shared.clone());
        let _ = messages::decode_stream_put(shared);
        let _ = messages::decode_u64("stream-put", bytes);
        let _ = messages::decode_under_way(bytes);
    });
    let transfer = stranger_ticket(Direction::Backup).transfer;
    let paths = Verb::ALL.map(|word| verb::path(&transfer, word).into_bytes());
    fuzz("paths", &paths, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Some((id, word)) = verb::parse_path(&text) {
            assert_eq!(verb::path(&id, word).to_lowercase(), text.to_lowercase());
        }
    });
}

#[test]
fn fuzz_frames() {
    let ticket = stranger_ticket(Direction::Backup);
    let keys = SessionKeys::derive(&ticket.secret, &ticket.transfer, &[1; 32], &[2; 32]);
    let sealed = |parts: usize| {
        let key = keys.body_key(Way::ToClient, Verb::Get, 1).unwrap();
        let mut sealer = FrameSealer::new(key);
        let mut left = std::collections::VecDeque::from(vec![Bytes::from_static(b"part"); parts]);
        let mut wire = sealer.wait().unwrap().to_vec();
        wire.extend_from_slice(&sealer.next_of(&mut left, true).unwrap());
        wire
    };
    let samples = [sealed(0), sealed(3)];
    fuzz("frames", &samples, |bytes| {
        for reply in [true, false] {
            let key = keys.body_key(Way::ToClient, Verb::Get, 1).unwrap();
            let mut opener = FrameOpener::new(key, reply, 4096, 0);
            let fed = bytes.chunks(7).try_for_each(|part| opener.feed(part));
            if let (Ok(()), Ok(plain)) = (fed, opener.finish()) {
                // Whatever opens was sealed by us, and is whole.
                assert!(plain.is_empty() || plain == b"partpartpart", "{plain:?}");
            }
        }
    });
}
