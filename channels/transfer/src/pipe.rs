//! From a door that waits to a pipeline that blocks: pieces of a raw stream, a few at a time.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// Pieces under way. With pieces of at most `PIECE_BYTES_MAX` this bounds the memory of one stream.
const PIECES_AHEAD: usize = 4;

/// A stream from whoever writes to whoever reads. The writer waits while the reader is slower.
pub fn pipe() -> (PipeWriter, PipeReader) {
    let (pieces, incoming) = mpsc::channel(PIECES_AHEAD);
    let writer = PipeWriter { pieces, offset: 0 };
    (writer, PipeReader { incoming, piece: Bytes::new(), ended: false })
}

/// The writer's end. Dropped before [`PipeWriter::end`], the reader sees a stream that broke off.
pub struct PipeWriter {
    pieces: mpsc::Sender<Piece>,
    offset: u64,
}

enum Piece {
    Data(Bytes),
    End,
    Broken(String),
}

/// The reader is gone; it says why somewhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderGone;

impl PipeWriter {
    /// Passes a piece on.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), ReaderGone> {
        let bytes = piece.len() as u64;
        if bytes > 0 {
            self.pieces.send(Piece::Data(piece)).await.map_err(|_| ReaderGone)?;
        }
        self.offset += bytes;
        Ok(())
    }

    /// Bytes passed on so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The stream is whole.
    pub async fn end(self) -> Result<(), ReaderGone> {
        self.pieces.send(Piece::End).await.map_err(|_| ReaderGone)
    }

    /// The stream broke off; the reader is told why.
    pub async fn break_off(self, why: &str) {
        let _ = self.pieces.send(Piece::Broken(why.to_owned())).await;
    }

    /// Ready once the reader is gone.
    pub async fn reader_gone(&self) {
        self.pieces.closed().await;
    }
}

/// The reader's end, for a thread that may block; never for one of a runtime.
pub struct PipeReader {
    incoming: mpsc::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl Read for PipeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while self.piece.is_empty() && !self.ended {
            match self.incoming.blocking_recv() {
                Some(Piece::Data(piece)) => self.piece = piece,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Broken(why)) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                None => {
                    let text = "whoever sent it went away before its end";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
            }
        }
        let now = self.piece.len().min(into.len());
        self.piece.copy_to_slice(into.get_mut(..now).unwrap_or_default());
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn pieces_come_out_as_they_went_in_and_only_an_end_is_an_end() {
        for end in ["whole", "broken", "dropped"] {
            let (mut writer, mut reader) = pipe();
            let reading = std::thread::spawn(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).map(|_| all)
            });
            let sent: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
            run(async {
                for piece in sent.chunks(777) {
                    writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
                }
                writer.write(Bytes::new()).await.unwrap();
                assert_eq!(writer.offset(), sent.len() as u64);
                match end {
                    "whole" => writer.end().await.unwrap(),
                    "broken" => writer.break_off("a reason").await,
                    _ => drop(writer),
                }
            });
            match reading.join().unwrap() {
                Ok(read) => assert!(end == "whole" && read == sent),
                Err(error) => {
                    assert!(end != "whole" && error.kind() == io::ErrorKind::UnexpectedEof);
                    assert_eq!(error.to_string() == "a reason", end == "broken");
                }
            }
        }
    }

    #[test]
    fn a_writer_waits_for_a_slow_reader_and_hears_of_one_that_left() {
        run(async {
            let (mut writer, reader) = pipe();
            let piece = Bytes::from_static(&[7; 10]);
            for _ in 0..PIECES_AHEAD {
                writer.write(piece.clone()).await.unwrap();
            }
            let full = std::time::Duration::from_millis(50);
            let more = tokio::time::timeout(full, writer.write(piece.clone())).await;
            assert!(more.is_err(), "one piece more than there is room for");
            drop(reader);
            writer.reader_gone().await;
            assert_eq!(writer.write(piece).await, Err(ReaderGone));
        });
    }
}
