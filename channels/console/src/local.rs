//! The dialling end of the local socket: what the command line uses.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::{ConsoleError, dialled};

/// A caller of the server on this host.
#[derive(Debug, Clone)]
pub struct LocalClient {
    socket: PathBuf,
}

impl LocalClient {
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One verb, one answer.
    pub async fn call(&self, verb: &str, body: &Value) -> Result<Value, ConsoleError> {
        dialled::document(self.send(verb, body).await?).await
    }

    /// One verb, a line of JSON at a time. `each` answers false to stop listening.
    pub async fn lines(
        &self,
        verb: &str,
        body: &Value,
        each: &mut (dyn FnMut(Value) -> bool + Send),
    ) -> Result<(), ConsoleError> {
        dialled::lines(self.send(verb, body).await?, each).await
    }

    async fn send(&self, verb: &str, body: &Value) -> Result<Response<Incoming>, ConsoleError> {
        let no_server = |source| {
            let socket = self.socket.display().to_string();
            ConsoleError::NoServer { socket, source }
        };
        let short = ShortPath::of(&self.socket).map_err(no_server)?;
        let stream = UnixStream::connect(short.path()).await.map_err(no_server)?;
        drop(short);
        dialled::send(stream, "localhost", None, verb, body).await
    }
}

/// A socket's address has room for 107 bytes. A longer path is reached through its folder, held
/// open under the short name that the kernel has for it.
pub(crate) struct ShortPath {
    _folder: Option<File>,
    path: PathBuf,
}

impl ShortPath {
    const BYTES_MAX: usize = 107;

    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= Self::BYTES_MAX {
            return Ok(Self { _folder: None, path: path.to_owned() });
        }
        let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
        let (folder, name) = path.parent().zip(path.file_name()).ok_or_else(wrong)?;
        let folder = File::open(folder)?;
        let mut short = PathBuf::from("/proc/self/fd");
        short.push(folder.as_raw_fd().to_string());
        short.push(name);
        Ok(Self { _folder: Some(folder), path: short })
    }

    /// Good while this lives.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
