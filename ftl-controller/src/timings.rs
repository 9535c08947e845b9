//! Every constant of a replica's life, and the relations between them that must hold.
//!
//! The numbers were found with an explicit-state model. They may be changed; their *relations* may not, and
//! [`Timings::check`] refuses what breaks one.

use std::time::Duration;

/// The constants. [`Timings::default`] is for real use, [`Timings::short`] for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// How often what a platform did not acknowledge is asked again.
    pub retry: Duration,
    /// How long after its start the Controller publishes nothing while serving replicas have not reported again.
    pub hold: Duration,
    /// How long a Runner may be silent or away before its replica is replaced.
    pub lease: Duration,
    /// How long a registered Runner may take to report Deployed.
    pub start: Duration,
    /// How long an acknowledged instance may take to register, at least; see [`Timings::provision_for`].
    pub provision: Duration,
    /// How long a draining Runner may finish its calls, counted by the Runner from its receipt.
    pub grace: Duration,
    /// How much longer than [`grace`](Self::grace) the Controller waits for Drained.
    pub drain_slack: Duration,
    /// A gap between two plans from which the Controller concludes that it was itself paused.
    pub own_pause: Duration,
    /// Back-off before a replacement, times its attempts.
    pub backoff_step: Duration,
    /// The longest back-off.
    pub backoff_max: Duration,
    /// How long a replica must have been ready for its attempts to be forgotten.
    pub stable: Duration,
    /// How often the instances of a platform are listed.
    pub list: Duration,
    /// How long a change may take that names no deadline; see [`Timings::default_deadline`].
    pub change_deadline: Duration,
    /// How long a replaced version stays ready to be taken back; zero: it is drained at once.
    pub keep: Duration,
    /// How long a new replica must have been ready before its change may commit; zero: just ready.
    pub settle: Duration,
    /// How often Runners report. Theirs to keep; stands here, as the next two, for what [`Timings::check`] compares.
    pub heartbeat: Duration,
    /// The longest wait of Runners between two attempts to connect.
    pub redial_max: Duration,
    /// How long Runners wait for their deployments to answer a ping.
    pub alive: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            retry: s(1),
            hold: s(5),
            lease: s(10),
            start: s(30),
            provision: s(30),
            grace: s(30),
            drain_slack: s(5),
            own_pause: s(4),
            backoff_step: s(2),
            backoff_max: s(30),
            stable: s(60),
            list: s(5),
            change_deadline: s(300),
            keep: s(0),
            settle: s(0),
            heartbeat: s(2),
            redial_max: s(2),
            alive: s(20),
        }
    }
}

/// Two constants that stand in a relation which does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timings: {rule} is broken; {why}")]
pub struct TimingsError {
    rule: &'static str,
    why: &'static str,
}

impl Timings {
    /// Short ones for tests, in the relations that the model was run with: a tick is 20 ms.
    #[must_use]
    pub fn short() -> Self {
        Self::of_tick(Duration::from_millis(20))
    }

    /// Short ones with a tick of this length: a message and its handling must take less.
    #[must_use]
    pub fn of_tick(tick: Duration) -> Self {
        Self {
            retry: tick * 3,
            hold: tick * 6,
            lease: tick * 6,
            start: tick * 8,
            provision: tick * 18,
            grace: tick * 5,
            drain_slack: tick * 4,
            own_pause: tick * 3,
            backoff_step: tick * 2,
            backoff_max: tick * 8,
            stable: tick * 16,
            list: tick * 4,
            change_deadline: tick * 60,
            keep: Duration::ZERO,
            settle: Duration::ZERO,
            heartbeat: tick,
            redial_max: tick,
            alive: tick * 6,
        }
    }

