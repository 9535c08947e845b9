//! What to do next: [`plan`], a pure function of desired state, observed state and time.
//!
//! The executor carries out the **first** action of a plan and then makes a fresh one, so that nothing is done for a
//! reason that is gone. It waits for no platform: calls go to a worker of that platform, and
//! [`Observed`] only notes that they were sent. When a plan is empty, nothing is to be done before its
//! [`wake`](Plan::wake) unless something arrives.
//!
//! The rules, in their order, each in its file:
//!
//! 0. A pause of this process moves the clocks: [`Observed::rebase`], before each plan.
//! 1. Hold: a new epoch publishes nothing until those who served have reported again. (`table`)
//! 2. Each Rolling change commits, fails, or waits, on its own. (`changes`)
//! 3. – 5. Slots are added and drained until they are those that are wanted. (`wants`)
//! 6. The table is published. (`table`)
//! 7. – 8. Each slot is brought to what it shall be. (`slots`)
//! 9. – 10. What exists without a slot is stopped, recorded and removed; platforms are listed. (`garbage`)
//!
//! ```
//! use std::time::Duration;
//! use ftl_controller::{desired::Desired, observed::Observed, plan, time::Time, timings::Timings};
//! use ftl_core::key::Epoch;
//! use plan::{Action, plan};
//!
//! let (desired, now) = (Desired::new(), Time::from_micros(0));
//! let local = ("local".parse().unwrap(), Duration::from_millis(500));
//! let observed = Observed::new(Epoch(1), [local], now);
//! let plan = plan(&desired, &observed, &Timings::default(), now);
//! assert!(matches!(&plan.actions[..], [Action::Publish(empty), Action::List(_)] if empty.rows.is_empty()));
//! assert!(plan.wake > now);
//! ```

mod changes;
mod garbage;
mod slots;
mod table;
mod wants;

use std::cell::Cell;

use ftl_core::key::RunnerKey;
use ftl_core::name::PlatformName;
use ftl_core::platform::{Exit, InstanceRef};

use crate::desired::{Desired, Slot, Target, Transaction};
use crate::observed::{Observed, Routes, Seen, Stage};
use crate::time::Time;
use crate::timings::Timings;

/// One step. The executor does it, then plans anew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A newer Controller acts: end this process, and touch nothing.
    Exit,
    /// Make this durable, then apply it to desired state.
    Write(Transaction),
    /// Publish these routes under the version that [`Observed::published`] returns.
    Publish(Routes),
    /// Ask the slot's platform to create its instance; note [`Observed::create_sent`].
    Create(RunnerKey),
    /// Send Deploy to the slot's Runner; note [`Observed::deploy_sent`].
    Deploy(RunnerKey),
    /// Send Drain to the slot's Runner; note [`Observed::drain_sent`].
    SendDrain(RunnerKey),
    /// Ask the platform to stop an instance that must not exist; note [`Observed::stop_sent`], and
    /// [`Observed::on_wake`] when it answered, to see the end soon.
    Stop {
        /// Which platform.
        platform: PlatformName,
        /// Which instance.
        instance: InstanceRef,
    },
    /// Ask the platform for the last lines of an ended instance, then write [`Transaction::Record`]; note
    /// [`Observed::tail_sent`]. After [`TAIL_TRIES`] without success the plan records the exit alone.
    Record {
        /// Which platform.
        platform: PlatformName,
        /// Which instance.
        instance: InstanceRef,
        /// How it exited.
        exit: Exit,
    },
    /// Ask the platform to remove an ended instance whose end is recorded; note [`Observed::purge_sent`].
    Purge {
        /// Which platform.
        platform: PlatformName,
        /// Which instance.
        instance: InstanceRef,
    },
    /// Ask the platform for a listing under the number that [`Observed::list_sent`] returns.
    List(PlatformName),
}

pub use garbage::TAIL_TRIES;

/// What to do, and when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order of the rules. Only the first is to be carried out; the others are what is foreseen.
    pub actions: Vec<Action>,
    /// Before then, time alone proposes nothing else. At most half of [`Timings::own_pause`] away, so that a loop
    /// that sleeps until then does not look like one that was paused.
    pub wake: Time,
}

/// Plans; see the module.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, timings: &Timings, now: Time) -> Plan {
    let view = View { desired, observed, timings, moment: Moment::new(now) };
    let actions = if observed.is_superseded() {
        vec![Action::Exit]
    } else {
        let mut actions = Vec::new();
        if !view.is_held() {
            actions.extend(changes::decide(&view));
        }
        actions.extend(wants::balance(&view));
        if !view.is_held() {
            actions.extend(table::publish(&view));
        }
        actions.extend(slots::advance(&view));
        actions.extend(garbage::collect(&view));
        actions
    };
    let latest = now.plus(timings.own_pause / 2);
    Plan { actions, wake: view.moment.next().map_or(latest, |next| next.min(latest)) }
}

/// Now, and the nearest later point at which a question about it would be answered differently.
///
/// Every comparison with time goes through [`Moment::reached`]: so no rule can depend on a point that
/// [`Plan::wake`] does not know.
struct Moment {
    now: Time,
    next: Cell<Option<Time>>,
}

impl Moment {
    fn new(now: Time) -> Self {
        Self { now, next: Cell::new(None) }
    }

    fn reached(&self, point: Time) -> bool {
        if point <= self.now {
            return true;
        }
        self.next.set(Some(self.next.get().map_or(point, |next| next.min(point))));
        false
    }

    fn next(&self) -> Option<Time> {
        self.next.get()
    }
}

/// What the rules ask.
struct View<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    timings: &'a Timings,
    moment: Moment,
}

impl View<'_> {
    fn now(&self) -> Time {
        self.moment.now
    }

    fn reached(&self, point: Time) -> bool {
        self.moment.reached(point)
    }

    /// What is known of a slot's Runner if it is connected and was heard within its lease, and its instance was not
    /// seen ended.
    fn alive(&self, key: RunnerKey) -> Option<&Seen> {
        let seen = self.observed.seen(key).filter(|seen| seen.is_connected())?;
        let ended = self.observed.end_of(key).is_some();
        (!ended && !self.reached(seen.heard.plus(self.timings.lease))).then_some(seen)
    }

    /// What is known of a slot's Runner if it serves.
    fn ready(&self, slot: &Slot) -> Option<&Seen> {
        self.alive(slot.key).filter(|seen| seen.stage == Stage::Ready)
    }

    /// Whether a slot has come to its end without us.
    fn is_over(&self, key: RunnerKey) -> bool {
        let crashed = |seen: &Seen| matches!(seen.stage, Stage::Crashed(_));
        self.observed.end_of(key).is_some() || self.observed.seen(key).is_some_and(crashed)
    }

    /// Whether this target is kept, ready to be taken back.
    fn keeps(&self, target: &Target) -> bool {
        let kept = self.desired.kept.get(target.module());
        kept.is_some_and(|kept| kept.want.target == *target && !self.reached(kept.until))
    }
}
