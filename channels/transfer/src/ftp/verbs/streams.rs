//! STOR, RETR, SIZE, MDTM, REST, LIST, NLST, MLSD for other people's tools: raw streams by token or
//! one-time ticket, over TLS only.
//!
//! Names are `task`, or `task/saveset` for reading an older one. A stream is stored whole or not at
//! all: it is whole when the data connection ended as TLS ends (close_notify) while its control
//! connection was still there. A client that dies closes both without it, and leaves nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use simsim_model::{Kind, limits};
use simsim_net::BoxedWire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ftp::line::{LineError, parse_command};
use crate::ftp::session::{DataWay, Next, Session, User};
use crate::gate::{
    Opened, PIECE_BYTES_MAX, SecretText, StreamCaller, StreamFacts, StreamGuest, StreamRefusal,
    StreamSink, StreamSource, Why,
};

/// Read at once from a data connection.
const READ_BYTES: usize = 256 * 1024;
/// The other side takes a piece within this time.
const SEND_TIME: Duration = Duration::from_millis(limits::DEAD_PEER_MS);
/// A refusal that comes so soon is told before the data connection is used.
const SOON: Duration = Duration::from_secs(2);

/// The reply of a refusal.
fn code_of(why: Why) -> u16 {
    match why {
        Why::NotProved => 550,
        Why::TooOften => 421,
        Why::Failed(kind) => match kind {
            Kind::Invalid => 553,
            Kind::Denied | Kind::NotFound => 550,
            Kind::Busy | Kind::Unreachable => 450,
            Kind::Full => 452,
            Kind::Cancelled => 426,
            Kind::Corrupt | Kind::Internal => 451,
        },
    }
}

/// What is said while data is on its way.
enum Word {
    /// ABOR.
    Given,
    /// QUIT: after the transfer.
    Quits,
    /// Something that has an answer and changes nothing.
    Answer(u16, &'static str),
    Ended(LineError),
}

/// What happened while a stream came in.
enum Step {
    Word(Word),
    Over(StreamRefusal),
    Read(Result<std::io::Result<usize>, tokio::time::error::Elapsed>),
}

/// Why a stream ended before its end.
enum Stopped {
    Refused(StreamRefusal),
    Broke(String),
    /// ABOR.
    Given,
    Line(LineError),
}

impl Session {
    /// PASS of a tool.
    pub(in crate::ftp) async fn admit(
        &mut self,
        user: String,
        secret: &str,
    ) -> Result<User, StreamRefusal> {
        let Some(gate) = self.door.doors.gate() else { return Err(StreamRefusal::not_proved()) };
        let caller = StreamCaller {
            user,
            secret: SecretText::new(secret),
            address: self.peer_ip(),
            door: "ftp",
            follows: false,
        };
        let guest: Arc<dyn StreamGuest> = gate.admit(caller).await?.into();
        Ok(User::Guest { guest, folder: String::new() })
    }

    /// Task and saveset of a name, from where the client stands.
    fn name(&self, argument: &str) -> Option<(Arc<dyn StreamGuest>, String, Option<String>)> {
        let User::Guest { guest, folder } = &self.user else { return None };
        let path = match argument.strip_prefix('/') {
            Some(absolute) => absolute.to_owned(),
            None => format!("{folder}/{argument}"),
        };
        let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
        let task = parts.next()?.to_owned();
        let saveset = parts.next().map(str::to_owned);
        parts.next().is_none().then(|| (Arc::clone(guest), task, saveset))
    }

    async fn refuse(&mut self, refusal: &StreamRefusal) -> Result<Next, LineError> {
        tracing::info!(peer = %self.peer, word = refusal.word(), "a raw stream was refused");
        self.way = DataWay::None;
        self.go(code_of(refusal.why), &refusal.text).await
    }

    /// STOR.
    pub(in crate::ftp) async fn store(&mut self, argument: &str) -> Result<Next, LineError> {
        let Some((guest, task, None)) = self.name(argument) else {
            return self.go(553, "STOR takes the name of a task").await;
        };
        if std::mem::take(&mut self.rest) > 0 {
            return self.go(554, "a stream is stored whole: begin anew, without REST").await;
        }
        if let Err(text) = self.may_carry() {
            return self.go(521, text).await;
        }
        let mut putting = guest.put(&task);
        let early = tokio::time::timeout(SOON, &mut putting).await;
        if let Ok(Err(refusal)) = &early {
            let refusal = refusal.clone();
            drop(putting);
            return self.refuse(&refusal).await;
        }
        let mut wire = match self.data(None).await? {
            Ok(wire) => wire,
            Err(text) => return self.go(425, &text).await,
        };
        let opened = match early {
            Ok(opened) => opened,
            Err(_) => tokio::select! {
                opened = &mut putting => opened,
                ended = self.until_ended() => return Err(ended),
            },
        };
        drop(putting);
        let sink = match opened {
            Ok(Opened::Here(sink)) => sink,
            Ok(Opened::Elsewhere(_)) => {
                return self
                    .go(451, "the data is another host's, and FTP cannot send you there")
                    .await;
            }
            Err(refusal) => return self.refuse(&refusal).await,
        };
        let done = self.take(&mut wire, sink).await;
        drop(wire);
        self.pair = None;
        match done {
            Ok((text, quits)) => self.ended(226, &text, quits).await,
            Err(Stopped::Refused(refusal)) => self.refuse(&refusal).await,
            Err(Stopped::Broke(why)) => self.go(426, &why).await,
            Err(Stopped::Given) => {
                self.say(426, "the transfer was given up, and nothing is kept").await?;
                self.go(226, "it is over").await
            }
            Err(Stopped::Line(error)) => Err(error),
        }
    }