    /// Refuses constants with which a rule of the plan does not do what it promises.
    ///
    /// # Errors
    /// Names the first relation that does not hold, and what would happen.
    pub fn check(&self) -> Result<(), TimingsError> {
        let relations = [
            (
                self.hold > self.redial_max,
                "hold > redial_max",
                "a restart would publish a table before its Runners could connect again",
            ),
            (
                self.lease >= self.heartbeat * 3,
                "lease >= 3 × heartbeat",
                "one late report would replace a healthy replica",
            ),
            (
                self.lease > self.own_pause,
                "lease > own_pause",
                "a pause of the Controller would be taken for silence of its Runners",
            ),
            (
                self.retry < self.list,
                "retry < list",
                "a listing would be asked for more often than anything else",
            ),
            (self.list <= self.lease, "list <= lease", "an end would be noticed later than silence"),
            (
                self.start > self.alive,
                "start > alive",
                "a Runner could not report why its deployment does not start",
            ),
            (self.grace > Duration::ZERO, "grace > 0", "every drain would cut running calls"),
            (
                self.drain_slack > Duration::ZERO,
                "drain_slack > 0",
                "a replica would be removed before its Runner could say that it drained",
            ),
            (
                self.stable > self.start,
                "stable > start",
                "a replica that crashes slowly would never count as a loop",
            ),
            (
                self.stable > self.backoff_max,
                "stable > backoff_max",
                "a replica that crashes slowly would never count as a loop",
            ),
            (
                self.change_deadline > self.provision + self.start + self.settle,
                "change_deadline > provision + start + settle",
                "healthy changes would fail",
            ),
            (
                self.settle < self.stable,
                "settle < stable",
                "attempts would be forgotten before a change commits",
            ),
            (
                self.settle < self.change_deadline / 3,
                "settle < change_deadline / 3",
                "a crash loop would end a change by its deadline only",
            ),
            (
                self.keep.is_zero() || self.keep > self.change_deadline.max(self.grace),
                "keep > change_deadline and keep > grace, or keep = 0",
                "a failing successor would outlive the way back",
            ),
        ];
        match relations.into_iter().find(|(holds, ..)| !holds) {
            Some((_, rule, why)) => Err(TimingsError { rule, why }),
            None => Ok(()),
        }
    }

    /// How long an acknowledged instance may take to register on a platform that usually starts one in `typical`.
    #[must_use]
    pub fn provision_for(&self, typical: Duration) -> Duration {
        self.provision.max(typical * 10)
    }

    /// The deadline of a change that names none, on platforms of which the slowest usually starts in `typical`: long
    /// enough for one start, and a minute (two starts) more.
    #[must_use]
    pub fn default_deadline(&self, typical: Duration) -> Duration {
        self.change_deadline.max(self.provision_for(typical) + self.start + self.start * 2)
    }

    /// How long a replacement waits that is the `attempts`-th in a row.
    #[must_use]
    pub fn backoff(&self, attempts: u32) -> Duration {
        self.backoff_step.saturating_mul(attempts).min(self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sets_hold() {
        Timings::default().check().unwrap();
        Timings::short().check().unwrap();
    }

    #[test]
    fn every_relation_can_be_broken_and_is_named() {
        type Break = fn(&mut Timings);
        let tick = Timings::short().heartbeat;
        assert!(!tick.is_zero());
        let broken: [(Break, &str); 14] = [
            (|t| t.hold = t.redial_max, "hold > redial_max"),
            (|t| t.heartbeat = t.lease / 2, "lease >= 3 × heartbeat"),
            (|t| t.own_pause = t.lease, "lease > own_pause"),
            (|t| t.retry = t.list, "retry < list"),
            (|t| t.list = t.lease * 2, "list <= lease"),
            (|t| t.alive = t.start, "start > alive"),
            (|t| t.grace = Duration::ZERO, "grace > 0"),
            (|t| t.drain_slack = Duration::ZERO, "drain_slack > 0"),
            (|t| t.stable = t.start, "stable > start"),
            (|t| t.backoff_max = t.stable, "stable > backoff_max"),
            (|t| t.provision = t.change_deadline, "change_deadline > provision + start + settle"),
            (|t| t.settle = t.stable, "settle < stable"),
            (
                |t| (t.settle, t.stable) = (t.change_deadline / 3, t.change_deadline),
                "settle < change_deadline / 3",
            ),
            (|t| t.keep = t.change_deadline, "keep > change_deadline and keep > grace, or keep = 0"),
        ];
        for (break_it, rule) in broken {
            let mut timings = Timings::short();
            break_it(&mut timings);
            assert_eq!(timings.check().unwrap_err().rule, rule);
        }
    }

    #[test]
    fn backoff_grows_to_its_cap() {
        let timings = Timings::default();
        assert_eq!(timings.backoff(1), Duration::from_secs(2));
        assert_eq!(timings.backoff(4), Duration::from_secs(8));
        assert_eq!(timings.backoff(u32::MAX), Duration::from_secs(30));
    }
}
