//! The dialling end of the local socket: what the command line uses.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use simsim_model::Kind;
use tokio::net::UnixStream;

use crate::ConsoleError;

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
        let response = self.send(verb, body).await?;
        let failed = !response.status().is_success();
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        let value: Value = serde_json::from_slice(&bytes).map_err(broken)?;
        if failed { Err(refusal(&value)) } else { Ok(value) }
    }

    /// One verb, a line of JSON at a time. `each` answers false to stop listening.
    pub async fn lines(
        &self,
        verb: &str,
        body: &Value,
        each: &mut (dyn FnMut(Value) -> bool + Send),
    ) -> Result<(), ConsoleError> {
        let response = self.send(verb, body).await?;
        let failed = !response.status().is_success();
        let mut body = response.into_body();
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if !each(serde_json::from_slice(&line).map_err(broken)?) {
                    return Ok(());
                }
            }
        }
        if failed {
            return Err(refusal(&serde_json::from_slice(&rest).map_err(broken)?));
        }
        Ok(())
    }

    async fn send(&self, verb: &str, body: &Value) -> Result<Response<Incoming>, ConsoleError> {
        let no_server = |source| {
            let socket = self.socket.display().to_string();
            ConsoleError::NoServer { socket, source }
        };
        let short = ShortPath::of(&self.socket).map_err(no_server)?;
        let stream = UnixStream::connect(short.path()).await.map_err(no_server)?;
        drop(short);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let request = Request::post(format!("/v1/{verb}"))
            .header("host", "localhost")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(broken)?;
        sender.send_request(request).await.map_err(broken)
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

fn broken(error: impl std::fmt::Display) -> ConsoleError {
    ConsoleError::Broken { why: error.to_string() }
}

fn refusal(value: &Value) -> ConsoleError {
    let error = &value["error"];
    let kind =
        Kind::ALL.into_iter().find(|kind| error["kind"] == kind.as_str()).unwrap_or(Kind::Internal);
    let message = error["message"].as_str().unwrap_or("the server refused without a reason");
    ConsoleError::Refused { kind, message: message.to_owned() }
}
