//! The transactions: everything that ever changes desired state, with the premise under which it may.
//!
//! Here they are pure functions over [`Desired`]; the [`store`](crate::store) carries out the same in SQL. Each is
//! durable there *before* what follows from it is done: a slot before its Create, a drain mark before the row is
//! withdrawn, an end before the instance is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ftl_core::key::{ChangeId, Epoch, RunnerKey};
use ftl_core::name::PlatformName;
use ftl_core::platform::Exit;

use super::{Change, ChangeState, Desired, End, Ended, Kept, NewChange, Reason, Request, Slot, Target, Why};
use crate::time::Time;

/// How long a request id is remembered.
pub const REQUEST_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How many changes are remembered, besides those that a remembered request or a Rolling state holds.
pub const CHANGES_KEPT: usize = 1000;
/// How many ends are remembered whose exit and last lines were read.
pub const ENDED_FULL_KEPT: usize = 1000;
/// How many ends are remembered in all: an end that nobody could read for so long is given up.
pub const ENDED_KEPT: usize = 4000;

/// The beginning of a Controller's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The platforms whose instances outlive a Controller ([`Capability::Adopt`]); on all others everything begins
    /// anew.
    ///
    /// [`Capability::Adopt`]: ftl_core::platform::Capability::Adopt
    pub adopting: BTreeSet<PlatformName>,
    /// When.
    pub at: Time,
}

/// What a plan may write, apart from [`NewChange`] and [`Startup`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transaction {
    /// A slot with a fresh key. Premise: fewer slots than wanted.
    Add {
        /// Of what.
        target: Target,
        /// When.
        at: Time,
    },
    /// The change serves, in all its modules. Premise: it is Rolling.
    Commit {
        /// Which change.
        change: ChangeId,
        /// Until when what it replaces stays ready; `None`: not at all.
        keep_until: Option<Time>,
    },
    /// The change is given up. Premise: it is Rolling.
    Fail {
        /// Which change.
        change: ChangeId,
        /// Why.
        reason: Reason,
    },
    /// The replica is on its way out. Premise: it was not.
    MarkDrain {
        /// Which one.
        key: RunnerKey,
    },
    /// The replica is given up, and a fresh one takes its place. Premise: it is not on its way out.
    Replace {
        /// Which one.
        key: RunnerKey,
        /// What is known of its end.
        end: End,
        /// The attempts of the fresh one.
        attempts: u32,
        /// When the fresh one may be created.
        not_before: Time,
        /// When.
        at: Time,
    },
    /// The replica, on its way out, is gone. Premise: it is on its way out.
    Remove {
        /// Which one.
        key: RunnerKey,
        /// What is known of its end.
        end: End,
        /// When.
        at: Time,
    },
    /// The end of a former replica is known in full. Premise: it is remembered and was not.
    Record {
        /// Which one.
        key: RunnerKey,
        /// How it exited.
        exit: Exit,
        /// The last lines that it wrote.
        tail: Vec<String>,
    },
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// What it was planned for is no longer so; nothing was done.
    PremiseGone,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is this change.
    New(ChangeId),
    /// It was asked for before; this is what was answered then, and nothing was done now.
    Known(ChangeId),
    /// Something else was asked for under its id; nothing was done.
    Conflict,
}

impl Desired {
    /// T0: a new epoch. Where instances do not outlive a Controller, every staying slot is replaced by one with a
    /// fresh key and every slot on its way out is gone.
    pub fn start(&mut self, startup: &Startup) {
        self.epoch = Epoch(self.epoch.0 + 1);
        let lost = |slot: &&Slot| !startup.adopting.contains(&slot.target.platform);
        let lost: Vec<Slot> = self.slots.values().filter(lost).cloned().collect();
        for slot in lost {
            self.end(&slot, End::new(Why::ControllerEnded), true, startup.at);
            if !slot.drain {
                self.insert(slot.target, slot.attempts, startup.at, startup.at);
            }
        }
        self.prune_requests(startup.at);
        self.prune_ended();
    }

    /// T1: a change, unless it was asked for before. Every Rolling change that shares a module with it is superseded
    /// in the same transaction.
    pub fn apply(&mut self, new: &NewChange) -> Applied {
        self.prune_requests(new.at);
        if let Some(known) = self.requests.get(&new.request) {
            let same = known.content == new.content;
            return if same { Applied::Known(known.change) } else { Applied::Conflict };
        }
        for change in self.changes.values_mut() {
            let shares = change.wanted.keys().any(|module| new.wanted.contains_key(module));
            if change.state == ChangeState::Rolling && shares {
                change.state = ChangeState::Failed(Reason::Superseded);
            }
        }
        let id = self.next_change;
        self.next_change = ChangeId(id.0 + 1);
        let (wanted, deadline, created_at) = (new.wanted.clone(), new.deadline, new.at);
        let (state, prev) = (ChangeState::Rolling, BTreeMap::new());
        self.changes.insert(id, Change { id, wanted, state, deadline, created_at, prev, commit: None });
        let request = Request { change: id, content: new.content, at: new.at };
        self.requests.insert(new.request.clone(), request);
        self.prune_changes();
        Applied::New(id)
    }

