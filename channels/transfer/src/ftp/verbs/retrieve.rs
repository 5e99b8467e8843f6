//! RETR of other people's tools: a raw stream goes out, from the byte that REST named.

use std::time::Duration;

use simsim_net::BoxedWire;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::store::ELSEWHERE;
use super::streams::{Named, Word};
use crate::ftp::line::LineError;
use crate::ftp::session::{DataWay, Next, Session};
use crate::gate::{Opened, PIECE_BYTES_MAX, StreamRefusal, StreamSource};

/// Why a stream ended before its end.
enum Stopped {
    Refused(StreamRefusal),
    Broke,
}

impl Session {
    pub(super) async fn retrieve(&mut self, argument: &str) -> Result<Next, LineError> {
        let offset = std::mem::take(&mut self.rest);
        let Some(Named { guest, task, saveset, .. }) = self.named(argument) else {
            self.way = DataWay::None;
            return self.go(553, "a stream is read as TASK or TASK/SAVESET").await;
        };
        if let Err((code, text)) = self.may_carry() {
            self.way = DataWay::None;
            return self.go(code, text).await;
        }
        // Before anything is begun: where no data can go, no ticket is used up.
        let ready = match self.arrived(None).await? {
            Ok(ready) => ready,
            Err(text) => return self.go(425, &text).await,
        };
        let mut quits = false;
        let opened = {
            let mut getting = guest.get(&task, saveset.as_deref());
            loop {
                tokio::select! {
                    biased;
                    word = self.word() => match word {
                        Word::Quits => quits = true,
                        Word::Answer(code, text) => self.say(code, text).await?,
                        Word::Given => return self.ended(226, "it is over", quits).await,
                        Word::Ended(error) => return Err(error),
                    },
                    opened = &mut getting => break opened,
                }
            }
        };
        let source = match opened {
            Ok(Opened::Here(source)) => source,
            Ok(Opened::Elsewhere(_)) => return self.go(451, ELSEWHERE).await,
            Err(refusal) => return self.refuse(&refusal).await,
        };
        let (size, id) = (source.facts().bytes, source.facts().saveset);
        if offset > size {
            return self.go(554, &format!("REST is beyond the end: there are {size} bytes")).await;
        }
        let (wire, ports) = match self.carry(ready).await? {
            Ok(come) => come,
            Err(text) => return self.go(425, &text).await,
        };
        let name = guest.name();
        tracing::info!(peer = %self.peer, guest = name, task, saveset = %id, offset, "raw stream is read");
        let silence = self.door.doors.stream_silence();
        let mut giving = Box::pin(give(source, wire, offset, silence));
        let done = loop {
            tokio::select! {
                biased;
                word = self.word() => match word {
                    Word::Quits => quits = true,
                    Word::Answer(code, text) => self.say(code, text).await?,
                    Word::Given => {
                        drop((giving, ports));
                        self.say(426, "the transfer was given up").await?;
                        return self.ended(226, "it is over", quits).await;
                    }
                    // Who has said good bye may have left, and still takes what comes.
                    Word::Ended(_) if quits => break giving.as_mut().await,
                    Word::Ended(error) => return Err(error),
                },
                done = &mut giving => break done,
            }
        };
        drop((giving, ports));
        match done {
            Ok(bytes) => self.ended(226, &format!("{bytes} bytes of saveset {id}"), quits).await,
            Err(Stopped::Refused(refusal)) => self.refuse(&refusal).await,
            Err(Stopped::Broke) => self.go(426, "the data connection broke off").await,
        }
    }
}

/// From a stream to the data connection, to the end of both; answers the bytes that went. Its reader may
/// stand still for as long as a stream may be silent. A stream that cannot be read to its end ends without the end of TLS, so that nobody takes it for whole.
async fn give(
    mut source: Box<dyn StreamSource>,
    mut wire: BoxedWire,
    offset: u64,
    silence: Duration,
) -> Result<u64, Stopped> {
    let size = source.facts().bytes;
    let mut at = offset;
    while at < size {
        let piece = source.read(at, PIECE_BYTES_MAX).await.map_err(Stopped::Refused)?;
        if piece.is_empty() {
            let text = format!("the stream ends after {at} of {size} bytes");
            return Err(Stopped::Refused(StreamRefusal::new(simsim_model::Kind::Corrupt, text)));
        }
        let mut rest = piece.as_ref();
        while !rest.is_empty() {
            match timeout(silence, wire.write(rest)).await {
                Ok(Ok(taken)) if taken > 0 => rest = rest.get(taken..).unwrap_or_default(),
                _ => return Err(Stopped::Broke),
            }
        }
        at += piece.len() as u64;
    }
    match timeout(silence, wire.shutdown()).await {
        Ok(Ok(())) => {}
        _ => return Err(Stopped::Broke),
    }
    Ok(at - offset)
}
