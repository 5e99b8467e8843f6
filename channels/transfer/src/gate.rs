//! Raw streams of other people's tools: what every door asks of the one behind it.
//!
//! A tool such as `curl` or an FTP client comes with a secret and a task's name, and sends or takes
//! plain bytes over TLS. A door speaks the tool's protocol and knows nothing else; the [`StreamGate`]
//! knows secrets, tasks, jobs and places for bytes, and speaks no protocol. At a server it is the
//! server; at a remote device the [`DeviceGate`](crate::DeviceGate), which takes one-time tickets only.
//!
//! ```text
//! door: secret, address ──▶ admit ──▶ guest: put(task) ──▶ sink: write … write, finish ──▶ saveset
//!                             │              get(task, saveset) ──▶ source: read(offset) …
//!                             └─▶ refusal: why, and one sentence for people
//! ```
//!
//! Only [`StreamSink::finish`] makes a saveset. A sink that is dropped or aborted leaves nothing. So a
//! door must call `finish` where its protocol says that the stream is whole, and nowhere else: the
//! last chunk, the announced length, the orderly end of a data connection *with* the word on the
//! control connection.
//!
//! Memory is bounded: a sink takes a few pieces and then makes its writer wait; a source is asked piece
//! by piece. A door passes pieces of at most [`PIECE_BYTES_MAX`].

use std::net::IpAddr;
use std::pin::Pin;

use bytes::Bytes;
use simsim_model::{Kind, SavesetId, SessionError};
use zeroize::Zeroizing;

/// What a verb of a gate returns: a future on the heap. None of them blocks its thread.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes of one piece, in either direction.
pub const PIECE_BYTES_MAX: usize = 1 << 20;

/// A token or ticket as it came. Wiped when dropped, and never shown.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself; not for logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Who comes.
#[derive(Debug, Clone)]
pub struct StreamCaller {
    /// The user's name where the protocol has one; said in the log, never believed.
    pub user: String,
    /// A token or a one-time ticket.
    pub secret: SecretText,
    /// Where the caller is. Wrong secrets are counted by it.
    pub address: IpAddr,
    /// The door, for log and audit: `https`, `ftp`.
    pub door: &'static str,
    /// The caller can be sent to another host's HTTPS door. Who cannot is served here, whatever the
    /// task says.
    pub follows: bool,
}

/// Knows who may send and take raw streams. Doors hold it as `Arc<dyn StreamGate>`.
pub trait StreamGate: Send + Sync + 'static {
    /// Judges a secret; answers within moments. A door calls it once a login or request, and counts
    /// the connection as a stranger's until it has answered well.
    ///
    /// # Errors
    /// [`Why::NotProved`] for a secret that is unknown, [`Why::TooOften`] after too many of these from
    /// one address, [`Why::Failed`] with `Denied` for one that has expired or was revoked.
    fn admit(
        &self,
        caller: StreamCaller,
    ) -> Waiting<'_, Result<Box<dyn StreamGuest>, StreamRefusal>>;
}

/// Somebody whose secret was good. Lives as long as a login; may open any number of streams, one
/// after the other or side by side.
pub trait StreamGuest: Send + Sync + 'static {
    /// For the log, such as `token 'nightly'`.
    fn name(&self) -> &str;

    /// The one task that the secret is for: what a door may list.
    fn task(&self) -> &str;

    /// The secret may store, whatever else it may. Judged when it was shown; [`StreamGuest::put`]
    /// judges again.
    fn stores(&self) -> bool;

    /// Opens a stream to be stored. Waits until a drive has a place, at most some minutes; dropped
    /// meanwhile, the job that waits is ended.
    ///
    /// # Errors
    /// [`Why::NotProved`] for another task than the secret's, there or not: one answer for both.
    /// `Denied` where the secret only reads; `Busy` when no place came free; and what the job says.
    fn put<'a>(
        &'a self,
        task: &'a str,
    ) -> Waiting<'a, Result<Opened<Box<dyn StreamSink>>, StreamRefusal>>;

    /// What there is to read, without reading it: the newest saveset of the task, or the one whose id
    /// (or its beginning) is given. For `HEAD`, `SIZE`, `MDTM`.
    ///
    /// # Errors
    /// As [`StreamGuest::get`].
    fn look<'a>(
        &'a self,
        task: &'a str,
        saveset: Option<&'a str>,
    ) -> Waiting<'a, Result<StreamFacts, StreamRefusal>>;

    /// Opens a stream to be read: the newest saveset of the task, or one of it by id.
    ///
    /// # Errors
    /// As [`StreamGuest::put`]; `Denied` where the secret only stores; `NotFound` where the task has
    /// no such saveset.
    fn get<'a>(
        &'a self,
        task: &'a str,
        saveset: Option<&'a str>,
    ) -> Waiting<'a, Result<Opened<Box<dyn StreamSource>>, StreamRefusal>>;
}

/// Where a stream goes on.
pub enum Opened<T> {
    Here(T),
    /// At another host's HTTPS door: a whole URL, with a one-time ticket in its path. Only for callers
    /// that follow.
    Elsewhere(SecretText),
}

