//! The gate of a device that is not at the server: takes one-time tickets, and nothing else.
//!
//! A server that redirects a raw stream tells the device to expect a transfer, as for any client, and
//! puts the transfer's id and secret into the URL that the caller follows. The device cuts and seals
//! the stream itself; it was given the domain's key for this one transfer.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use simsim_model::{Direction, Kind, Secret, SessionError, Ticket, TransferId};
use tokio::sync::oneshot;

use crate::TransferHandler;
use crate::gate::{
    Opened, PIECE_BYTES_MAX, SecretText, StreamCaller, StreamFacts, StreamGate, StreamGuest,
    StreamRefusal, StreamSink, StreamSource, StreamStored, TICKET_PREFIX, TOKEN_PREFIX, Waiting,
};
use crate::pipe::{PipeWriter, pipe};
use crate::throttle::Pass;
use crate::wrong_secrets::{Counted, WrongSecrets};

/// How often a stream is looked at: was its ticket revoked?
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The ticket of a granted transfer as a text for a URL: it opens one raw stream at the device.
pub fn stream_ticket(ticket: &Ticket) -> SecretText {
    let mut text = format!("{TICKET_PREFIX}{}", ticket.transfer);
    for byte in ticket.secret.0 {
        text.push_str(&format!("{byte:02x}"));
    }
    SecretText::new(text)
}

fn read_ticket(text: &str) -> Option<(TransferId, Secret)> {
    let digits = text.strip_prefix(TICKET_PREFIX)?;
    let (transfer, secret) = digits.split_at_checked(32)?;
    if secret.len() != 64 || !secret.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = Secret([0; 32]);
    for (at, byte) in bytes.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(secret.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some((transfer.parse().ok()?, bytes))
}

/// Takes streams whose ticket was granted to this device.
pub struct DeviceGate {
    handler: Arc<dyn TransferHandler>,
    wrong: WrongSecrets,
}

impl DeviceGate {
    pub fn new(handler: Arc<dyn TransferHandler>) -> Self {
        Self { handler, wrong: WrongSecrets::default() }
    }

    fn judge(&self, caller: &StreamCaller) -> Result<Ticket, StreamRefusal> {
        let text = caller.secret.reveal();
        if text.starts_with(TOKEN_PREFIX) {
            let text = "access tokens are known to the server only: send the stream there, and follow \
                        where it points to (curl -L)";
            return Err(StreamRefusal::new(Kind::Invalid, text));
        }
        let ticket = read_ticket(text).and_then(|(transfer, secret)| {
            let ticket = self.handler.ticket(&transfer)?;
            // Compared in constant time.
            let same =
                blake3::Hash::from_bytes(ticket.secret.0) == blake3::Hash::from_bytes(secret.0);
            same.then_some(ticket)
        });
        let Some(ticket) = ticket else {
            return Err(match self.wrong.count(caller.address) {
                Counted::Wrong => StreamRefusal::not_proved(),
                Counted::TooOften { seconds, .. } => StreamRefusal::too_often(seconds),
            });
        };
        if ticket.expires_unix_s <= now_unix_s() {
            let text = "the ticket has expired: start anew, at the server";
            return Err(StreamRefusal::new(Kind::Denied, text));
        }
        Ok(ticket)
    }
}

impl StreamGate for DeviceGate {
    fn admit(
        &self,
        caller: StreamCaller,
    ) -> Waiting<'_, Result<Box<dyn StreamGuest>, StreamRefusal>> {
        let judged = self.judge(&caller);
        let handler = Arc::clone(&self.handler);
        Box::pin(async move {
            let ticket = judged?;
            let name = format!("ticket of job {}", ticket.job);
            let pass = handler.pass(&ticket.transfer, caller.address);
            Ok(Box::new(DeviceGuest { handler, ticket, name, pass }) as Box<dyn StreamGuest>)
        })
    }
}

