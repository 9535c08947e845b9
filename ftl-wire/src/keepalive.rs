//! Whether a silent peer is still there.

use tokio::time::Instant;

use crate::limits::{DEAD_AFTER, PING_AFTER};

/// What silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before that time.
    Nothing(Instant),
    /// A PING.
    Ping,
    /// The end.
    Dead,
}

/// Follows the silence of one peer. Any byte is a sign of life.
#[derive(Debug)]
pub(crate) struct Keepalive {
    heard: Instant,
    /// When a PING was sent that nothing has followed.
    pinged: Option<Instant>,
    /// Whether the peer runs user code, which may block its thread: such a peer is stuck, never dead.
    patient: bool,
}

impl Keepalive {
    pub(crate) fn new(patient: bool, now: Instant) -> Self {
        Self { heard: now, pinged: None, patient }
    }

    /// The peer sent something.
    pub(crate) fn heard(&mut self, now: Instant) {
        (self.heard, self.pinged) = (now, None);
    }

    /// What the silence calls for now.
    ///
    /// A peer is judged only by a PING that it had time to answer: when this process itself stood still, the silence
    /// was its own.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        match self.pinged {
            None if now >= self.heard + PING_AFTER => {
                self.pinged = Some(now);
                Due::Ping
            }
            None => Due::Nothing(self.heard + PING_AFTER),
            Some(_) if self.patient => Due::Nothing(now + DEAD_AFTER),
            Some(pinged) if now >= pinged + (DEAD_AFTER - PING_AFTER) => Due::Dead,
            Some(pinged) => Due::Nothing(pinged + (DEAD_AFTER - PING_AFTER)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_ping_after_10_s_and_death_after_25() {
        let start = Instant::now();
        let just_before = |limit: Duration| start + limit - Duration::from_millis(1);
        let mut keepalive = Keepalive::new(false, start);
        assert_eq!(keepalive.due(just_before(PING_AFTER)), Due::Nothing(start + PING_AFTER));
        assert_eq!(keepalive.due(start + PING_AFTER), Due::Ping);
        assert_eq!(keepalive.due(just_before(DEAD_AFTER)), Due::Nothing(start + DEAD_AFTER));
        assert_eq!(keepalive.due(start + DEAD_AFTER), Due::Dead);
    }

    #[test]
    fn any_byte_is_a_sign_of_life() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(false, start);
        assert_eq!(keepalive.due(start + PING_AFTER), Due::Ping);
        let later = start + DEAD_AFTER - Duration::from_millis(1);
        keepalive.heard(later);
        assert_eq!(keepalive.due(start + DEAD_AFTER), Due::Nothing(later + PING_AFTER));
    }

    #[test]
    fn who_stood_still_itself_asks_before_it_judges() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(false, start);
        assert_eq!(keepalive.due(start + 100 * DEAD_AFTER), Due::Ping);
    }

    #[test]
    fn user_code_is_stuck_and_never_dead() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(true, start);
        assert_eq!(keepalive.due(start + PING_AFTER), Due::Ping);
        assert!(matches!(keepalive.due(start + 100 * DEAD_AFTER), Due::Nothing(_)));
    }
}
