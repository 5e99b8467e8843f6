//! The stream of a self-backup: made by a thread of its own while the pipeline of raw streams reads it.
//! At most a few pieces are under way, so memory does not grow with the catalog.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf, Bytes};
use simsim_catalog::{Catalog, CatalogError, CatalogPiece};
use simsim_format::{SelfBackupError, SelfBackupPart, SelfBackupWriter, WrappingKey};

use super::head::SelfBackupHead;
use super::kept;
use crate::ServerError;
use crate::house::House;

const PIECE_BYTES: usize = 256 * 1024;
const PIECES_AHEAD: usize = 4;

/// The stream, for who reads it.
pub(crate) struct ServerStream {
    pieces: Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

enum Piece {
    Data(Bytes),
    End,
    Broken(String),
}

impl Read for ServerStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && !self.ended {
            match self.pieces.recv() {
                Ok(Piece::Data(piece)) => self.piece = piece,
                Ok(Piece::End) => self.ended = true,
                Ok(Piece::Broken(why)) => return Err(io::Error::other(why)),
                Err(_) => {
                    return Err(io::Error::other("its maker failed; the server's log says why"));
                }
            }
        }
        let now = self.piece.len().min(into.len());
        self.piece.copy_to_slice(into.get_mut(..now).unwrap_or_default());
        Ok(now)
    }
}

/// Begins the stream of this server as it is now.
///
/// # Errors
/// `Denied` without a recovery kit: nothing would open it when the server is lost.
pub(crate) async fn stream_of(house: &House) -> Result<ServerStream, ServerError> {
    let Some(kit) = house.kit.wrapping_key(&house.books).await? else {
        return Err(ServerError::Refused(
            "there is no recovery kit, so nothing would open a backup of the server when it is needed: make \
             one with 'simsim key kit new'"
                .to_owned(),
        ));
    };
    let catalog = house.books.catalog().clone();
    let state = house.folder.parent().map_or_else(PathBuf::new, PathBuf::from);
    let settings = house.settings_file.clone();
    let head = {
        let (head, own) = SelfBackupHead::shell(house);
        house.books.run(move |catalog| head.filled(catalog, own)).await?
    };
    let (give, pieces) = sync_channel(PIECES_AHEAD);
    std::thread::Builder::new()
        .name("self-backup".into())
        .spawn(move || {
            let out = Out { give: give.clone(), piece: Vec::new() };
            let made = kept::collect(&state, settings.as_deref()).and_then(|secrets| {
                let head = serde_json::to_vec(&head)
                    .map_err(|error| ServerError::Lost(error.to_string()))?;
                make(out, &kit, &catalog, &head, &secrets)
            });
            if let Err(error) = made {
                let _ = give.send(Piece::Broken(error.full_message()));
            }
        })
        .map_err(|error| {
            ServerError::Busy(format!("no thread for the server's backup: {error}"))
        })?;
    Ok(ServerStream { pieces, piece: Bytes::new(), ended: false })
}

fn make(
    out: Out,
    kit: &WrappingKey,
    catalog: &Catalog,
    head: &[u8],
    secrets: &[u8],
) -> Result<(), ServerError> {
    let mut writer = SelfBackupWriter::new(out, kit).map_err(failed)?;
    writer.put(SelfBackupPart::Head, head).map_err(failed)?;
    writer.put(SelfBackupPart::Secrets, secrets).map_err(failed)?;
    let mut broken = None;
    let carried = catalog.carry_out(&mut |piece| {
        let (part, content) = match &piece {
            CatalogPiece::Table(content) => (SelfBackupPart::Table, content),
            CatalogPiece::Rows(content) => (SelfBackupPart::Rows, content),
        };
        writer.put(part, content).map_err(|error| {
            let text = error.to_string();
            broken = Some(error);
            CatalogError::Invalid { message: text }
        })
    });
    match broken {
        Some(error) => return Err(failed(error)),
        None => carried?,
    }
    writer.finish().map_err(failed)?.end().map_err(|error| failed(error.into()))
}

fn failed(error: SelfBackupError) -> ServerError {
    match error {
        SelfBackupError::Format(error) => error.into(),
        SelfBackupError::Io(error) => {
            ServerError::Refused(format!("the stream was not taken: {error}"))
        }
    }
}

/// The thread's end.
struct Out {
    give: SyncSender<Piece>,
    piece: Vec<u8>,
}

impl Out {
    fn pass(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.give.send(Piece::Data(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn end(mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.pass()?;
        }
        self.give.send(Piece::End).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES.saturating_sub(self.piece.len()).min(bytes.len());
        self.piece.extend_from_slice(bytes.get(..room).unwrap_or_default());
        if self.piece.len() >= PIECE_BYTES {
            self.pass()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
