//! The lines of a handshake on a stream, and what the port answers to protocols that are not its
//! own.

use std::time::Duration;

use simsim_model::limits::CONTROL_LINE_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::handshake::MAGIC;

/// How long a refused visitor may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of a refused visitor that are read away, so that it reads the answer and no reset.
const UNHEARD_BYTES_MAX: usize = 64 * 1024;

/// What people read who come with another program.
pub(super) const NOT_FOR_YOU: &str = "simsim: this port carries control messages between backup \
                                      hosts (access mode CTRL); nothing else is served here";

/// Why there is no line.
#[derive(Debug)]
pub(super) enum LineError {
    /// The stream ended; so many bytes of a line had come.
    Closed(usize),
    /// What came is no line of a handshake.
    Foreign(Foreign),
    Broken(String),
}

/// Another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    Http,
    Ssh,
    Tls,
    Other,
}

/// Reads one line, its end included. Nothing may follow before it is answered.
pub(super) async fn read_line<R: AsyncRead + Unpin>(from: &mut R) -> Result<Vec<u8>, LineError> {
    let mut line = Vec::with_capacity(512);
    let mut buffer = [0; 1024];
    loop {
        let room = (CONTROL_LINE_BYTES_MAX - line.len()).min(buffer.len());
        let Some(room) = buffer.get_mut(..room) else { break };
        if room.is_empty() {
            break;
        }
        let read = from.read(room).await.map_err(|error| LineError::Broken(error.to_string()))?;
        if read == 0 {
            return Err(match foreign(&line, true) {
                Some(foreign) => LineError::Foreign(foreign),
                None => LineError::Closed(line.len()),
            });
        }
        line.extend_from_slice(room.get(..read).unwrap_or_default());
        let end = line.iter().position(|byte| *byte == b'\n');
        if let Some(foreign) = foreign(&line, end.is_some()) {
            return Err(LineError::Foreign(foreign));
        }
        match end {
            Some(end) if end + 1 == line.len() => return Ok(line),
            Some(_) => {
                return Err(LineError::Broken("more came than was due".to_owned()));
            }
            None => {}
        }
    }
    Err(LineError::Broken(format!("a line of more than {CONTROL_LINE_BYTES_MAX} bytes")))
}

/// Which protocol these first bytes are of; `None` while they may be ours. `whole`: no more of
/// this line will come.
fn foreign(bytes: &[u8], whole: bool) -> Option<Foreign> {
    let magic = MAGIC.as_bytes();
    if bytes.is_empty() || bytes.starts_with(magic) || (!whole && magic.starts_with(bytes)) {
        return None;
    }
    // The type and version that every TLS record begins with.
    if bytes.starts_with(&[0x16, 0x03]) {
        return Some(Foreign::Tls);
    }
    // Further ones are told apart by their first line, or by as much of it as we read.
    if !whole && bytes.len() < CONTROL_LINE_BYTES_MAX {
        return None;
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let http = [b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0"];
    Some(if http.iter().any(|version| line.ends_with(*version)) {
        Foreign::Http
    } else if line.starts_with(b"SSH-") {
        Foreign::Ssh
    } else {
        Foreign::Other
    })
}

impl Foreign {
    pub(super) fn name(self) -> &'static str {
        match self {
            Foreign::Http => "HTTP",
            Foreign::Ssh => "SSH",
            Foreign::Tls => "TLS",
            Foreign::Other => "another protocol",
        }
    }

    /// A refusal in the visitor's own protocol, so that its program shows it.
    pub(super) fn answer(self) -> Vec<u8> {
        match self {
            Foreign::Http => format!(
                "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{NOT_FOR_YOU}\n",
                NOT_FOR_YOU.len() + 1
            )
            .into_bytes(),
            Foreign::Ssh => ssh_disconnect(),
            // A fatal alert of TLS: protocol_version (RFC 8446, section 6).
            Foreign::Tls => vec![0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46],
            Foreign::Other => format!("{NOT_FOR_YOU}\n").into_bytes(),
        }
    }
}

/// A version line, and SSH_MSG_DISCONNECT (RFC 4253, section 11.1) with the sentence: reason 2,
/// protocol error.
fn ssh_disconnect() -> Vec<u8> {
    let mut payload = vec![1, 0, 0, 0, 2];
    payload.extend_from_slice(&(NOT_FOR_YOU.len() as u32).to_be_bytes());
    payload.extend_from_slice(NOT_FOR_YOU.as_bytes());
    payload.extend_from_slice(&[0; 4]);
    // Length, padding's length, payload and padding are a multiple of eight; at least four of
    // padding.
    let padding = 4 + (8 - (5 + payload.len() + 4) % 8) % 8;
    let mut bytes = b"SSH-2.0-simsim\r\n".to_vec();
    bytes.extend_from_slice(&((1 + payload.len() + padding) as u32).to_be_bytes());
    bytes.push(padding as u8);
    bytes.extend_from_slice(&payload);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

pub(super) async fn write_line<W: AsyncWrite + Unpin>(
    to: &mut W,
    line: &str,
) -> Result<(), LineError> {
    let written = async {
        to.write_all(line.as_bytes()).await?;
        to.flush().await
    };
    written.await.map_err(|error: std::io::Error| LineError::Broken(error.to_string()))
}

/// Says why, and gives the other side a moment to read it.
pub(super) async fn say_goodbye<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, words: &[u8]) {
    let _ = timeout(LAST_WORDS, async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut unheard = [0; 4096];
        let mut left = UNHEARD_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut unheard).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, std::io::Error>(())
    })
    .await;
}
