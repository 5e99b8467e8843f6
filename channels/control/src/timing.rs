//! Time limits of a session.

use std::time::Duration;

use simsim_model::limits;

/// Time limits. The default ones are those of `simsim_model::limits`; settings may lower them.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// From accept (or connect) to a proven peer, and from there to its hello.
    pub handshake: Duration,
    /// A side that has sent nothing for this long sends a beat.
    pub beat: Duration,
    /// A dialler gives up a peer that has been silent for this long.
    pub dead: Duration,
    /// A listener closes a session that has been silent for this long.
    pub idle: Duration,
    /// How often a listener asks its policy whether a session's key is still enrolled.
    pub recheck: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            handshake: Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS),
            beat: Duration::from_millis(limits::HEARTBEAT_INTERVAL_MS),
            dead: Duration::from_millis(limits::DEAD_PEER_MS),
            idle: Duration::from_millis(limits::IDLE_TIMEOUT_MS),
            recheck: Duration::from_secs(15),
        }
    }
}
