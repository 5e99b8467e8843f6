//! The end of a stream that is being stored, as a door holds it.

use bytes::Bytes;
use simsim_model::Kind;
use simsim_transfer::PipeWriter;
use simsim_transfer::gate::{StreamRefusal, StreamSink, StreamStored, Waiting};
use tokio_util::sync::CancellationToken;

use super::arrivals::{Ended, Ending};
use super::lost;

/// Passes pieces to the job's pipeline, and hears of the job's end.
pub(crate) struct ServerSink {
    job: u64,
    /// Gone once the pipeline does not read any more.
    writer: Option<PipeWriter>,
    offset: u64,
    ended: Ended,
    cancelled: CancellationToken,
}

impl ServerSink {
    pub(crate) fn new(
        job: u64,
        writer: PipeWriter,
        ended: Ended,
        cancelled: CancellationToken,
    ) -> Self {
        Self { job, writer: Some(writer), offset: 0, ended, cancelled }
    }

    fn was_cancelled(&self) -> StreamRefusal {
        let text = format!("job {} was cancelled; nothing of the stream is kept", self.job);
        StreamRefusal::new(Kind::Cancelled, text)
    }
}

/// Waits for the end of a job. A server that stops ends no job, and those who wait for one hear so.
pub(super) async fn end_of(ended: &mut Ended) -> Result<Ending, StreamRefusal> {
    match ended.wait_for(Option::is_some).await {
        Ok(ending) => ending.clone().ok_or_else(lost),
        Err(_) => Err(StreamRefusal::new(Kind::Cancelled, "the server is stopping")),
    }
}

async fn refusal(ended: &mut Ended) -> StreamRefusal {
    match end_of(ended).await {
        Ok(ending) => ending.refusal(),
        Err(refusal) => refusal,
    }
}

impl StreamSink for ServerSink {
    fn write(&mut self, piece: Bytes) -> Waiting<'_, Result<(), StreamRefusal>> {
        Box::pin(async move {
            let Some(writer) = &mut self.writer else { return Err(refusal(&mut self.ended).await) };
            let bytes = piece.len() as u64;
            let written = tokio::select! {
                written = writer.write(piece) => written,
                () = self.cancelled.cancelled() => {
                    self.writer = None;
                    return Err(self.was_cancelled());
                }
            };
            if written.is_err() {
                self.writer = None;
                return Err(refusal(&mut self.ended).await);
            }
            self.offset += bytes;
            Ok(())
        })
    }

    fn offset(&self) -> u64 {
        self.offset
    }

    fn over(&mut self) -> Waiting<'_, StreamRefusal> {
        Box::pin(async move {
            tokio::select! {
                over = refusal(&mut self.ended) => over,
                () = self.cancelled.cancelled() => {
                    self.writer = None;
                    self.was_cancelled()
                }
            }
        })
    }

    fn finish(self: Box<Self>) -> Waiting<'static, Result<StreamStored, StreamRefusal>> {
        let mut sink = *self;
        Box::pin(async move {
            if let Some(writer) = sink.writer.take()
                && !sink.cancelled.is_cancelled()
            {
                // Whether it was taken, the job's end says.
                let _ = writer.end().await;
            }
            let ending = end_of(&mut sink.ended).await?;
            match ending.saveset {
                Some(saveset) => Ok(StreamStored { saveset, bytes: sink.offset, job: ending.job }),
                None => Err(ending.refusal()),
            }
        })
    }

    fn abort(self: Box<Self>, why: &str) -> Waiting<'static, ()> {
        let why = why.to_owned();
        Box::pin(async move {
            if let Some(writer) = self.writer {
                writer.break_off(&why).await;
            }
        })
    }
}
