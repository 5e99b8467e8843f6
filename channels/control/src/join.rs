//! Enrolment: a new host becomes known to a server, and the server to it, by one code.
//!
//! The new host dials the server as user `join` with its own new key, or, where it will call the server
//! itself, asks over a connection of that kind. It knows the server by the fingerprint in the code,
//! before it says who it is; both then prove that they know the code's secret, which never travels. The
//! proofs bind both keys and the name, so that nothing of one enrolment is of use in another. What
//! carries the connection is trusted with the bytes and with nothing else.

use simsim_model::Kind;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::ctrl::JOINS_CLOSED;
use crate::handler::JOIN_USER;
use crate::smssh::ExpectedKey;
use crate::verbs::{Join, JoinReply};
use crate::{
    ControlClient, ControlError, CtrlDialer, Expected, Hello, Identity, JoinCode, PublicKey,
    SmsshDialer, Timing, VerbError,
};

/// Bytes of a name at most.
pub const NAME_BYTES_MAX: usize = 64;

/// Who proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prover {
    Joiner,
    Server,
}

/// Keyed BLAKE3 over `direction | joiner's key | server's key | name length | name`, with a key
/// derived from the code's secret (`docs/protocol/control.md`).
pub fn proof(
    secret: &[u8; 16],
    prover: Prover,
    joiner: &PublicKey,
    server: &PublicKey,
    name: &str,
) -> blake3::Hash {
    let key = blake3::derive_key("simsim join proof v1", secret);
    let direction = match prover {
        Prover::Joiner => 1u8,
        Prover::Server => 2u8,
    };
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&[direction]);
    hasher.update(joiner.as_bytes());
    hasher.update(server.as_bytes());
    hasher.update(&(name.len() as u64).to_be_bytes());
    hasher.update(name.as_bytes());
    hasher.finalize()
}

/// A name under which a host can be enrolled: 1 to 64 letters, digits, dots, dashes and
/// underscores, not a dot or dash first.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.len() <= NAME_BYTES_MAX
        && name.chars().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

/// Server: does this request prove that its sender knows the code? A server with several valid
/// codes tries each. The comparison takes the same time for every answer.
pub fn is_proven(request: &Join, joiner: &PublicKey, server: &PublicKey, code: &JoinCode) -> bool {
    let right = proof(code.secret(), Prover::Joiner, joiner, server, &request.name);
    right == blake3::Hash::from_bytes(request.proof)
}

/// Server: checks all of a request that does not need the code. The name must be possible, and
/// the key in it that of the session.
///
/// # Errors
/// What the joiner is told.
pub fn check(request: &Join, joiner: &PublicKey) -> Result<(), VerbError> {
    if !is_name(&request.name) {
        return Err(VerbError::new(
            Kind::Invalid,
            format!(
                "'{}' cannot be a host's name: use 1 to {NAME_BYTES_MAX} letters, digits, dots, \
                 dashes and underscores, with a letter, digit or underscore first",
                request.name.escape_debug()
            ),
        ));
    }
    if request.host_key.parse() != Ok(*joiner) {
        return Err(VerbError::new(
            Kind::Denied,
            "the host key in the request is not the key of this connection",
        ));
    }
    if request.listen_port == 0 {
        return Err(VerbError::new(Kind::Invalid, "port 0 cannot be dialled"));
    }
    Ok(())
}

/// Server: the answer to a proven request.
pub fn reply(
    request: &Join,
    joiner: &PublicKey,
    server: &PublicKey,
    server_name: &str,
    code: &JoinCode,
) -> JoinReply {
    JoinReply {
        server_name: server_name.to_owned(),
        server_key: server.to_string(),
        proof: *proof(code.secret(), Prover::Server, joiner, server, &request.name).as_bytes(),
    }
}

/// New host: does this answer come from the server that issued the code?
pub fn is_accepted(
    reply: &JoinReply,
    joiner: &PublicKey,
    server: &PublicKey,
    name: &str,
    code: &JoinCode,
) -> bool {
    let right = proof(code.secret(), Prover::Server, joiner, server, name);
    right == blake3::Hash::from_bytes(reply.proof)
}

