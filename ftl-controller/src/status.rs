//! How things stand, in the words that people see: pure functions of desired and observed state.

use ftl_core::controller::{self, ChangeStatus, ModuleStatus, ReplicaStatus};
use ftl_core::key::ChangeId;
use ftl_core::name::PlatformName;

use crate::desired::{Change, ChangeState, Desired, Ended, Target, Want};
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
    /// What keeps the Controller from deciding anything, if something does.
    pub(crate) trouble: Option<&'a str>,
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
        let state = match &change.state {
            // Whoever hears that it committed may call it, and must not meet the version before it.
            ChangeState::Committed if !self.is_routed(change) => controller::ChangeState::Rolling,
            state => controller::ChangeState::from(state),
        };
        Some(ChangeStatus::new(id, seen, state, modules))
    }

    /// Whether the table that is published routes to everything of this change that serves.
    fn is_routed(&self, change: &Change) -> bool {
        let published = self.observed.table().map(|published| &published.routes.modules);
        let mut serving = change.wanted.values().filter(|want| self.desired.serves(&want.target));
        serving.all(|Want { target, .. }| {
            published.is_some_and(|modules| modules.get(target.module()) == Some(&target.deployment))
        })
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
        status.platform_trouble = self.platform_trouble(&target.platform);
        for slot in self.desired.slots.values().filter(|slot| slot.target == *target) {
            let state = self.observed.state_of(slot, self.timings, self.now);
            status.ready += u16::from(state == ReplicaState::Ready && !slot.drain);
            let listed = self.observed.listing(&target.platform).and_then(|listing| listing.get(slot.key));
            let mut replica = ReplicaStatus::new(slot.key, state.to_string());
            replica.place = listed.and_then(|listed| listed.place.clone());
            status.replicas.push(replica);
        }
        status
    }

    fn platform_trouble(&self, platform: &PlatformName) -> Option<controller::PlatformTrouble> {
        let trouble = self.observed.listing(platform)?.trouble.as_ref()?;
        let since = self.now.since(trouble.since).as_secs();
        Some(controller::PlatformTrouble::new(since, &trouble.why))
    }

    /// When this target was first asked for, of the times that it was asked for in a row.
    fn wanted_since(&self, target: &Target) -> Time {
        let of_module = |change: &&Change| change.wanted.contains_key(target.module());
        let newest_first = self.desired.changes.values().rev().filter(of_module);
        let same =
            |change: &&Change| change.wanted.get(target.module()).is_some_and(|want| want.target == *target);
        let in_a_row = newest_first.skip_while(|change| !same(change)).take_while(same);
        // One that is not remembered is older than all that are.
        let oldest = in_a_row.last().or_else(|| self.desired.changes.values().next());
        oldest.map_or(self.now, |change| change.created_at)
    }

    fn last_error(&self, target: &Target) -> Option<String> {
        let refused = self.desired.staying(target).find_map(|slot| {
            let creation = self.observed.creation(slot.key)?;
            let words = creation.refused.as_ref().or(creation.failed.as_ref())?;
            Some(format!("platform `{}`: {words}", target.platform))
        });
        refused
            .or_else(|| self.trouble.map(str::to_owned))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{End, NewChange, Startup, Transaction, Why};
    use crate::observed::Routes;
    use ftl_core::Digest;
    use ftl_core::controller::{ChangeSpec, Wanted};
    use ftl_core::key::{DeploymentId, Epoch};
    use std::time::Duration;

    fn at(seconds: i64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn clock(version: &[u8]) -> DeploymentId {
        DeploymentId::new("clock".parse().unwrap(), Digest::of(version))
    }

    fn target(version: &[u8]) -> Target {
        Target { deployment: clock(version), platform: "local".parse().unwrap() }
    }

    /// A store in which this version of `clock` was asked for.
    fn ask(desired: &mut Desired, request: &str, version: &[u8], when: Time) -> ChangeId {
        let wanted = Wanted { deployment: clock(version), platform: "local".parse().unwrap(), replicas: 1 };
        let spec = ChangeSpec::new(request.parse().unwrap(), vec![wanted]);
        let change = NewChange::of_spec(&spec, Duration::from_secs(60), when).unwrap();
        desired.apply(&change);
        *desired.changes.keys().next_back().unwrap()
    }

    fn write(desired: &mut Desired, transaction: &Transaction) {
        assert_eq!(desired.write(transaction), crate::desired::Outcome::Done, "{transaction:?}");
    }

    fn commit(desired: &mut Desired, change: ChangeId) {
        write(desired, &Transaction::Commit { change, keep_until: None });
    }

    /// A replica of this version starts, fails and is replaced.
    fn fail(desired: &mut Desired, version: &[u8], when: Time) {
        let key = |desired: &Desired| desired.staying(&target(version)).map(|slot| slot.key).next();
        if key(desired).is_none() {
            write(desired, &Transaction::Add { target: target(version), at: when });
        }
        let key = key(desired).unwrap();
        let end = End::new(Why::Ended);
        write(desired, &Transaction::Replace { key, end, attempts: 1, not_before: when, at: when });
    }

    fn started() -> (Desired, Observed) {
        let mut desired = Desired::new();
        desired.start(&Startup { adopting: std::collections::BTreeSet::new(), at: at(0) });
        let observed = Observed::new(Epoch(1), [("local".parse().unwrap(), Duration::ZERO)], at(0));
        (desired, observed)
    }

    fn moment<'a>(desired: &'a Desired, observed: &'a Observed, timings: &'a Timings) -> Moment<'a> {
        Moment { desired, observed, timings, now: at(100), trouble: None }
    }

    #[test]
    fn a_change_is_told_as_committed_when_its_version_is_routed() {
        let (mut desired, mut observed) = started();
        let timings = Timings::default();
        let first = ask(&mut desired, "r1", b"1", at(1));
        commit(&mut desired, first);
        let state = |desired: &Desired, observed: &Observed, id| {
            moment(desired, observed, &timings).change(id, 0).unwrap().state
        };
        assert_eq!(
            state(&desired, &observed, first),
            controller::ChangeState::Rolling,
            "nothing is published"
        );
        let routes = |version: &[u8]| Routes {
            modules: [("clock".parse().unwrap(), clock(version))].into(),
            rows: Vec::new(),
        };
        observed.published(routes(b"1"));
        assert_eq!(state(&desired, &observed, first), controller::ChangeState::Committed);
        let second = ask(&mut desired, "r2", b"2", at(2));
        commit(&mut desired, second);
        assert_eq!(
            state(&desired, &observed, second),
            controller::ChangeState::Rolling,
            "the old one is routed"
        );
        assert_eq!(state(&desired, &observed, first), controller::ChangeState::Committed, "it was replaced");
        observed.published(routes(b"2"));
        assert_eq!(state(&desired, &observed, second), controller::ChangeState::Committed);
    }

    #[test]
    fn failures_are_those_of_what_serves_since_it_was_asked_for() {
        let (mut desired, observed) = started();
        let timings = Timings::default();
        let change = ask(&mut desired, "r1", b"1", at(1));
        commit(&mut desired, change);
        fail(&mut desired, b"1", at(2));
        let change = ask(&mut desired, "r2", b"2", at(10));
        commit(&mut desired, change);
        let change = ask(&mut desired, "r3", b"1", at(20));
        commit(&mut desired, change);
        fail(&mut desired, b"1", at(21));
        // A version that never served changes nothing of what is said of the one that does.
        ask(&mut desired, "r4", b"3", at(30));
        fail(&mut desired, b"3", at(31));
        let modules = moment(&desired, &observed, &timings).modules();
        let [module] = &modules[..] else { panic!("{modules:?}") };
        assert_eq!((module.restarts, module.age_s), (1, 80), "{module:?}");
        assert_eq!(module.deployment, clock(b"1"));
        assert!(module.last_error.as_ref().unwrap().contains("ended"), "{module:?}");
    }

    #[test]
    fn what_keeps_the_controller_from_deciding_is_told() {
        let (mut desired, observed) = started();
        let timings = Timings::default();
        let change = ask(&mut desired, "r1", b"1", at(1));
        let mut moment = moment(&desired, &observed, &timings);
        moment.trouble = Some("the disk is full");
        let status = moment.change(change, 0).unwrap();
        assert_eq!(status.modules[0].last_error.as_deref(), Some("the disk is full"));
    }
}