    /// From the data connection into the sink, to the end of both.
    async fn take(
        &mut self,
        wire: &mut BoxedWire,
        mut sink: Box<dyn StreamSink>,
    ) -> Result<(String, bool), Stopped> {
        let idle = self.door.options.idle_timeout;
        let (mut quits, mut buffer) = (false, vec![0; READ_BYTES]);
        loop {
            let step = tokio::select! {
                biased;
                word = self.word() => Step::Word(word),
                refusal = sink.over() => Step::Over(refusal),
                read = tokio::time::timeout(idle, wire.read(&mut buffer)) => Step::Read(read),
            };
            let why = match step {
                Step::Word(Word::Quits) => {
                    quits = true;
                    continue;
                }
                Step::Word(Word::Answer(code, text)) => {
                    self.say(code, text).await.map_err(Stopped::Line)?;
                    continue;
                }
                Step::Word(Word::Given) => {
                    sink.abort("the client gave it up").await;
                    return Err(Stopped::Given);
                }
                Step::Word(Word::Ended(error)) => {
                    sink.abort("the client's control connection ended").await;
                    return Err(Stopped::Line(error));
                }
                Step::Over(refusal) => return Err(Stopped::Refused(refusal)),
                Step::Read(Ok(Ok(0))) => break,
                Step::Read(Ok(Ok(read))) => {
                    let piece = Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default());
                    sink.write(piece).await.map_err(Stopped::Refused)?;
                    continue;
                }
                Step::Read(Ok(Err(error))) => format!("the data connection broke off: {error}"),
                Step::Read(Err(_)) => format!("no data came for {} s", idle.as_secs()),
            };
            sink.abort(&why).await;
            return Err(Stopped::Broke(format!("{why}; nothing is kept")));
        }
        // Clients wait for the end of TLS from here before they look at the control connection.
        let _ = tokio::time::timeout(SOON, wire.shutdown()).await;
        let stored = sink.finish().await.map_err(Stopped::Refused)?;
        let text = format!("{} bytes are stored as saveset {}", stored.bytes, stored.saveset);
        Ok((text, quits))
    }

    /// RETR.
    pub(in crate::ftp) async fn retrieve(&mut self, argument: &str) -> Result<Next, LineError> {
        let Some((guest, task, saveset)) = self.name(argument) else {
            return self.go(553, "RETR takes task or task/saveset").await;
        };
        if let Err(text) = self.may_carry() {
            return self.go(521, text).await;
        }
        let offset = std::mem::take(&mut self.rest);
        let source = match guest.get(&task, saveset.as_deref()).await {
            Ok(Opened::Here(source)) => source,
            Ok(Opened::Elsewhere(_)) => {
                return self
                    .go(451, "the data is another host's, and FTP cannot send you there")
                    .await;
            }
            Err(refusal) => return self.refuse(&refusal).await,
        };
        if offset > source.facts().bytes {
            return self.go(554, "REST is beyond the end").await;
        }
        let wire = match self.data(None).await? {
            Ok(wire) => wire,
            Err(text) => return self.go(425, &text).await,
        };
        let mut giving = Box::pin(give(source, wire, offset));
        let mut quits = false;
        let done = loop {
            tokio::select! {
                done = &mut giving => break done,
                word = self.word() => match word {
                    Word::Quits => quits = true,
                    Word::Answer(code, text) => self.say(code, text).await?,
                    Word::Given => {
                        drop(giving);
                        self.pair = None;
                        self.say(426, "the transfer was given up").await?;
                        return self.go(226, "it is over").await;
                    }
                    Word::Ended(error) => return Err(error),
                },
            }
        };
        drop(giving);
        self.pair = None;
        match done {
            Ok(bytes) => self.ended(226, &format!("{bytes} bytes"), quits).await,
            Err(Stopped::Refused(refusal)) => self.refuse(&refusal).await,
            Err(_) => self.go(426, "the data connection broke off").await,
        }
    }

    /// SIZE and MDTM.
    pub(in crate::ftp) async fn facts(
        &mut self,
        argument: &str,
        text: impl Fn(&StreamFacts) -> String,
    ) -> Result<Next, LineError> {
        let Some((guest, task, saveset)) = self.name(argument) else {
            return self.go(553, "task or task/saveset").await;
        };
        match guest.look(&task, saveset.as_deref()).await {
            Ok(facts) => self.go(213, &text(&facts)).await,
            Err(refusal) => self.refuse(&refusal).await,
        }
    }

