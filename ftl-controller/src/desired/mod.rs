//! Desired state: what is durable, as plain data. The Controller is its only writer.
//!
//! [`Desired`] is loaded from the [`store`](crate::store) once and then changed by the same [`Transaction`]s as the
//! store, each first durable there and then applied here. Nothing that was merely observed is ever written into it.

mod change;
mod ended;
mod transaction;

use std::collections::BTreeMap;

use ftl_core::digest::Digest;
use ftl_core::key::{ChangeId, DeploymentId, Epoch, RunnerKey};
use ftl_core::name::{ChangeRequest, ModuleName, PlatformName};

pub use change::DEADLINE_MAX;
pub use change::{Change, ChangeState, NewChange, Reason};
pub(crate) use ended::bounded;
pub use ended::{End, Ended, TAIL_BYTES_MAX, Why};
pub use transaction::{
    Applied, CHANGES_KEPT, ENDED_FULL_KEPT, ENDED_KEPT, Outcome, REQUEST_KEPT, Startup, Transaction,
};

use crate::time::Time;

/// What a replica is a replica of. Slots, wants, readiness and rows are counted per target.
///
/// The platform is part of it: a replica here is no replica there, or a module could "move" without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The version of the module.
    pub deployment: DeploymentId,
    /// Where it runs.
    pub platform: PlatformName,
}

impl Target {
    /// The module.
    #[must_use]
    pub fn module(&self) -> &ModuleName {
        self.deployment.module()
    }
}

/// So many replicas of one target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Want {
    /// Of what.
    pub target: Target,
    /// How many.
    pub replicas: u16,
}

/// A replaced version that stays ready to be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What, and how many.
    pub want: Want,
    /// From when on it is no longer wanted.
    pub until: Time,
}

/// One incarnation of one replica. Its row means "shall exist"; its deletion, "must not exist".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its identity, never reused.
    pub key: RunnerKey,
    /// What it runs, and where.
    pub target: Target,
    /// Whether it is on its way out. Never taken back.
    pub drain: bool,
    /// How often in a row its like was replaced: 0 for the first.
    pub attempts: u32,
    /// Not created earlier: the back-off.
    pub not_before: Time,
    /// When it was wanted.
    pub created_at: Time,
}

/// What was asked under a request id, so that asking again does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What was answered.
    pub change: ChangeId,
    /// The digest of what was asked.
    pub content: Digest,
    /// When.
    pub at: Time,
}

/// Everything durable but deployments and artefacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// This Controller's life.
    pub epoch: Epoch,
    /// The next key to be given out; every key below was given out before.
    pub next_key: RunnerKey,
    /// The next change's id.
    pub next_change: ChangeId,
    /// The next commit's number.
    pub next_commit: u64,
    /// What serves. Changed by a Commit only.
    pub serving: BTreeMap<ModuleName, Want>,
    /// What served before and can be taken back; at most one per module.
    pub kept: BTreeMap<ModuleName, Kept>,
    /// All changes that are remembered; final states never change.
    pub changes: BTreeMap<ChangeId, Change>,
    /// The replicas.
    pub slots: BTreeMap<RunnerKey, Slot>,
    /// How former replicas ended.
    pub ended: BTreeMap<RunnerKey, Ended>,
    /// Requests that are remembered.
    pub requests: BTreeMap<ChangeRequest, Request>,
}

impl Desired {
    /// The state of a store in which nothing was ever done.
    #[must_use]
    pub fn new() -> Self {
        Self {
            epoch: Epoch(0),
            next_key: RunnerKey(1),
            next_change: ChangeId(1),
            next_commit: 1,
            serving: BTreeMap::new(),
            kept: BTreeMap::new(),
            changes: BTreeMap::new(),
            slots: BTreeMap::new(),
            ended: BTreeMap::new(),
            requests: BTreeMap::new(),
        }
    }

    /// The slot of this key.
    #[must_use]
    pub fn slot(&self, key: RunnerKey) -> Option<&Slot> {
        self.slots.get(&key)
    }

    /// Whether this target serves its module.
    #[must_use]
    pub fn serves(&self, target: &Target) -> bool {
        self.serving.get(target.module()).is_some_and(|want| want.target == *target)
    }

    /// The slots of this target that are not on their way out, oldest first.
    pub fn staying<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = &'a Slot> {
        self.slots.values().filter(move |slot| !slot.drain && slot.target == *target)
    }

    /// The changes that are neither committed nor failed, oldest first.
    pub fn rolling(&self) -> impl Iterator<Item = &Change> {
        self.changes.values().filter(|change| change.state == ChangeState::Rolling)
    }
}

impl Default for Desired {
    fn default() -> Self {
        Self::new()
    }
}
