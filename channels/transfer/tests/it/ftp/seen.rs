//! What somebody on the way sees of a transfer.

use bytes::Bytes;
use simsim_model::Direction;

use crate::front::{FtpPassive, Port, bytes_of, ticket};
use crate::memory::{Memory, name_of};
use crate::session::whole_session;

#[test]
fn a_capture_of_control_and_data_holds_no_content_no_name_and_nothing_that_serves_twice() {
    let memory = Memory::default();
    let front = Port::<FtpPassive>::start(memory.clone());
    let proxy = front.proxy();
    let ticket = ticket(&memory, Direction::Backup);
    let segments = [Bytes::from(b"plaintext-marker ".repeat(1000)), bytes_of(300_000, 3)];
    let session = front.through(&proxy, ticket.clone()).expect("open");
    whole_session(&session, &segments);
    let up = proxy.plan.up.lock().clone();
    let down = proxy.plan.down.lock().clone();
    let holds = |bytes: &[u8], marker: &[u8]| bytes.windows(marker.len()).any(|w| w == marker);
    // The capture is one of both: the control connection's words, and the bytes of the data.
    assert!(holds(&up, b"USER simsim-transfer") && holds(&up, b"STOR "), "no control connection");
    assert!(up.len() > 300_000 && down.len() > 300_000, "no data");
    let name = name_of(&segments[0]);
    let digits = super::hex(&ticket.secret.0);
    let markers: [&[u8]; 8] = [
        b"plaintext-marker",
        &segments[1][1000..1016],
        &ticket.secret.0[..16],
        digits.as_bytes(),
        ticket.client.as_bytes(),
        &name.0[..16],
        b"manifest-in-the-clear",
        &[9; 16],
    ];
    for marker in markers {
        assert!(!holds(&up, marker) && !holds(&down, marker), "{marker:?} is readable");
    }
    // Said again word for word, it opens nothing.
    let said = String::from_utf8_lossy(&up).into_owned();
    let pass = said.lines().find(|line| line.starts_with("PASS ")).expect("a PASS");
    let mut call = super::Raw::begin(front.address);
    assert_eq!(call.ask("USER simsim-transfer").0, 331);
    assert_eq!(call.ask(pass.trim_end()).0, 530);
}