    pub(in crate::ftp) async fn rest(&mut self, argument: &str) -> Result<Next, LineError> {
        match argument.parse() {
            Ok(offset) => {
                self.rest = offset;
                self.go(350, "from there on").await
            }
            Err(_) => self.go(501, "a number of bytes").await,
        }
    }

    /// LIST, NLST, MLSD: the one task that the secret is for.
    pub(in crate::ftp) async fn list(&mut self, verb: &str) -> Result<Next, LineError> {
        let User::Guest { guest, .. } = &self.user else {
            return self.go(502, "not here").await;
        };
        let guest = Arc::clone(guest);
        if let Err(text) = self.may_carry() {
            return self.go(521, text).await;
        }
        let task = guest.task().to_owned();
        let facts = guest.look(&task, None).await.ok();
        let (bytes, time) = facts.map_or((0, 0), |facts| (facts.bytes, facts.stored_unix_s));
        let line = match verb {
            "NLST" => format!("{task}\r\n"),
            "MLSD" => format!("type=file;size={bytes};modify={}; {task}\r\n", stamp(time)),
            _ => format!("-rw------- 1 simsim simsim {bytes} Jan 01 1970 {task}\r\n"),
        };
        let mut wire = match self.data(None).await? {
            Ok(wire) => wire,
            Err(text) => return self.go(425, &text).await,
        };
        let sent = async {
            wire.write_all(line.as_bytes()).await?;
            wire.shutdown().await
        };
        let sent = sent.await;
        self.pair = None;
        match sent {
            Ok(()) => self.go(226, "that is all").await,
            Err(_) => self.go(426, "the data connection broke off").await,
        }
    }

    /// Raw data goes as it is, and only where nobody reads it.
    fn may_carry(&self) -> Result<(), &'static str> {
        if !self.private {
            return Err("the data would be readable: say PBSZ 0 and PROT P first");
        }
        match self.image {
            true => Ok(()),
            false => Err("say TYPE I first: bytes are kept as they come"),
        }
    }

    async fn ended(&mut self, code: u16, text: &str, quits: bool) -> Result<Next, LineError> {
        self.say(code, text).await?;
        if quits {
            self.say(221, "good bye").await?;
            return Ok(Next::Quit);
        }
        Ok(Next::Go)
    }

    /// Nothing is lost when it is given up.
    async fn word(&mut self) -> Word {
        match self.line.next().await {
            Err(error) => Word::Ended(error),
            Ok(line) => match parse_command(&line).0.as_str() {
                "ABOR" => Word::Given,
                "QUIT" => Word::Quits,
                "STAT" => Word::Answer(211, "a transfer is under way"),
                "NOOP" => Word::Answer(200, "here"),
                _ => Word::Answer(503, "a transfer is under way: ABOR ends it"),
            },
        }
    }

    async fn until_ended(&mut self) -> LineError {
        loop {
            if let Err(error) = self.line.more().await {
                return error;
            }
        }
    }
}

/// From a stream to the data connection, to the end of both; answers the bytes that went.
async fn give(
    mut source: Box<dyn StreamSource>,
    mut wire: BoxedWire,
    offset: u64,
) -> Result<u64, Stopped> {
    let broke = |error: std::io::Error| Stopped::Broke(error.to_string());
    let mut at = offset;
    loop {
        let piece = source.read(at, PIECE_BYTES_MAX).await.map_err(Stopped::Refused)?;
        if piece.is_empty() {
            break;
        }
        let sending = tokio::time::timeout(SEND_TIME, wire.write_all(&piece)).await;
        sending.map_err(|_| Stopped::Broke("nothing is taken".to_owned()))?.map_err(broke)?;
        at += piece.len() as u64;
    }
    wire.shutdown().await.map_err(broke)?;
    Ok(at - offset)
}

/// A time as MDTM and MLSD write it: `YYYYMMDDhhmmss`, UTC (RFC 3659, section 2.3).
pub(in crate::ftp) fn stamp(unix_s: u64) -> String {
    let (days, rest) = (unix_s / 86_400, unix_s % 86_400);
    // Days since 0000-03-01, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_rfc_has_them() {
        for (unix_s, text) in [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (951_868_799, "20000229235959"),
            (1_709_251_199, "20240229235959"),
            (1_735_689_600, "20250101000000"),
            (4_102_444_799, "20991231235959"),
        ] {
            assert_eq!(stamp(unix_s), text);
        }
    }

    #[test]
    fn every_refusal_has_a_reply_that_is_no_success() {
        for why in Kind::ALL.map(Why::Failed).into_iter().chain([Why::NotProved, Why::TooOften]) {
            assert!((400..600).contains(&code_of(why)), "{why:?}");
        }
        assert_eq!(code_of(Why::Failed(Kind::Busy)), 450, "worth another try");
        assert_eq!(code_of(Why::NotProved), code_of(Why::Failed(Kind::NotFound)));
    }
}
