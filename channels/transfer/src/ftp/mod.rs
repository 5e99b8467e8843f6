//! The FTP door: what a device takes and gives where firewalls let FTP through.
//!
//! A transfer of the suite is two control connections that log in with a proof of one ticket, and
//! on each of them one data connection: STOR carries what goes to the device, RETR what comes back.
//! The two together are a *pipe*, one wire; a multiplexer upon it makes as many as the verbs of the
//! transfer want, and they are spoken as over HTTP. A pipe that breaks is laid anew; the transfer
//! goes on where it was.
//!
//! Other people's tools log in with a token or a one-time ticket, over TLS only, and have one data
//! connection at a time: a raw stream that is stored, or one that is read. The gate of the other doors
//! judges them here too.
//!
//! Outside in, at the device: `listener` takes control connections, `session` reads lines, `verbs`
//! obey them, `ports` hands out the range, `data` makes data connections, `pipe` joins two of them,
//! `stall` keeps raw streams that broke off for those who come back at once.
//! At the client: `dialer` lays pipes, `call` speaks with the device. Both: `line`, `address`,
//! `login`. `docs/protocol/transfer-ftp.md` has the replies.

mod address;
mod call;
mod data;
mod dialer;
mod line;
mod listener;
mod login;
mod pipe;
mod ports;
mod session;
mod stall;
mod verbs;

pub(crate) use call::Fault;
pub(crate) use dialer::FtpDialer;
pub use dialer::{DATA_CONNECTION, FtpWay};
pub use listener::{FtpListener, FtpOptions};
pub use ports::{DataPorts, DataPortsError};

#[cfg(test)]
mod tests {
    use simsim_testkit::fuzz;

    use super::address::{parse_eprt, parse_epsv_text, parse_port};
    use super::line::{parse_command, parse_reply_line, reply};
    use super::login::Login;
    use super::verbs::parse_name;

    #[test]
    fn fuzz_ftp_words() {
        let samples: Vec<Vec<u8>> = [
            "PORT 192,0,2,1,8,9",
            "RETR /db/00AB34",
            "STOR ../db",
            "EPRT |1|192.0.2.1|2313|",
            "EPRT |2|2001:db8::1|2313|",
            "229 Entering Extended Passive Mode (|||2313|)",
            "229-All 3 pairs of data ports are in use",
            "00112233445566778899aabbccddeeff.00112233445566778899aabbccddeeff.up.\
             00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
        fuzz("ftp words", &samples, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let (verb, argument) = parse_command(&text);
            assert!(verb.len() + argument.len() <= 3 * text.len());
            for words in [text.as_ref(), argument] {
                let _ = parse_port(words);
                let _ = parse_eprt(words);
                let _ = Login::parse(words);
                assert_ne!(parse_epsv_text(words), Some(0));
                // A name leads to a task or to one of its savesets, and nowhere else.
                if let Some((task, saveset)) = parse_name("db", words) {
                    assert!(
                        !task.contains(['/', '\0']) && !matches!(task.as_str(), "" | "." | "..")
                    );
                    let digits = saveset.unwrap_or_default();
                    assert!(digits.len() <= 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
                }
                if let Some((code, _, rest)) = parse_reply_line(words) {
                    assert!(code <= 999 && rest.len() <= words.len());
                }
            }
            // Whatever is said back, its last line is the only one that ends it.
            let said = reply(211, &text);
            let last: Vec<_> = said
                .split("\r\n")
                .filter_map(parse_reply_line)
                .filter(|(code, last, _)| *code == 211 && *last)
                .collect();
            assert_eq!(last.len(), 1, "{said:?}");
        });
    }
}
