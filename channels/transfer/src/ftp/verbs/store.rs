//! STOR and APPE of other people's tools: a raw stream comes in, and is kept whole or not at all.
//!
//! Over FTP the end of a data connection is the end of the file, and a client that dies ends it as well.
//! So a stream is whole when three things hold: the data connection ended as TLS ends (`close_notify`),
//! its client is still there and waits for the answer, and no fewer bytes came than ALLO announced.
//! Anything else is a line that broke: the stream waits a while for who goes on with it, and then
//! nothing of it is kept. See `stall`.

use std::time::Duration;

use bytes::Bytes;
use simsim_net::BoxedWire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::files::Ready;
use super::streams::{Named, Word};
use crate::ftp::line::LineError;
use crate::ftp::ports::Pair;
use crate::ftp::session::{DataWay, Next, Session};
use crate::ftp::stall::NoStall;
use crate::gate::{Opened, StreamRefusal, StreamSink};

/// Read at once from a data connection.
const READ_BYTES: usize = 256 * 1024;
/// A refusal that comes so soon is told before the data connection is used.
const SOON: Duration = Duration::from_secs(2);
/// The first line of what is said where the data is another host's.
pub(super) const ELSEWHERE: &str = "the data is another host's, and FTP cannot send you there: take HTTPS, or a task without --redirect";

/// What a refused sender still sends is read and dropped for so long, so that it reads the refusal.
const DRAIN_TIME: Duration = Duration::from_secs(5);

type Sink = Box<dyn StreamSink>;

/// How a stream ended.
enum Took {
    Whole,
    /// From the other side.
    Over(StreamRefusal),
    /// The data connection did.
    Broke(String),
    /// The control connection did.
    Left(LineError),
    /// ABOR.
    Given,
    /// Nothing came for too long.
    Silent(Duration),
}

/// What happened while a stream came in.
enum Step {
    Word(Word),
    Over(StreamRefusal),
    Read(Result<std::io::Result<usize>, tokio::time::error::Elapsed>),
}

impl Session {
    /// STOR and APPE.
    pub(super) async fn store(&mut self, verb: &str, argument: &str) -> Result<Next, LineError> {
        let (rest, announced) = (std::mem::take(&mut self.rest), self.announced.take());
        let Some(named @ Named { saveset: None, .. }) = self.named(argument) else {
            self.way = DataWay::None;
            return self.go(553, "a stream is stored under the name of its task").await;
        };
        if let Err((code, text)) = self.may_carry() {
            self.way = DataWay::None;
            return self.go(code, text).await;
        }
        // Before anything is begun: where no data can come, no ticket is used up.
        let ready = match self.arrived(None).await? {
            Ok(ready) => ready,
            Err(text) => return self.go(425, &text).await,
        };
        let begun = if verb == "APPE" || rest > 0 {
            self.go_on(&named, Some(rest).filter(|rest| *rest > 0), ready).await
        } else {
            self.door.stalls.give_up(named.key, &named.task);
            self.begin(&named, ready).await
        };
        let (sink, mut wire, ports, mut quits) = match begun? {
            Ok(begun) => begun,
            Err(next) => return Ok(next),
        };
        let task = &named.task;
        let (name, from) = (named.guest.name(), sink.offset());
        tracing::info!(peer = %self.peer, guest = name, task, from, "raw stream begins");
        let mut sink = sink;
        let took = self.take(&mut wire, &mut sink, &mut quits).await;
        // Its ports are free for others, but where its sender has to be told something.
        let data = Some((wire, ports)).filter(|_| matches!(took, Took::Over(_)));
        match took {
            Took::Whole => self.finish(&named, sink, announced, quits).await,
            Took::Over(refusal) => {
                let next = self.refuse(&refusal).await;
                if let Some((wire, ports)) = data {
                    drain(wire, ports);
                }
                next
            }
            Took::Broke(why) => {
                let waits = self.keep(&named, sink, &why).await;
                self.go(426, &format!("{why}; {waits}")).await
            }
            Took::Left(error) => {
                let why = format!("the control connection broke off: {error}");
                match named.key.comes_back() {
                    true => drop(self.keep(&named, sink, &why).await),
                    false => sink.abort(&why).await,
                }
                Err(error)
            }
            Took::Given => {
                sink.abort("its sender gave it up").await;
                self.say(426, "the transfer was given up, and nothing is kept").await?;
                self.ended(226, "it is over", quits).await
            }
            Took::Silent(time) => {
                let why = format!("no data came for {} min", time.as_secs() / 60);
                sink.abort(&why).await;
                self.go(426, &format!("{why}; nothing is kept")).await
            }
        }
    }

    /// A new stream, and the data connection for it.
    async fn begin(
        &mut self,
        named: &Named,
        ready: Ready,
    ) -> Result<Result<Begun, Next>, LineError> {
        let mut putting = named.guest.put(&named.task);
        let early = match tokio::time::timeout(SOON, &mut putting).await {
            Ok(Err(refusal)) => return Ok(Err(self.refuse(&refusal).await?)),
            Ok(Ok(opened)) => Some(opened),
            Err(_) => None,
        };
        let (wire, ports) = match self.carry(ready).await? {
            Ok(come) => come,
            Err(text) => {
                if let Some(Opened::Here(sink)) = early {
                    sink.abort(&text).await;
                }
                return Ok(Err(self.go(425, &text).await?));
            }
        };
        let mut quits = false;
        let opened = match early {
            Some(opened) => Ok(opened),
            None => loop {
                tokio::select! {
                    biased;
                    word = self.word() => match word {
                        Word::Quits => quits = true,
                        Word::Answer(code, text) => self.say(code, text).await?,
                        Word::Ended(error) => return Err(error),
                        Word::Given => {
                            drop((putting, wire, ports));
                            self.say(426, "the transfer was given up").await?;
                            return Ok(Err(self.ended(226, "it is over", quits).await?));
                        }
                    },
                    opened = &mut putting => break opened,
                }
            },
        };
        match opened {
            Ok(Opened::Here(sink)) => Ok(Ok((sink, wire, ports, quits))),
            Ok(Opened::Elsewhere(_)) => Ok(Err(self.go(451, ELSEWHERE).await?)),
            Err(refusal) => {
                let next = self.refuse(&refusal).await;
                drain(wire, ports);
                Ok(Err(next?))
            }
        }
    }

