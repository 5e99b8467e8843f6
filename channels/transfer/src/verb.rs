//! What may be asked on a transfer: one word in the path, one byte in the key.

use simsim_model::{Direction, TransferId};

/// A verb. The number is bound into the keys of the request and of its reply, so a body cannot
/// be moved to another verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verb {
    Open = 0,
    Has = 1,
    Put = 2,
    Commit = 3,
    Locate = 4,
    Get = 5,
    Manifest = 6,
    Ping = 7,
    Close = 8,
    Abort = 9,
    StreamPut = 10,
    StreamGet = 11,
    Terms = 12,
    Savesets = 20,
    CommitCopy = 21,
}

impl Verb {
    pub const ALL: [Verb; 15] = [
        Verb::Open,
        Verb::Has,
        Verb::Put,
        Verb::Commit,
        Verb::Locate,
        Verb::Get,
        Verb::Manifest,
        Verb::Ping,
        Verb::Close,
        Verb::Abort,
        Verb::StreamPut,
        Verb::StreamGet,
        Verb::Terms,
        Verb::Savesets,
        Verb::CommitCopy,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Open => "open",
            Verb::Has => "has",
            Verb::Put => "put",
            Verb::Commit => "commit",
            Verb::Locate => "locate",
            Verb::Get => "get",
            Verb::Manifest => "manifest",
            Verb::Ping => "ping",
            Verb::Close => "close",
            Verb::Abort => "abort",
            Verb::StreamPut => "stream-put",
            Verb::StreamGet => "stream-get",
            Verb::Terms => "terms",
            Verb::Savesets => "savesets",
            Verb::CommitCopy => "commit-copy",
        }
    }

    pub fn parse(text: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.as_str() == text)
    }

    /// Does a ticket of this direction allow the verb?
    pub const fn allowed(self, direction: Direction) -> bool {
        match self {
            Verb::Has | Verb::Put => matches!(direction, Direction::Backup | Direction::CopyIn),
            Verb::Commit | Verb::StreamPut | Verb::Terms => matches!(direction, Direction::Backup),
            Verb::StreamGet => matches!(direction, Direction::Restore),
            Verb::Locate | Verb::Get | Verb::Manifest => !matches!(direction, Direction::CopyIn),
            Verb::Savesets | Verb::CommitCopy => matches!(direction, Direction::CopyIn),
            Verb::Open | Verb::Ping | Verb::Close | Verb::Abort => true,
        }
    }
}

/// The path of a request: `/v1/transfers/<32 hexadecimal digits>/<verb>`.
pub fn path(transfer: &TransferId, verb: Verb) -> String {
    format!("/v1/transfers/{transfer}/{}", verb.as_str())
}

/// Reads a path back; `None` for everything that this port does not know.
pub fn parse_path(path: &str) -> Option<(TransferId, Verb)> {
    let (id, verb) = path.strip_prefix("/v1/transfers/")?.split_once('/')?;
    Some((id.parse().ok()?, Verb::parse(verb)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_round_trip_and_strangers_are_not_understood() {
        let id = TransferId([7; 16]);
        for verb in Verb::ALL {
            assert_eq!(parse_path(&path(&id, verb)), Some((id, verb)));
        }
        for bad in ["/", "/v1/transfers/", "/v1/transfers/07/has", "/v2/transfers/x/has"] {
            assert_eq!(parse_path(bad), None);
        }
    }
}