struct DeviceGuest {
    handler: Arc<dyn TransferHandler>,
    ticket: Ticket,
    name: String,
    pass: Option<Pass>,
}

impl DeviceGuest {
    /// Uses the ticket up.
    async fn open(&self, direction: Direction) -> Result<(), StreamRefusal> {
        if self.ticket.direction != direction {
            let text = match direction {
                Direction::Restore => "this ticket is for storing: a stream cannot be read with it",
                _ => "this ticket is not for storing: a stream cannot be stored with it",
            };
            return Err(StreamRefusal::new(Kind::Denied, text));
        }
        let transfer = self.ticket.transfer;
        blocking(&self.handler, move |handler| handler.opened(&transfer)).await?;
        Ok(())
    }
}

impl StreamGuest for DeviceGuest {
    fn name(&self) -> &str {
        &self.name
    }

    fn task(&self) -> &str {
        ""
    }

    fn stores(&self) -> bool {
        self.ticket.direction == Direction::Backup
    }

    fn put<'a>(
        &'a self,
        _: &'a str,
    ) -> Waiting<'a, Result<Opened<Box<dyn StreamSink>>, StreamRefusal>> {
        Box::pin(async move {
            self.open(Direction::Backup).await?;
            let sink = DeviceSink::new(&self.handler, &self.ticket, self.pass.clone())?;
            Ok(Opened::Here(Box::new(sink) as Box<dyn StreamSink>))
        })
    }

    fn look<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
    ) -> Waiting<'a, Result<StreamFacts, StreamRefusal>> {
        let text = "this ticket reads the stream once; ask the server about it";
        Box::pin(async move { Err(StreamRefusal::new(Kind::Invalid, text)) })
    }

    fn get<'a>(
        &'a self,
        task: &'a str,
        _: Option<&'a str>,
    ) -> Waiting<'a, Result<Opened<Box<dyn StreamSource>>, StreamRefusal>> {
        Box::pin(async move {
            self.open(Direction::Restore).await?;
            let transfer = self.ticket.transfer;
            let handler = Arc::clone(&self.handler);
            let end = End { handler, transfer, open: true, reads: true };
            let bytes =
                blocking(&self.handler, move |handler| handler.stream_bytes(&transfer)).await?;
            let facts = StreamFacts {
                task: task.to_owned(),
                saveset: self.ticket.saveset,
                bytes,
                stored_unix_s: 0,
            };
            let source = DeviceSource { end, facts, reader: None, pass: self.pass.clone() };
            Ok(Opened::Here(Box::new(source) as Box<dyn StreamSource>))
        })
    }
}

/// Ends the transfer at the handler, whatever becomes of the stream.
struct End {
    handler: Arc<dyn TransferHandler>,
    transfer: TransferId,
    open: bool,
    /// Who reads may go at any time: that is an end in order.
    reads: bool,
}

