//! A stream that is being read: opened once by its job, read by any number of handles.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;
use simsim_model::{Kind, SessionError};
use simsim_mover::{StreamFile, StreamReader};
use simsim_transfer::gate::{PIECE_BYTES_MAX, StreamFacts, StreamRefusal, StreamSource, Waiting};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lost;

/// The stream, for as long as its job lasts.
pub(crate) struct OpenStream {
    file: StreamFile,
    facts: StreamFacts,
    job: u64,
    /// Handles that are held; `None` once no more are given.
    handles: watch::Sender<Option<usize>>,
    cancelled: CancellationToken,
    pub read_bytes: AtomicU64,
    /// The first thing that went wrong.
    pub trouble: Mutex<Option<SessionError>>,
}

impl OpenStream {
    pub(crate) fn new(
        job: u64,
        file: StreamFile,
        facts: StreamFacts,
        cancelled: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            file,
            facts,
            job,
            handles: watch::Sender::new(Some(0)),
            cancelled,
            read_bytes: AtomicU64::new(0),
            trouble: Mutex::new(None),
        })
    }

    /// A handle; `None` when the job is about to end.
    pub(crate) fn handle(self: &Arc<Self>) -> Option<Handle> {
        let given = self.handles.send_if_modified(|handles| match handles {
            Some(count) => {
                *count += 1;
                true
            }
            None => false,
        });
        given.then(|| Handle { open: Arc::clone(self), reader: None })
    }

    /// Whether the number of handles changes, and what it is.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<usize>> {
        self.handles.subscribe()
    }

    /// Gives no more handles, if none is held.
    pub(crate) fn close_if_idle(&self) -> bool {
        self.handles.send_if_modified(|handles| {
            let idle = *handles == Some(0);
            if idle {
                *handles = None;
            }
            idle
        })
    }
}

/// One reader of it.
pub(crate) struct Handle {
    open: Arc<OpenStream>,
    /// And where it stands.
    reader: Option<(u64, StreamReader)>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.open.handles.send_modify(|handles| {
            if let Some(count) = handles {
                *count = count.saturating_sub(1);
            }
        });
    }
}

impl StreamSource for Handle {
    fn facts(&self) -> &StreamFacts {
        &self.open.facts
    }

    fn read(&mut self, offset: u64, most: usize) -> Waiting<'_, Result<Bytes, StreamRefusal>> {
        Box::pin(async move {
            let there = self.reader.take().filter(|(at, _)| *at == offset);
            let open = Arc::clone(&self.open);
            let work = move || -> Result<(Vec<u8>, StreamReader), SessionError> {
                let mut reader = match there {
                    Some((_, reader)) => reader,
                    None => open
                        .file
                        .reader(offset)
                        .map_err(|error| SessionError::new(error.kind(), error.to_string()))?,
                };
                let mut piece = Vec::new();
                let most = most.min(PIECE_BYTES_MAX) as u64;
                reader.by_ref().take(most).read_to_end(&mut piece).map_err(|error| {
                    let text = format!("the stream cannot be read at {offset}: {error}");
                    SessionError::new(Kind::of_io(&error), text)
                })?;
                Ok((piece, reader))
            };
            let cancelled = self.open.cancelled.clone();
            let done = tokio::select! {
                done = tokio::task::spawn_blocking(work) => done.map_err(|_| lost())?,
                () = cancelled.cancelled() => {
                    let text = format!("job {} was cancelled", self.open.job);
                    return Err(StreamRefusal::new(Kind::Cancelled, text));
                }
            };
            match done {
                Ok((piece, reader)) => {
                    self.reader = Some((offset + piece.len() as u64, reader));
                    self.open.read_bytes.fetch_add(piece.len() as u64, Relaxed);
                    Ok(piece.into())
                }
                Err(error) => {
                    self.open.trouble.lock().get_or_insert_with(|| error.clone());
                    Err(error.into())
                }
            }
        })
    }
}
