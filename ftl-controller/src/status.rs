//! How things stand, in the words that people see: pure functions of desired and observed state.

use ftl_core::controller::{self, ChangeStatus, ModuleStatus, ReplicaStatus};
use ftl_core::key::ChangeId;

use crate::desired::{Change, Desired, Ended, Target, Want};
use crate::observed::{Observed, ReplicaState};
use crate::time::Time;
use crate::timings::Timings;

/// What everything here is derived from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) observed: &'a Observed,
    pub(crate) timings: &'a Timings,
    pub(crate) now: Time,
}

impl Moment<'_> {
    /// Every module that serves or is being started, ordered by name.
    pub(crate) fn modules(&self) -> Vec<ModuleStatus> {
        let mut wanted = self.desired.serving.clone();
        for change in self.desired.rolling() {
            for (module, want) in &change.wanted {
                wanted.entry(module.clone()).or_insert_with(|| want.clone());
            }
        }
        wanted.values().map(|want| self.module(want)).collect()
    }

    /// How a change is getting on.
    pub(crate) fn change(&self, id: ChangeId, seen: u64) -> Option<ChangeStatus> {
        let change = self.desired.changes.get(&id)?;
        let modules = change.wanted.values().map(|want| self.module(want)).collect();
        Some(ChangeStatus::new(id, seen, controller::ChangeState::from(&change.state), modules))
    }

    fn module(&self, want: &Want) -> ModuleStatus {
        let target = &want.target;
        let mut status = ModuleStatus::new(&controller::Wanted {
            deployment: target.deployment.clone(),
            platform: target.platform.clone(),
            replicas: want.replicas,
        });
        let since = self.wanted_since(target);
        status.age_s = self.now.since(since).as_secs();
        let failures = self.desired.ended.values().filter(|ended| failed(ended, target) && ended.at >= since);
        status.restarts = u32::try_from(failures.count()).unwrap_or(u32::MAX);
        status.last_error = self.last_error(target);
        for slot in self.desired.slots.values().filter(|slot| slot.target == *target) {
            let state = self.observed.state_of(slot, self.timings, self.now);
            status.ready += u16::from(state == ReplicaState::Ready && !slot.drain);
            status.replicas.push(ReplicaStatus::new(slot.key, state.to_string()));
        }
        status
    }

    /// When this target was first asked for, of the times that it was asked for in a row.
    fn wanted_since(&self, target: &Target) -> Time {
        let of_module = |change: &&Change| change.wanted.contains_key(target.module());
        let newest_first = self.desired.changes.values().rev().filter(of_module);
        let same =
            |change: &&Change| change.wanted.get(target.module()).is_some_and(|want| want.target == *target);
        let in_a_row = newest_first.skip_while(|change| !same(change)).take_while(same);
        in_a_row.last().map_or(self.now, |change| change.created_at)
    }

    fn last_error(&self, target: &Target) -> Option<String> {
        let refused = self.desired.staying(target).find_map(|slot| {
            let refusal = self.observed.creation(slot.key)?.refused.as_ref()?;
            Some(format!("platform `{}`: {refusal}", target.platform))
        });
        refused
            .or_else(|| self.desired.ended.values().rev().find(|ended| failed(ended, target)).map(in_words))
    }
}

fn failed(ended: &Ended, target: &Target) -> bool {
    ended.target == *target && ended.end.why.is_failure()
}

/// Why a replica ended, with the last lines that it wrote.
fn in_words(ended: &Ended) -> String {
    std::iter::once(ended.to_string()).chain(ended.end.tail.iter().cloned()).collect::<Vec<_>>().join("\n")
}
