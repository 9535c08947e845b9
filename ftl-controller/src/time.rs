//! One kind of time for what is stored and what is only observed, and the clock that tells it.
//!
//! Spans are [`Duration`]s; a [`Time`] is a point. Nothing in the plan reads a clock: it is given a `Time`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A point in time, in microseconds since 1970.
///
/// ```
/// use std::time::Duration;
/// use ftl_controller::time::Time;
/// let noon = Time::from_micros(43_200_000_000);
/// let later = noon.plus(Duration::from_secs(2));
/// assert_eq!(later.since(noon), Duration::from_secs(2));
/// assert_eq!(noon.since(later), Duration::ZERO, "never negative");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(i64);

impl Time {
    /// The point so many microseconds after the beginning of 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the beginning of 1970.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The point so much later; the last that there is instead of an overflow.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The point so much earlier; the first that there is instead of an overflow.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Tells the time: the wall clock's at its making, and from then on without jumps.
///
/// Only tokio's clock is read after the start, so that a test may pause it and an administrator who sets the wall
/// clock ends no lease.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Time,
    started: Instant,
}

impl Clock {
    /// A clock that agrees with the wall clock now.
    #[must_use]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall: Time(0).plus(wall), started: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.wall.plus(self.started.elapsed())
    }

    /// The instant of tokio's clock at which it will be `time`; now, if it is past.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.started + time.since(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_tokio() {
        let clock = Clock::start();
        let before = clock.now();
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.now().since(before), Duration::from_millis(1500));
        assert_eq!(clock.instant(clock.now()), Instant::now());
    }

    #[test]
    fn the_ends_of_time_do_not_wrap() {
        assert_eq!(Time::from_micros(5).plus(Duration::MAX), Time::from_micros(i64::MAX));
        assert_eq!(Time::from_micros(i64::MIN).minus(Duration::MAX), Time::from_micros(i64::MIN));
    }
}
