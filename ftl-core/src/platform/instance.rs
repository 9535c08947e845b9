//! What a platform tells of its instances.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::key::{Epoch, RunnerKey};
use crate::name::ClusterId;

/// One instance, found again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct InstanceRef {
    /// Whose it is.
    pub cluster: ClusterId,
    /// Which one.
    pub runner: RunnerKey,
    /// What the backend calls it: a process id, a container id.
    pub native: String,
}

impl InstanceRef {
    /// Names an instance.
    pub fn new(cluster: ClusterId, runner: RunnerKey, native: impl Into<String>) -> Self {
        Self { cluster, runner, native: native.into() }
    }
}

/// The answer to `create_instance`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// The instance.
    pub instance: InstanceRef,
    /// Whether it was there before.
    pub existed: bool,
}

impl Created {
    /// Created, or found.
    #[must_use]
    pub fn new(instance: InstanceRef, existed: bool) -> Self {
        Self { instance, existed }
    }
}

/// What became of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// Which one.
    pub instance: InstanceRef,
    /// The [`InstanceSpec::digest`](super::InstanceSpec::digest) that it was made from.
    pub digest: Digest,
    /// The generation that made it.
    pub generation: Epoch,
    /// What it is doing.
    pub state: InstanceState,
    /// Where people find it on the backend: a container's name, a process id.
    pub place: Option<String>,
}

impl InstanceStatus {
    /// Says what became of an instance.
    #[must_use]
    pub fn new(instance: InstanceRef, digest: Digest, generation: Epoch, state: InstanceState) -> Self {
        Self { instance, digest, generation, state, place: None }
    }

    /// And where people find it.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Whether it ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.state.is_ended()
    }
}

/// What an instance is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstanceState {
    /// Accepted, not started.
    Pending,
    /// Its program was started and has not ended.
    Running,
    /// It was asked to end.
    Stopping,
    /// It ended, and stays ended.
    Ended(Exit),
    /// The backend cannot tell.
    Unknown {
        /// Why.
        why: String,
    },
}

impl InstanceState {
    /// Whether it ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// How an instance ended; what a backend does not know is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exit {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it was killed because its memory ran out.
    #[serde(default)]
    pub oom: Option<bool>,
    /// Whether it was asked to end.
    pub asked: bool,
    /// Its program never ran.
    pub never_started: bool,
    /// The backend's own words.
    pub message: Option<String>,
}

impl Exit {
    /// An end of which nothing is known but whether it was asked for.
    #[must_use]
    pub fn new(asked: bool) -> Self {
        Self { asked, ..Self::default() }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal, &self.message) {
            (_, _, Some(message)) => f.write_str(message),
            _ if self.oom == Some(true) => f.write_str("killed: its memory ran out"),
            (Some(code), _, None) => write!(f, "exited with code {code}"),
            (None, Some(signal), None) => write!(f, "killed by signal {signal}"),
            (None, None, None) => f.write_str("ended, cause unknown"),
        }
    }
}