/// A stream on its way in. Dropped before [`StreamSink::finish`]: it broke off, nothing is kept.
pub trait StreamSink: Send + 'static {
    /// Takes a piece, of at most [`PIECE_BYTES_MAX`]; waits while the datastore is slower than the
    /// caller. An error is final.
    fn write(&mut self, piece: Bytes) -> Waiting<'_, Result<(), StreamRefusal>>;

    /// Bytes taken so far.
    fn offset(&self) -> u64;

    /// Ready once the stream is over from this side: the token was revoked, the job cancelled, the
    /// device failed. A door waits for it beside the caller's next byte, so that a silent caller is
    /// cut off as well. Dropped and asked again, it loses nothing.
    fn over(&mut self) -> Waiting<'_, StreamRefusal>;

    /// The stream is whole. Returns when the saveset is durable and listed.
    fn finish(self: Box<Self>) -> Waiting<'static, Result<StreamStored, StreamRefusal>>;

    /// The stream broke off: the job's report says why. Nothing of it is kept.
    fn abort(self: Box<Self>, why: &str) -> Waiting<'static, ()>;
}

/// A stream that is there.
pub trait StreamSource: Send + 'static {
    fn facts(&self) -> &StreamFacts;

    /// Up to `most` bytes from `offset` on, `most` at most [`PIECE_BYTES_MAX`]; fewer only at the end,
    /// none beyond it. Reading on where the last piece ended costs least. Every chunk was checked
    /// against its name.
    fn read(&mut self, offset: u64, most: usize) -> Waiting<'_, Result<Bytes, StreamRefusal>>;
}

/// What is known of a stored stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    pub task: String,
    pub saveset: SavesetId,
    pub bytes: u64,
    /// When it was committed, seconds since 1970.
    pub stored_unix_s: u64,
}

/// A stream that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStored {
    pub saveset: SavesetId,
    pub bytes: u64,
    /// The job that took it; 0 where the one who answers does not know it.
    pub job: u64,
}

/// Why a caller gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No such secret, or not for this task, or no such task: one answer for all.
    NotProved,
    /// Too many wrong secrets from this address.
    TooOften,
    /// Anything else, by what a caller can do about it.
    Failed(Kind),
}

/// A refusal: a word for the door, a sentence for people. The sentence is fit to be sent: it names no
/// secret, and nothing that this caller may not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct StreamRefusal {
    pub why: Why,
    pub text: String,
    /// When it is worth another try, in seconds.
    pub again_after_s: Option<u32>,
}

/// The one text of [`Why::NotProved`].
pub const NOT_PROVED: &str = "refused: no such task, or the token or ticket is not for it; \
     'simsim task list' and 'simsim token list' on the server show what there is";

impl StreamRefusal {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { why: Why::Failed(kind), text: text.into(), again_after_s: None }
    }

    pub fn not_proved() -> Self {
        Self { why: Why::NotProved, text: NOT_PROVED.to_owned(), again_after_s: None }
    }

    pub fn too_often(seconds: u32) -> Self {
        let text = format!(
            "too many wrong tokens or tickets from this address: wait {seconds} s, and look at what \
             it sends"
        );
        Self { why: Why::TooOften, text, again_after_s: Some(seconds) }
    }

    pub fn busy(text: impl Into<String>, seconds: u32) -> Self {
        Self { again_after_s: Some(seconds), ..Self::new(Kind::Busy, text) }
    }

    /// The word for logs.
    pub fn word(&self) -> &'static str {
        match self.why {
            Why::NotProved => "not_proved",
            Why::TooOften => "too_often",
            Why::Failed(kind) => kind.as_str(),
        }
    }
}

impl From<SessionError> for StreamRefusal {
    fn from(error: SessionError) -> Self {
        Self::new(error.kind, error.message)
    }
}

/// Longest name of a task that a door passes on.
pub(crate) const TASK_BYTES_MAX: usize = 256;

/// A text that may be the name of a task. Whether there is one, the gate knows.
pub(crate) fn is_task_name(text: &str) -> bool {
    let fits = (1..=TASK_BYTES_MAX).contains(&text.len());
    fits && !text.contains(['/', '"']) && !text.contains(char::is_control)
}

/// A text that may be the id of a saveset, or its beginning: 4 to 32 hexadecimal digits.
pub(crate) fn is_saveset_id(text: &str) -> bool {
    (4..=32).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// How a one-time ticket for a raw stream begins: leak scanners look for it.
pub const TICKET_PREFIX: &str = "simsim_ticket_";
/// How an access token begins.
pub const TOKEN_PREFIX: &str = "simsim_token_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nowhere() {
        let caller = StreamCaller {
            user: "u".into(),
            secret: SecretText::new("simsim_token_abc"),
            address: "192.0.2.1".parse().unwrap(),
            door: "https",
            follows: true,
        };
        let shown = format!("{caller:?} {:?}", caller.secret);
        assert!(!shown.contains("abc"), "{shown}");
        assert_eq!(caller.secret.reveal(), "simsim_token_abc");
    }
}