    /// The stream that waits, and a data connection for what follows.
    async fn go_on(
        &mut self,
        named: &Named,
        at: Option<u64>,
        ready: Ready,
    ) -> Result<Result<Begun, Next>, LineError> {
        let no = match self.door.stalls.go_on(named.key, &named.task, at).await {
            Ok(sink) => {
                return Ok(match self.carry(ready).await? {
                    Ok((wire, ports)) => Ok((sink, wire, ports, false)),
                    Err(text) => {
                        let waits = self.keep(named, sink, &text).await;
                        Err(self.go(425, &format!("{text}; {waits}")).await?)
                    }
                });
            }
            Err(no) => no,
        };
        let text = match no {
            NoStall::Nothing => {
                "no stream of this task waits to be gone on with: begin anew with STOR, without REST"
                    .to_owned()
            }
            NoStall::At(bytes) => {
                format!("the stream that waits has {bytes} bytes: go on there, or begin anew")
            }
        };
        Ok(Err(self.go(554, &text).await?))
    }

    /// Keeps what came, and says how long.
    async fn keep(&mut self, named: &Named, sink: Sink, why: &str) -> String {
        let within = self.door.options.resume_timeout;
        let bytes = sink.offset();
        self.door.stalls.keep(named.key, &named.task, sink, why, within).await;
        format!("{bytes} bytes wait {} s for who goes on (SIZE, APPE)", within.as_secs())
    }

    /// From the data connection into the sink, to the end of the data.
    async fn take(&mut self, wire: &mut BoxedWire, sink: &mut Sink, quits: &mut bool) -> Took {
        let silence = self.door.doors.stream_silence();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let step = tokio::select! {
                biased;
                word = self.word() => Step::Word(word),
                refusal = sink.over() => Step::Over(refusal),
                read = tokio::time::timeout(silence, wire.read(&mut buffer)) => Step::Read(read),
            };
            match step {
                Step::Word(word) => {
                    if let Some(took) = self.heard(word, quits).await {
                        return took;
                    }
                }
                Step::Over(refusal) => return Took::Over(refusal),
                Step::Read(Ok(Ok(0))) => break,
                Step::Read(Ok(Ok(read))) => {
                    let piece = Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default());
                    if let Err(refusal) = sink.write(piece).await {
                        return Took::Over(refusal);
                    }
                }
                Step::Read(Ok(Err(error))) => {
                    return Took::Broke(format!("the data connection broke off: {error}"));
                }
                Step::Read(Err(_)) => return Took::Silent(silence),
            }
        }
        // Clients wait for the end of TLS from here before they look at the control connection.
        let _ = tokio::time::timeout(SOON, wire.shutdown()).await;
        let doubt = tokio::time::sleep(self.door.options.afterword);
        tokio::pin!(doubt);
        loop {
            tokio::select! {
                biased;
                word = self.word() => if let Some(took) = self.heard(word, quits).await {
                    return took;
                },
                () = &mut doubt => return Took::Whole,
            }
        }
    }

    /// What a word does to a stream that comes in.
    async fn heard(&mut self, word: Word, quits: &mut bool) -> Option<Took> {
        match word {
            Word::Given => return Some(Took::Given),
            // Who has said good bye need not wait for the answer.
            Word::Ended(_) if *quits => return Some(Took::Whole),
            Word::Ended(error) => return Some(Took::Left(error)),
            Word::Quits => *quits = true,
            Word::Answer(code, text) => {
                if let Err(error) = self.say(code, text).await {
                    return Some(Took::Left(error));
                }
            }
        }
        None
    }

    async fn finish(
        &mut self,
        named: &Named,
        sink: Sink,
        announced: Option<u64>,
        quits: bool,
    ) -> Result<Next, LineError> {
        let bytes = sink.offset();
        if let Some(announced) = announced.filter(|announced| bytes < *announced) {
            let why =
                format!("it ended after {bytes} of the {announced} bytes that ALLO announced");
            sink.abort(&why).await;
            return self.go(451, &format!("{why}; nothing is kept")).await;
        }
        let stored = match sink.finish().await {
            Ok(stored) => stored,
            Err(refusal) => return self.refuse(&refusal).await,
        };
        let (guest, task) = (named.guest.name(), &named.task);
        tracing::info!(
            peer = %self.peer, guest, task, bytes = stored.bytes, saveset = %stored.saveset,
            "raw stream stored"
        );
        let text = format!("saveset {}, {} bytes", stored.saveset, stored.bytes);
        self.ended(226, &text, quits).await
    }
}

/// A tool that is in the middle of sending looks at the control connection when it has sent all: a
/// connection that is reset under it hides the reason.
fn drain(mut wire: BoxedWire, ports: Option<Pair>) {
    tokio::spawn(tokio::time::timeout(DRAIN_TIME, async move {
        let _ports = ports;
        let mut piece = vec![0; READ_BYTES];
        while matches!(wire.read(&mut piece).await, Ok(1..)) {}
        let _ = wire.shutdown().await;
    }));
}

/// A stream, its data connection, the ports of that, and whether QUIT was said.
type Begun = (Sink, BoxedWire, Option<Pair>, bool);
