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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_keep_the_limits() {
        let ms = |time: Duration| time.as_millis() as u64;
        let timing = Timing::default();
        assert!(ms(timing.handshake) <= limits::HANDSHAKE_TIMEOUT_MS);
        assert!(ms(timing.idle) <= limits::IDLE_TIMEOUT_MS);
        assert!(ms(timing.dead) <= limits::DEAD_PEER_MS);
        assert!(timing.beat * 2 < timing.dead, "a beat that is late is no death");
    }
}
