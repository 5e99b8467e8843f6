//! Cutting a connection whose stream belongs to someone else.
//!
//! A protocol library that owns a stream cannot always be asked to let go of it: its task may be
//! stuck in a write to a dead peer. Shutting down the socket itself ends every read and write.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::Shutdown;
use tokio::net::TcpStream;

/// A second handle of one connection, able only to cut it.
#[derive(Debug)]
pub struct Severer(OwnedFd);

impl Severer {
    /// Takes a handle; the stream can be given away afterwards.
    ///
    /// # Errors
    /// When the process has no free descriptor.
    pub fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self(stream.as_fd().try_clone_to_owned()?))
    }

    /// Cuts the connection in both directions; all reads and writes end. Cutting twice is harmless.
    pub fn sever(&self) {
        // Fails only where there is nothing left to cut.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }

    /// A guard that cuts when it is dropped.
    pub fn on_drop(self) -> CutOnDrop {
        CutOnDrop(self)
    }
}

/// Cuts a connection when dropped.
#[derive(Debug)]
pub struct CutOnDrop(Severer);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.sever();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_severed_connection_ends_a_read_that_waits() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_far, _) = listener.accept().await.unwrap();
        let severer = Severer::of(&near).unwrap();
        let reader = tokio::spawn(async move { near.read(&mut [0; 1]).await });
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        severer.sever();
        severer.sever();
        let read = tokio::time::timeout(std::time::Duration::from_secs(5), reader).await;
        assert_eq!(read.unwrap().unwrap().unwrap_or(0), 0);
    }
}