impl End {
    /// Waits for it: what is put away then may take a moment.
    async fn now(mut self, aborted: Option<String>) {
        self.open = false;
        let transfer = self.transfer;
        let ended = blocking(&self.handler, move |handler| {
            match aborted {
                None => handler.closed(&transfer),
                Some(why) => handler.aborted(&transfer, &why),
            }
            Ok(())
        });
        let _ = ended.await;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let (handler, transfer, reads) = (Arc::clone(&self.handler), self.transfer, self.reads);
        let end = move || match reads {
            true => handler.closed(&transfer),
            false => handler.aborted(&transfer, "whoever sent it went away before its end"),
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

struct DeviceSink {
    writer: Option<PipeWriter>,
    offset: u64,
    result: oneshot::Receiver<Result<u64, SessionError>>,
    ended: Option<StreamRefusal>,
    ticket: Ticket,
    pass: Option<Pass>,
    end: End,
}

impl DeviceSink {
    fn new(
        handler: &Arc<dyn TransferHandler>,
        ticket: &Ticket,
        pass: Option<Pass>,
    ) -> Result<Self, StreamRefusal> {
        let transfer = ticket.transfer;
        let end = End { handler: Arc::clone(handler), transfer, open: true, reads: false };
        let (writer, mut reader) = pipe();
        let (tell, result) = oneshot::channel();
        let handler = Arc::clone(handler);
        let work = move || {
            let _ = tell.send(handler.stream_put(&transfer, &mut reader));
        };
        std::thread::Builder::new().name("raw-stream".into()).spawn(work).map_err(|error| {
            StreamRefusal::busy(format!("no thread for the stream: {error}"), 60)
        })?;
        let ticket = ticket.clone();
        Ok(Self { writer: Some(writer), offset: 0, result, ended: None, ticket, pass, end })
    }

    /// What the device says, once it has ended the stream by itself.
    async fn said(&mut self) -> StreamRefusal {
        if let Some(said) = &self.ended {
            return said.clone();
        }
        let said = match (&mut self.result).await {
            Ok(Ok(bytes)) => {
                let text = format!("the device ended the stream after {bytes} bytes");
                StreamRefusal::new(Kind::Internal, text)
            }
            Ok(Err(error)) => error.into(),
            Err(_) => lost(),
        };
        self.ended = Some(said.clone());
        said
    }
}

impl StreamSink for DeviceSink {
    fn write(&mut self, piece: Bytes) -> Waiting<'_, Result<(), StreamRefusal>> {
        Box::pin(async move {
            let Some(writer) = &mut self.writer else { return Err(self.said().await) };
            let bytes = piece.len() as u64;
            held(self.pass.as_ref(), &self.end, piece.len()).await?;
            if writer.write(piece).await.is_err() {
                self.writer = None;
                return Err(self.said().await);
            }
            self.offset += bytes;
            self.end.handler.heard(&self.ticket.transfer);
            Ok(())
        })
    }

    fn offset(&self) -> u64 {
        self.offset
    }

    fn over(&mut self) -> Waiting<'_, StreamRefusal> {
        Box::pin(async move {
            loop {
                let (handler, transfer) = (Arc::clone(&self.end.handler), self.ticket.transfer);
                tokio::select! {
                    said = self.said() => return said,
                    () = tokio::time::sleep(LOOK_INTERVAL) => {
                        if handler.ticket(&transfer).is_none() {
                            return revoked();
                        }
                    }
                }
            }
        })
    }

    fn finish(self: Box<Self>) -> Waiting<'static, Result<StreamStored, StreamRefusal>> {
        let mut sink = *self;
        Box::pin(async move {
            let writer = sink.writer.take().filter(|_| sink.ended.is_none());
            let Some(writer) = writer else { return Err(sink.said().await) };
            if writer.end().await.is_err() {
                return Err(sink.said().await);
            }
            let done = (&mut sink.result).await.unwrap_or_else(|_| {
                let StreamRefusal { text, .. } = lost();
                Err(SessionError::new(Kind::Internal, text))
            });
            let DeviceSink { end, offset, ticket, .. } = sink;
            match done {
                Ok(bytes) if bytes == offset => {
                    end.now(None).await;
                    Ok(StreamStored { saveset: ticket.saveset, bytes, job: ticket.job })
                }
                Ok(bytes) => {
                    let text = format!("the device took {bytes} of {offset} bytes of the stream");
                    end.now(Some(text.clone())).await;
                    Err(StreamRefusal::new(Kind::Internal, text))
                }
                Err(error) => {
                    end.now(Some(error.message.clone())).await;
                    Err(error.into())
                }
            }
        })
    }

    fn abort(self: Box<Self>, why: &str) -> Waiting<'static, ()> {
        let DeviceSink { writer, end, .. } = *self;
        let why = why.to_owned();
        Box::pin(async move {
            if let Some(writer) = writer {
                writer.break_off(&why).await;
            }
            end.now(Some(why)).await;
        })
    }
}

