//! Any bytes at every decoder of CTRL, and the bytes that must stay what they are.

use data_encoding::HEXLOWER;
use simsim_testkit::fuzz;
use zeroize::Zeroizing;

use super::middle::*;
use crate::coding::Coding;
use crate::ctrl::handshake::{Answered, Called, error_line};
use crate::ctrl::keys::{Shared, TO_DIALLER, TO_LISTENER, Transcript};
use crate::ctrl::line::{Foreign, LineError, read_line};
use crate::ctrl::record;
use crate::envelope::{Envelope, Part};

fn lines() -> [String; 4] {
    let (node, server) = (Identity::generate(), Identity::generate());
    let (called, call) = Called::new().unwrap();
    let (answered, answer) = Answered::new(call.as_bytes(), &node).unwrap();
    let (_, proof) = called.answered(answer.as_bytes(), &server, |_| true).unwrap();
    let (welcome, _) = answered.proven(proof.as_bytes()).unwrap().welcome().unwrap();
    [call, answer, proof, welcome]
}

#[test]
fn fuzz_ctrl_lines() {
    let (node, server) = (Identity::generate(), Identity::generate());
    let mut samples: Vec<Vec<u8>> = lines().map(String::into_bytes).to_vec();
    samples.push(error_line("no\nmore\u{202e}").into_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    fuzz("ctrl line", &samples, |bytes| {
        if let Ok(line) = runtime.block_on(read(bytes)) {
            assert!(line == *bytes && line.ends_with(b"\n"));
        }
        let (called, call) = Called::new().unwrap();
        let _ = Answered::new(bytes, &node);
        let (answered, answer) = Answered::new(call.as_bytes(), &node).unwrap();
        // Nothing that is made without the keys of this exchange is a proof.
        assert!(answered.proven(bytes).is_err());
        assert!(called.answered(bytes, &server, |_| true).is_err());
        let (called, call) = Called::new().unwrap();
        let (_, real) = Answered::new(call.as_bytes(), &node).unwrap();
        assert!(called.answered(answer.as_bytes(), &server, |_| true).is_err());
        let (called, _) = Called::new().unwrap();
        assert!(called.answered(real.as_bytes(), &server, |_| true).is_err());
    });
}

fn one_way() -> (Coding, Coding) {
    let shared = Shared::new(&[1; 32], &[2; 32]);
    let mut transcript = Transcript::new();
    transcript.add(b"all that was said");
    let said = transcript.hash();
    let key = |context| shared.key(context, &said);
    let dialler = record::coding(key(TO_LISTENER), key(TO_DIALLER));
    (dialler, record::coding(key(TO_DIALLER), key(TO_LISTENER)))
}

#[test]
fn fuzz_ctrl_messages() {
    let (mut dialler, _) = one_way();
    let request = Request::from(CancelJob { job: 77 });
    let envelope = Envelope::new(9, Part::Request, request.number(), request.encode());
    let frame = dialler.outward.frame(envelope).unwrap();
    let frame = frame[4..].to_vec();
    let samples = [frame.clone(), b"0 1:request 1 1:ping\n0123456789abcdef".to_vec()];
    fuzz("ctrl message", &samples, |bytes| {
        let (_, mut listener) = one_way();
        let read = listener.inward.envelope(Zeroizing::new(bytes.to_vec()));
        assert_eq!(read.is_ok(), *bytes == *frame);
        // Nothing is read after what was refused.
        if read.is_err() {
            let error = listener.inward.envelope(Zeroizing::new(frame.clone())).unwrap_err();
            assert_eq!(error, "the session is over");
        }
    });
}

/// The keys and frames of given secrets: another version of the suite makes the same ones.
#[test]
fn keys_and_frames_of_given_secrets_never_change() {
    let (mut dialler, mut listener) = one_way();
    let request = Request::from(CancelJob { job: 77 });
    let envelope = |id| Envelope::new(id, Part::Request, request.number(), request.encode());
    let frame = dialler.outward.frame(envelope(9)).unwrap();
    assert_eq!(HEXLOWER.encode(&frame), FRAME);
    let read = listener.inward.envelope(Zeroizing::new(frame[4..].to_vec())).unwrap();
    assert_eq!((read.id, read.part, read.verb), (9, Part::Request, CancelJob::NUMBER));
    assert_eq!(*read.body, request.encode());
    let beat = listener.outward.frame(Envelope::beat()).unwrap();
    assert_eq!(HEXLOWER.encode(&beat), BEAT);
    // Under the second key.
    for id in 1..record::MESSAGES_PER_KEY {
        dialler.outward.frame(envelope(id)).unwrap();
    }
    let frame = dialler.outward.frame(envelope(9)).unwrap();
    assert_eq!(HEXLOWER.encode(&frame), LATER);
}

const FRAME: &str = "000000303020313a7265717565737420392031303a63616e63656c2d6a6f620a6a6aa6b8d8dec6aed275ba77\
    660c64301f212cd1";
const BEAT: &str = "0000001d3020373a62656174203020300a6b5b4b1a51db761991abbead3406ea67";
const LATER: &str = "000000333130323420313a7265717565737420392031303a63616e63656c2d6a6f620a542cb50257cd438c6e\
    39b0e8500f40fbded19fa9";

async fn read(bytes: &[u8]) -> Result<Vec<u8>, LineError> {
    let mut from = bytes;
    read_line(&mut from).await
}

#[tokio::test]
async fn lines_are_taken_up_to_the_limit_and_other_protocols_are_known_by_their_first_bytes() {
    let line = |bytes: usize| {
        let mut line = b"simsim-ctrl 1 call ".to_vec();
        line.resize(bytes - 1, b'x');
        line.push(b'\n');
        line
    };
    let most = limits::CONTROL_LINE_BYTES_MAX;
    assert_eq!(read(&line(most)).await.unwrap().len(), most);
    let beyond = read(&line(most + 1)).await.unwrap_err();
    assert!(matches!(&beyond, LineError::Broken(why) if why.contains("4096")), "{beyond:?}");
    let more = [&line(60)[..], b"x"].concat();
    assert!(matches!(read(&more).await, Err(LineError::Broken(_))), "nothing may follow");
    for bytes in [&b""[..], b"simsim-ctrl", b"simsim-ctrl 1 call "] {
        assert!(matches!(read(bytes).await, Err(LineError::Closed(_))));
    }
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], Foreign::Http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Foreign::Http),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Foreign::Ssh),
        (b"SSH-2.0-no end", Foreign::Ssh),
        (b"\x16\x03\x01\x02\0", Foreign::Tls),
        (b"simsim", Foreign::Other),
        (b"USER anonymous\r\n", Foreign::Other),
        (b"\0\0\0\x10\xa4\0\0\0\n", Foreign::Other),
        (&[b'x'; 5000], Foreign::Other),
    ] {
        let error = read(bytes).await.unwrap_err();
        assert!(matches!(error, LineError::Foreign(found) if found == expected), "{error:?}");
    }
}