    /// Everything else that changes.
    pub fn write(&mut self, transaction: &Transaction) -> Outcome {
        let done = match transaction {
            Transaction::Add { target, at } => self.add(target, *at),
            Transaction::Commit { change, keep_until } => self.commit(*change, *keep_until),
            Transaction::Fail { change, reason } => self.fail(*change, reason),
            Transaction::MarkDrain { key } => self.mark_drain(*key),
            Transaction::Replace { key, end, attempts, not_before, at } => {
                self.give_up(*key, false, end, *at).map(|slot| {
                    self.insert(slot.target, *attempts, *not_before, *at);
                })
            }
            Transaction::Remove { key, end, at } => self.give_up(*key, true, end, *at).map(drop),
            Transaction::Record { key, exit, tail } => self.record(*key, exit, tail),
        };
        done.map_or(Outcome::PremiseGone, |()| Outcome::Done)
    }

    /// How many replicas of this target anything wants, whatever the time: what is kept counts past its end.
    fn wanted(&self, target: &Target) -> usize {
        let kept = self.kept.values().map(|kept| &kept.want);
        let rolling = self.rolling().flat_map(|change| change.wanted.values());
        let all = self.serving.values().chain(kept).chain(rolling);
        all.filter(|want| want.target == *target).map(|want| usize::from(want.replicas)).max().unwrap_or(0)
    }

    fn add(&mut self, target: &Target, at: Time) -> Option<()> {
        let missing = self.staying(target).count() < self.wanted(target);
        missing.then(|| self.insert(target.clone(), 0, at, at))
    }

    fn insert(&mut self, target: Target, attempts: u32, not_before: Time, created_at: Time) {
        let key = self.next_key;
        self.next_key = RunnerKey(key.0 + 1);
        self.slots.insert(key, Slot { key, target, drain: false, attempts, not_before, created_at });
    }

    fn rolling_mut(&mut self, id: ChangeId) -> Option<&mut Change> {
        self.changes.get_mut(&id).filter(|change| change.state == ChangeState::Rolling)
    }

    fn commit(&mut self, id: ChangeId, keep_until: Option<Time>) -> Option<()> {
        let wanted = self.rolling_mut(id)?.wanted.clone();
        let mut prev = BTreeMap::new();
        for (module, want) in wanted {
            let Some(old) = self.serving.insert(module.clone(), want.clone()) else { continue };
            prev.insert(module.clone(), old.clone());
            if old.target == want.target {
                continue;
            }
            match keep_until {
                Some(until) => self.kept.insert(module, Kept { want: old, until }),
                None => self.kept.remove(&module),
            };
        }
        let commit = self.next_commit;
        self.next_commit += 1;
        let change = self.rolling_mut(id)?;
        (change.state, change.prev, change.commit) = (ChangeState::Committed, prev, Some(commit));
        Some(())
    }

    fn fail(&mut self, id: ChangeId, reason: &Reason) -> Option<()> {
        self.rolling_mut(id)?.state = ChangeState::Failed(reason.clone());
        Some(())
    }

    fn mark_drain(&mut self, key: RunnerKey) -> Option<()> {
        self.slots.get_mut(&key).filter(|slot| !slot.drain)?.drain = true;
        Some(())
    }

    fn give_up(&mut self, key: RunnerKey, drain: bool, end: &End, at: Time) -> Option<Slot> {
        let slot = self.slots.get(&key).filter(|slot| slot.drain == drain)?.clone();
        self.end(&slot, end.clone(), false, at);
        self.prune_ended();
        Some(slot)
    }

    fn end(&mut self, slot: &Slot, end: End, full: bool, at: Time) {
        self.slots.remove(&slot.key);
        let ended = Ended { key: slot.key, target: slot.target.clone(), end, full, at };
        self.ended.insert(slot.key, ended);
    }

    fn record(&mut self, key: RunnerKey, exit: &Exit, tail: &[String]) -> Option<()> {
        self.ended.get_mut(&key).filter(|ended| !ended.full)?.complete(exit, tail);
        self.prune_ended();
        Some(())
    }

    fn prune_requests(&mut self, at: Time) {
        self.requests.retain(|_, request| at.since(request.at) < REQUEST_KEPT);
    }

    fn prune_changes(&mut self) {
        let held: BTreeSet<ChangeId> = self.requests.values().map(|request| request.change).collect();
        let newest = ChangeId(self.next_change.0.saturating_sub(CHANGES_KEPT as u64));
        self.changes
            .retain(|id, change| *id >= newest || held.contains(id) || change.state == ChangeState::Rolling);
    }

    fn prune_ended(&mut self) {
        let full = self.ended.values().filter(|ended| ended.full);
        let oldest_full = full.map(|ended| ended.key).rev().nth(ENDED_FULL_KEPT - 1);
        let oldest = self.ended.keys().rev().nth(ENDED_KEPT - 1).copied();
        self.ended.retain(|key, ended| {
            oldest.is_none_or(|oldest| *key >= oldest)
                && (!ended.full || oldest_full.is_none_or(|oldest| *key >= oldest))
        });
    }
}