type Reader = Box<dyn Read + Send>;

struct DeviceSource {
    end: End,
    facts: StreamFacts,
    /// And where it stands.
    reader: Option<(u64, Reader)>,
    pass: Option<Pass>,
}

impl StreamSource for DeviceSource {
    fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    fn read(&mut self, offset: u64, most: usize) -> Waiting<'_, Result<Bytes, StreamRefusal>> {
        Box::pin(async move {
            let there = self.reader.take().filter(|(at, _)| *at == offset);
            let transfer = self.end.transfer;
            // Where a limit counts, little at a time and often.
            let most = self.pass.as_ref().and_then(Pass::piece_bytes).map_or(most, |n| n.min(most));
            let (piece, reader) = blocking(&self.end.handler, move |handler| {
                let mut reader = match there {
                    Some((_, reader)) => reader,
                    None => handler.stream_get(&transfer, offset)?,
                };
                let mut piece = Vec::new();
                let most = most.min(PIECE_BYTES_MAX) as u64;
                reader.by_ref().take(most).read_to_end(&mut piece).map_err(|error| {
                    let text = format!("the stream cannot be read at {offset}: {error}");
                    SessionError::new(Kind::of_io(&error), text)
                })?;
                handler.heard(&transfer);
                Ok((piece, reader))
            })
            .await?;
            self.reader = Some((offset + piece.len() as u64, reader));
            held(self.pass.as_ref(), &self.end, piece.len()).await?;
            Ok(piece.into())
        })
    }
}

/// Waits for the rate limits, and says meanwhile that the stream lives.
async fn held(pass: Option<&Pass>, end: &End, bytes: usize) -> Result<(), StreamRefusal> {
    let Some(pass) = pass else { return Ok(()) };
    let alive = |_| {
        end.handler.heard(&end.transfer);
        end.handler.ticket(&end.transfer).is_some()
    };
    pass.hold(bytes, alive).await.map_err(|_| revoked())
}

fn revoked() -> StreamRefusal {
    let text = "the stream was ended by the server; nothing of it is kept";
    StreamRefusal::new(Kind::Cancelled, text)
}

fn lost() -> StreamRefusal {
    StreamRefusal::new(
        Kind::Internal,
        "the device failed while it worked on this stream; its log says why",
    )
}

async fn blocking<T: Send + 'static>(
    handler: &Arc<dyn TransferHandler>,
    work: impl FnOnce(&Arc<dyn TransferHandler>) -> Result<T, SessionError> + Send + 'static,
) -> Result<T, StreamRefusal> {
    let handler = Arc::clone(handler);
    match tokio::task::spawn_blocking(move || work(&handler)).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(lost()),
    }
}

fn now_unix_s() -> u64 {
    simsim_model::failpoint::shifted(SystemTime::now())
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use simsim_model::{DomainId, SavesetId, StoreId};

    #[test]
    fn a_ticket_goes_through_a_url_and_nothing_else_is_read_as_one() {
        let ticket = Ticket {
            transfer: TransferId([3; 16]),
            job: 1,
            client: "web".into(),
            drive: 1,
            store: StoreId([1; 16]),
            domain: DomainId([2; 16]),
            direction: Direction::Backup,
            bytes_max: 0,
            expires_unix_s: 1,
            secret: Secret([0xa5; 32]),
            saveset: SavesetId([9; 16]),
        };
        let text = stream_ticket(&ticket);
        let text = text.reveal();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{text}");
        assert_eq!(read_ticket(text), Some((ticket.transfer, ticket.secret.clone())));
        let longer = format!("{text}0");
        for bad in
            ["", TICKET_PREFIX, &text[1..], &text[..text.len() - 1], &longer, "simsim_ticket_ä"]
        {
            assert_eq!(read_ticket(bad), None, "{bad}");
        }
        assert_eq!(read_ticket(&text.replace("a5", "+5")), None);
    }
}
