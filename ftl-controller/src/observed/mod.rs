//! Observed state: what Runners and platforms said in this epoch. Volatile, and rebuilt after a restart.
//!
//! The shell tells [`Observed`] everything that arrives (`on_…`) and everything that it sent (`…_sent`); connections
//! and other handles stay outside. Each message of a Runner is first held against the fence: epoch, key, session.
//!
//! Two things are believed whatever the session says: a key that was seen ended stays ended (keys are never reused
//! and nothing restarts an instance), and that a listing *lacks* a key has no meaning for a wanted one.

mod platforms;
mod runners;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ftl_core::key::{DeploymentId, Epoch, RunnerKey, TableVersion};
use ftl_core::name::{ModuleName, PlatformName};
use ftl_core::platform::{Exit, InstanceRef};
use ftl_core::routing::Row;

use crate::desired::{Desired, Slot};
use crate::time::Time;
use crate::timings::Timings;
pub use platforms::{Contested, Creation, ListNumber, Listed, Listing, Trouble};
pub use runners::{Refused, Seen, Stage};

/// What the table routes: the serving modules with their versions, and the ready replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Every module that serves, ready or not.
    pub modules: BTreeMap<ModuleName, DeploymentId>,
    /// Its ready replicas, in the order of their keys.
    pub rows: Vec<Row>,
}

/// The routes that were published last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Under which version.
    pub version: TableVersion,
    /// What.
    pub routes: Routes,
}

/// What was last asked of a platform about an instance that has no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    at: Time,
    /// How often its last lines were asked for.
    tails: u32,
}

/// Everything that was observed in this epoch.
#[derive(Clone, Debug)]
pub struct Observed {
    epoch: Epoch,
    /// When this epoch began; moved by [`Observed::rebase`].
    started: Time,
    planned_at: Time,
    superseded: bool,
    seen: BTreeMap<RunnerKey, Seen>,
    ends: BTreeMap<RunnerKey, Exit>,
    creations: BTreeMap<RunnerKey, Creation>,
    platforms: BTreeMap<PlatformName, Listing>,
    asked: BTreeMap<RunnerKey, Asked>,
    published: Option<Published>,
}

impl Observed {
    /// Nothing is known yet. `platforms`: those that there are, and how long each usually takes to start an instance.
    #[must_use]
    pub fn new(
        epoch: Epoch,
        platforms: impl IntoIterator<Item = (PlatformName, Duration)>,
        now: Time,
    ) -> Self {
        let platforms = platforms.into_iter().map(|(name, typical)| (name, Listing::new(typical))).collect();
        Self {
            epoch,
            started: now,
            planned_at: now,
            superseded: false,
            seen: BTreeMap::new(),
            ends: BTreeMap::new(),
            creations: BTreeMap::new(),
            platforms,
            asked: BTreeMap::new(),
            published: None,
        }
    }

    /// Rule 0, before each plan: a gap since the last one that is longer than anything the loop waits for was a pause
    /// of this process. All volatile times are moved forward by it, or every lease would seem to have run out.
    pub fn rebase(&mut self, timings: &Timings, now: Time) {
        let gap = now.since(self.planned_at);
        self.planned_at = now;
        if gap <= timings.own_pause {
            return;
        }
        let shift = |time: &mut Time| *time = time.plus(gap).min(now);
        shift(&mut self.started);
        self.seen.values_mut().flat_map(Seen::times).for_each(shift);
        self.creations.values_mut().flat_map(Creation::times).for_each(shift);
        self.platforms.values_mut().flat_map(Listing::times).for_each(shift);
        self.asked.values_mut().for_each(|asked| shift(&mut asked.at));
    }

    /// These routes are published under the version that is returned.
    pub fn published(&mut self, routes: Routes) -> TableVersion {
        let seq = self.published.as_ref().map_or(0, |published| published.version.seq) + 1;
        let version = TableVersion { epoch: self.epoch, seq };
        self.published = Some(Published { version, routes });
        version
    }

    /// This Controller's life.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When this epoch began, without the pauses of this process.
    #[must_use]
    pub fn started(&self) -> Time {
        self.started
    }

