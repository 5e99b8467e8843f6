//! The control connection: lines of text, on TCP or on TLS upon it.

use std::io;
use std::time::Duration;

use simsim_model::limits;
use simsim_net::BoxedWire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One line of the control connection, its end included.
pub(crate) const LINE_BYTES_MAX: usize = 512;
/// A reply may have so many lines.
pub(crate) const REPLY_LINES_MAX: usize = 100_000;
/// The other side takes what is sent within this time.
const WRITE_TIME: Duration = Duration::from_millis(limits::DEAD_PEER_MS);
/// Interpret as command: the escape of Telnet (RFC 854), which may come before ABOR.
const IAC: u8 = 255;

/// No line came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("the connection ended")]
    Ended,
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Io(#[from] io::Error),
}

enum Under {
    Plain(TcpStream),
    Tls(BoxedWire),
    /// Between the two.
    Nothing,
}

/// A control connection, either end.
pub(crate) struct ControlLine {
    under: Under,
    buffer: Vec<u8>,
}

impl ControlLine {
    pub(crate) fn new(stream: TcpStream) -> Self {
        simsim_net::tune(&stream);
        simsim_net::urgent_in_line(&stream);
        Self { under: Under::Plain(stream), buffer: Vec::new() }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.under, Under::Tls(_))
    }

    /// Gives the connection away for a handshake. `None` where it is TLS already, and where bytes
    /// came that were not encrypted and would be taken for what came afterwards.
    pub(crate) fn for_handshake(&mut self) -> Option<TcpStream> {
        if !self.buffer.is_empty() {
            return None;
        }
        match std::mem::replace(&mut self.under, Under::Nothing) {
            Under::Plain(stream) => Some(stream),
            other => {
                self.under = other;
                None
            }
        }
    }

    pub(crate) fn upgraded(&mut self, wire: BoxedWire) {
        self.under = Under::Tls(wire);
    }

    /// The next line, without its end. Nothing is lost when it is given up.
    pub(crate) async fn next(&mut self) -> Result<String, LineError> {
        loop {
            if let Some(line) = self.whole() {
                return line;
            }
            self.more().await?;
        }
    }

    /// A line that is there already.
    pub(crate) fn whole(&mut self) -> Option<Result<String, LineError>> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            let long = self.buffer.len() >= LINE_BYTES_MAX;
            return long.then_some(Err(LineError::TooLong));
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        if line.len() > LINE_BYTES_MAX {
            return Some(Err(LineError::TooLong));
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some(Ok(String::from_utf8_lossy(&without_telnet(line)).into_owned()))
    }

    /// Waits for more bytes, which are kept.
    pub(crate) async fn more(&mut self) -> Result<(), LineError> {
        if self.buffer.len() >= 2 * LINE_BYTES_MAX {
            // Somebody talks without waiting for answers: what comes stays where it is.
            std::future::pending::<()>().await;
        }
        let mut piece = [0; LINE_BYTES_MAX];
        let read = match &mut self.under {
            // A read stops before an urgent byte, and the runtime takes a short read for the last:
            // so it is asked again until there is nothing.
            Under::Plain(stream) => loop {
                stream.readable().await?;
                match stream.try_read(&mut piece) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => break read?,
                }
            },
            Under::Tls(wire) => wire.read(&mut piece).await?,
            Under::Nothing => 0,
        };
        if read == 0 {
            return Err(LineError::Ended);
        }
        self.buffer.extend(piece.iter().take(read));
        Ok(())
    }

    /// Sends text as it is.
    pub(crate) async fn send(&mut self, text: &str) -> io::Result<()> {
        let sending = async {
            match &mut self.under {
                Under::Plain(stream) => stream.write_all(text.as_bytes()).await,
                Under::Tls(wire) => {
                    wire.write_all(text.as_bytes()).await?;
                    wire.flush().await
                }
                Under::Nothing => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        match tokio::time::timeout(WRITE_TIME, sending).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Tells the other side that nothing more comes.
    pub(crate) async fn end(&mut self) {
        let ending = async {
            match &mut self.under {
                Under::Plain(stream) => stream.shutdown().await,
                Under::Tls(wire) => wire.shutdown().await,
                Under::Nothing => Ok(()),
            }
        };
        // It ends either way.
        let _ = tokio::time::timeout(Duration::from_secs(1), ending).await;
    }
}

/// Takes out the commands of Telnet that clients send around ABOR.
fn without_telnet(line: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != IAC {
            kept.push(byte);
            continue;
        }
        match bytes.next() {
            Some(IAC) => kept.push(IAC),
            // WILL, WONT, DO, DONT and their option.
            Some(251..=254) => {
                bytes.next();
            }
            // The second half of a synch.
            Some(_) | None => {}
        }
    }
    kept
}

/// A reply: `220 text`, or `220-first`, more lines, `220 last`.
pub(crate) fn reply(code: u16, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    match lines.split_last() {
        Some((last, [])) => format!("{code} {last}\r\n"),
        Some((last, before)) => {
            let mut all = String::new();
            for (number, line) in before.iter().enumerate() {
                match number {
                    0 => all.push_str(&format!("{code}-{line}\r\n")),
                    // A line in between must not look like the last one.
                    _ => all.push_str(&format!(" {line}\r\n")),
                }
            }
            all.push_str(&format!("{code} {last}\r\n"));
            all
        }
        None => format!("{code} \r\n"),
    }
}

/// Verb in capitals, and its argument.
pub(crate) fn parse_command(line: &str) -> (String, &str) {
    let (verb, argument) = match line.split_once(' ') {
        Some((verb, argument)) => (verb, argument.trim()),
        None => (line, ""),
    };
    (verb.trim().to_ascii_uppercase(), argument)
}

/// Code of a line of a reply, whether it is the last one, and its text.
pub(crate) fn parse_reply_line(line: &str) -> Option<(u16, bool, &str)> {
    let code: u16 =
        line.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    match line.as_bytes().get(3) {
        None | Some(b' ') => Some((code, true, line.get(4..).unwrap_or_default())),
        Some(b'-') => Some((code, false, line.get(4..).unwrap_or_default())),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_as_they_are_written() {
        assert_eq!(reply(200, "fine"), "200 fine\r\n");
        assert_eq!(
            reply(211, "Features\nEPSV\n200 x\nEnd"),
            "211-Features\r\n EPSV\r\n 200 x\r\n211 End\r\n"
        );
        assert_eq!(parse_reply_line("227-waits"), Some((227, false, "waits")));
        assert_eq!(parse_reply_line("227 goes"), Some((227, true, "goes")));
        assert_eq!(parse_reply_line("227"), Some((227, true, "")));
        for line in ["", "22", "22x y", " 227 y", "+27 y", "227_"] {
            assert_eq!(parse_reply_line(line), None, "{line}");
        }
        assert_eq!(parse_command("retr  a b "), ("RETR".to_owned(), "a b"));
        assert_eq!(parse_command("abor"), ("ABOR".to_owned(), ""));
    }

    #[test]
    fn what_telnet_says_around_a_command_is_taken_out() {
        assert_eq!(without_telnet(b"\xff\xf4\xff\xf2ABOR"), b"ABOR");
        assert_eq!(without_telnet(b"a\xff\xfd\x01b\xff\xffc\xff"), b"ab\xffc");
    }

    #[tokio::test]
    async fn lines_come_in_any_pieces_and_one_past_the_limit_is_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut line = ControlLine::new(listener.accept().await.unwrap().0);
        far.write_all(b"NOOP\r\nST").await.unwrap();
        assert_eq!(line.next().await.unwrap(), "NOOP");
        far.write_all(b"AT\nQUIT\r\n").await.unwrap();
        assert_eq!(line.next().await.unwrap(), "STAT");
        assert_eq!(line.next().await.unwrap(), "QUIT");
        // What was sent before the handshake would be taken for what is encrypted.
        far.write_all(b"AUTH TLS\r\nUSER x\r\n").await.unwrap();
        assert_eq!(line.next().await.unwrap(), "AUTH TLS");
        assert!(line.for_handshake().is_none());
        assert_eq!(line.next().await.unwrap(), "USER x");
        let longest = format!("{}\r\n", "x".repeat(LINE_BYTES_MAX - 2));
        far.write_all(longest.as_bytes()).await.unwrap();
        assert_eq!(line.next().await.unwrap().len(), LINE_BYTES_MAX - 2);
        far.write_all("x".repeat(LINE_BYTES_MAX).as_bytes()).await.unwrap();
        assert!(matches!(line.next().await, Err(LineError::TooLong)));
    }
}
