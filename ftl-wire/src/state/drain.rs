//! How a connection ends without a failed call.
//!
//! GOAWAY, then PING: whatever the peer sent before it knew is read before its PONG, and served. What it sends after
//! that is refused as not started. When nothing is open any more, or at the deadline, a second GOAWAY says how many
//! calls were read: all others never started.

use ftl_core::{Code, Failure};
use tokio::time::Instant;

use super::{Effects, Phase, State};
use crate::frame::Goaway;
use crate::limits::LINGER;

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    /// None was asked for.
    No,
    /// GOAWAY is sent; calls are served until this PONG.
    Fencing { deadline: Instant, fence: u64 },
    /// New calls are refused; the running ones finish.
    Refusing { deadline: Instant },
    /// The last GOAWAY is queued; the peer has until then to hang up.
    Finished { by: Instant },
}

impl Drain {
    /// Whether calls that are read now are refused.
    pub(crate) fn refuses(self) -> bool {
        matches!(self, Self::Refusing { .. } | Self::Finished { .. })
    }

    /// Whether calls that are read now are not even counted: the last GOAWAY has said that they never started.
    pub(crate) fn is_finished(self) -> bool {
        matches!(self, Self::Finished { .. })
    }

    /// When to look again.
    pub(crate) fn next(self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Fencing { deadline, .. } | Self::Refusing { deadline } => Some(deadline),
            Self::Finished { by } => Some(by),
        }
    }
}

impl State {
    /// Begins to drain; only the first deadline counts.
    pub(crate) fn begin_drain(&mut self, deadline: Instant, now: Instant) {
        if self.drain != Drain::No || self.phase != Phase::Open {
            return;
        }
        let left = deadline.saturating_duration_since(now).as_millis();
        let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
        Goaway { phase: 1, deadline_ms, accepted: u64::MAX }.write(self.out.queue());
        self.drain = Drain::Fencing { deadline, fence: self.ping() };
        self.wake_at(deadline);
    }

    /// A PONG has arrived.
    pub(crate) fn ponged(&mut self, echo: u64) {
        if let Drain::Fencing { deadline, fence } = self.drain
            && echo >= fence
        {
            self.drain = Drain::Refusing { deadline };
        }
    }

    /// Goes on with a drain as far as it can go now.
    pub(crate) fn advance_drain(&mut self, now: Instant, effects: &mut Effects) {
        match self.drain {
            Drain::Fencing { deadline, .. } | Drain::Refusing { deadline } if deadline <= now => {
                self.cut_off(effects);
                self.finish_drain(now);
            }
            Drain::Refusing { .. } if self.served.open() == 0 && self.opened.taken() == 0 => {
                self.finish_drain(now);
            }
            Drain::No | Drain::Fencing { .. } | Drain::Refusing { .. } | Drain::Finished { .. } => {}
        }
    }

    /// Ends what is still running at the deadline.
    fn cut_off(&mut self, effects: &mut Effects) {
        for (id, how) in self.served.end_all() {
            effects.cancelled(how, true);
            self.fail(id, Failure::new(Code::Unavailable, "still running at the end of the drain"));
        }
    }

    fn finish_drain(&mut self, now: Instant) {
        Goaway { phase: 2, deadline_ms: 0, accepted: self.served.read() }.write(self.out.queue());
        let by = now + LINGER;
        self.drain = Drain::Finished { by };
        self.wake_at(by);
    }
}