/// A host that wants to be enrolled.
#[derive(Debug, Clone)]
pub struct Joiner<'a> {
    pub identity: &'a Identity,
    /// Its versions and roles.
    pub hello: Hello,
    /// Under which name.
    pub name: &'a str,
    /// Where it waits for the server.
    pub listen_port: u16,
    /// Its system, for people.
    pub platform: &'a str,
    /// It calls the server itself (access mode OUTBOUND).
    pub outbound: bool,
}

/// What a host knows after it joined.
#[derive(Debug, Clone)]
pub struct Joined {
    pub server_name: String,
    /// The key that may give orders from now on.
    pub server_key: PublicKey,
}

/// New host: enrols at the server whose SMSSH listener is behind `addresses`.
///
/// # Errors
/// `HostKey` when another server answers than the code's; `JoinClosed` when the server has no
/// valid code; `Verb` with the server's reason; `JoinUnproven` when its half does not match; and those of
/// [`SmsshDialer::connect`].
pub async fn join(
    addresses: &[String],
    code: &JoinCode,
    joiner: &Joiner<'_>,
    timing: Timing,
) -> Result<Joined, ControlError> {
    let dialer = SmsshDialer::new(joiner.identity.clone(), joiner.hello.clone());
    let expected = ExpectedKey::Short(*code.server_fingerprint());
    let connecting =
        dialer.with_timing(timing).connect_expecting(addresses, expected, JOIN_USER).await;
    let (session, server) = connecting.map_err(|error| match error {
        ControlError::LoginRefused { peer, .. } => ControlError::JoinClosed { peer },
        other => other,
    })?;
    enrol(&session, &server, code, joiner, timing).await
}

/// As [`join`], over a stream that leads to the server, whoever carries it: its end answers with
/// [`crate::CtrlListener::answer_joiner_over`]. `label` names the other end in errors.
///
/// # Errors
/// As [`join`], but for `Dial`.
pub async fn join_over<S>(
    stream: S,
    label: &str,
    code: &JoinCode,
    joiner: &Joiner<'_>,
    timing: Timing,
) -> Result<Joined, ControlError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let dialer = CtrlDialer::new(joiner.identity.clone(), joiner.hello.clone()).with_timing(timing);
    let expected = Expected::Short(*code.server_fingerprint());
    let calling = dialer.call_over(stream, label, expected, Box::new(())).await;
    let (session, server) = calling.map_err(|error| match error {
        ControlError::LoginRefused { peer, .. } => ControlError::JoinClosed { peer },
        ControlError::Handshake { peer, reason } if reason.contains(JOINS_CLOSED) => {
            ControlError::JoinClosed { peer }
        }
        other => other,
    })?;
    enrol(&session, &server, code, joiner, timing).await
}

/// Both prove that they know the code's secret.
async fn enrol(
    session: &ControlClient,
    server: &PublicKey,
    code: &JoinCode,
    joiner: &Joiner<'_>,
    timing: Timing,
) -> Result<Joined, ControlError> {
    let (own, name) = (joiner.identity.public(), joiner.name);
    let request = Join {
        name: name.to_owned(),
        host_key: own.to_string(),
        listen_port: joiner.listen_port,
        proof: *proof(code.secret(), Prover::Joiner, &own, server, name).as_bytes(),
        suite_version: joiner.hello.suite_version.clone(),
        roles: joiner.hello.roles,
        platform: joiner.platform.to_owned(),
        outbound: joiner.outbound,
    };
    let reply = session.call_within(timing.dead, request).await?;
    let unproven = |reason| ControlError::JoinUnproven { peer: session.label().to_owned(), reason };
    if reply.server_key.parse() != Ok(*server) {
        return Err(unproven("its answer names another key than the connection's"));
    }
    if !is_accepted(&reply, &own, server, name, code) {
        return Err(unproven("its proof is wrong"));
    }
    Ok(Joined { server_name: reply.server_name, server_key: *server })
}
