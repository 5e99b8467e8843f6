//! What the system knows about a connection that it cannot be asked otherwise: whether bytes are on
//! their way, and whether the other end answers while it takes none.
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;

use tokio::net::TcpStream;

/// Room for `struct tcp_info`, which grows at its end.
const BYTES: usize = 256;
/// Places in it (`linux/tcp.h`), which are the same on all kinds of processors.
const STATE_AT: usize = 0;
const PROBES_AT: usize = 3;
const UNACKED_AT: usize = 24;
const NOT_SENT_AT: usize = 144;

/// `TCP_CLOSE`: reset, or given up.
const CLOSED: u8 = 7;

/// A look at a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    state: u8,
    /// Window probes that were not answered.
    probes: u8,
    /// Packets that were sent and not acknowledged.
    unacked: u32,
    /// Bytes that were not sent yet.
    not_sent_bytes: u32,
}

impl TcpInfo {
    /// `None` where the system does not say.
    pub(crate) fn of(stream: &TcpStream) -> Option<Self> {
        #[cfg(target_os = "linux")]
        {
            let mut bytes = [0u8; BYTES];
            let mut length = BYTES as libc::socklen_t;
            // SAFETY: the descriptor is open while `stream` is borrowed; the system writes at most
            // `length` bytes into `bytes`, which has as many, and how many it wrote into `length`.
            let answer = unsafe {
                libc::getsockopt(
                    stream.as_raw_fd(),
                    libc::IPPROTO_TCP,
                    libc::TCP_INFO,
                    bytes.as_mut_ptr().cast(),
                    &mut length,
                )
            };
            Self::read(bytes.get(..length as usize).filter(|_| answer == 0)?)
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = stream;
            None
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| {
            let four = bytes.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_ne_bytes(*four))
        };
        Some(Self {
            state: *bytes.get(STATE_AT)?,
            probes: *bytes.get(PROBES_AT)?,
            unacked: number(UNACKED_AT)?,
            not_sent_bytes: number(NOT_SENT_AT)?,
        })
    }

    /// Is anything on its way, or waiting to go?
    pub(crate) fn is_outstanding(&self) -> bool {
        self.state != CLOSED && (self.unacked > 0 || self.not_sent_bytes > 0)
    }

    /// Has the other end acknowledged all that it took, and takes no more now?
    pub(crate) fn stands_still(&self) -> bool {
        self.unacked == 0 && self.not_sent_bytes > 0
    }

    /// Was the last question whether it takes more answered?
    pub(crate) fn answers(&self) -> bool {
        self.probes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_wrote_is_read_and_less_is_nothing() {
        let mut bytes = [0u8; 200];
        bytes[STATE_AT] = 1;
        bytes[PROBES_AT] = 2;
        bytes[UNACKED_AT..UNACKED_AT + 4].copy_from_slice(&3u32.to_ne_bytes());
        bytes[NOT_SENT_AT..NOT_SENT_AT + 4].copy_from_slice(&4u32.to_ne_bytes());
        let info = TcpInfo::read(&bytes).unwrap();
        assert_eq!(info, TcpInfo { state: 1, probes: 2, unacked: 3, not_sent_bytes: 4 });
        assert!(info.is_outstanding() && !info.stands_still() && !info.answers());
        assert!(!TcpInfo { state: CLOSED, ..info }.is_outstanding());
        assert_eq!(TcpInfo::read(&bytes[..NOT_SENT_AT + 3]), None);
    }
}