    /// Whether a platform said that a newer Controller acts: this one must exit.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.superseded
    }

    /// What was published last in this epoch.
    #[must_use]
    pub fn table(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    /// Whether the published table routes to this replica.
    #[must_use]
    pub fn routes_to(&self, key: RunnerKey) -> bool {
        let rows = self.published.iter().flat_map(|published| &published.routes.rows);
        rows.into_iter().any(|row| row.replica.runner == key)
    }

    /// What is known of a Runner.
    #[must_use]
    pub fn seen(&self, key: RunnerKey) -> Option<&Seen> {
        self.seen.get(&key)
    }

    /// The Runners whose newest connections are there.
    pub fn connected(&self) -> impl Iterator<Item = RunnerKey> + '_ {
        self.seen.iter().filter(|(_, seen)| seen.is_connected()).map(|(key, _)| *key)
    }

    /// When a platform was last asked about an instance without a slot.
    #[must_use]
    pub fn asked_at(&self, key: RunnerKey) -> Option<Time> {
        self.asked.get(&key).map(|asked| asked.at)
    }

    /// How often the last lines of an instance without a slot were asked for.
    #[must_use]
    pub fn tails_asked(&self, key: RunnerKey) -> u32 {
        self.asked.get(&key).map_or(0, |asked| asked.tails)
    }

    /// How an instance ended, if it was seen ended while its slot was there.
    #[must_use]
    pub fn end_of(&self, key: RunnerKey) -> Option<&Exit> {
        self.ends.get(&key)
    }

    /// What is known of the creation of an instance.
    #[must_use]
    pub fn creation(&self, key: RunnerKey) -> Option<&Creation> {
        self.creations.get(&key)
    }

    /// What a platform listed last.
    #[must_use]
    pub fn listing(&self, platform: &PlatformName) -> Option<&Listing> {
        self.platforms.get(platform)
    }

    /// The platforms that there are, with what each listed last.
    pub fn platforms(&self) -> impl Iterator<Item = (&PlatformName, &Listing)> {
        self.platforms.iter()
    }

    /// What a platform calls an instance, and which platform: from a listing or from the answer to its creation.
    #[must_use]
    pub fn instance(&self, key: RunnerKey) -> Option<(&PlatformName, &InstanceRef)> {
        let creation = self.creations.get(&key);
        let created = creation.and_then(|creation| Some((&creation.platform, creation.instance.as_ref()?)));
        self.listed(key).map(|(name, listed)| (name, &listed.instance)).or(created)
    }

    fn listed(&self, key: RunnerKey) -> Option<(&PlatformName, &Listed)> {
        self.platforms.iter().find_map(|(name, listing)| Some((name, listing.get(key)?)))
    }

    fn platform_of(&self, key: RunnerKey) -> Option<&PlatformName> {
        let created = self.creations.get(&key).map(|creation| &creation.platform);
        created.or_else(|| self.listed(key).map(|(name, _)| name))
    }

    /// What a replica is doing, for people.
    #[must_use]
    pub fn state_of(&self, slot: &Slot, timings: &Timings, now: Time) -> ReplicaState {
        if self.ends.contains_key(&slot.key) {
            return ReplicaState::Crashed;
        }
        let Some(seen) = self.seen.get(&slot.key) else {
            return match self.creations.get(&slot.key) {
                _ if slot.drain => ReplicaState::Draining,
                Some(_) => ReplicaState::Creating,
                None => ReplicaState::Waiting,
            };
        };
        match &seen.stage {
            Stage::Crashed(_) => ReplicaState::Crashed,
            _ if slot.drain => ReplicaState::Draining,
            _ if !seen.is_connected() || now >= seen.heard.plus(timings.lease) => ReplicaState::Disconnected,
            Stage::Starting => ReplicaState::Starting,
            Stage::Ready => ReplicaState::Ready,
            Stage::Draining | Stage::Drained => ReplicaState::Draining,
        }
    }

    /// Forgets what concerns neither a slot nor anything that a platform lists.
    fn forget(&mut self, desired: &Desired) {
        let listed = |key: &RunnerKey| self.platforms.values().any(|listing| listing.get(*key).is_some());
        let concerns = |key: &RunnerKey| desired.slots.contains_key(key) || listed(key);
        self.seen.retain(|key, _| concerns(key));
        self.ends.retain(|key, _| concerns(key));
        self.creations.retain(|key, _| concerns(key));
        self.asked.retain(|key, _| concerns(key));
    }
}

/// What a replica is doing, in the words that people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplicaState {
    /// Not created yet: its back-off runs.
    Waiting,
    /// Its platform was asked to create it.
    Creating,
    /// Its Runner registered.
    Starting,
    /// It serves.
    Ready,
    /// Its Runner is silent or away.
    Disconnected,
    /// It crashed or ended.
    Crashed,
    /// It is on its way out.
    Draining,
}

impl fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting",
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
            Self::Crashed => "crashed",
            Self::Draining => "draining",
        })
    }
}
