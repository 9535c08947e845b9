//! What a platform is and can do, as data to plan with.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CONTRACT;
use crate::name::{PlatformName, TargetTriple};

/// What a platform is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// The name it is configured under.
    pub name: PlatformName,
    /// The version of [`Platform`](super::Platform) that it implements.
    pub contract: u32,
    /// What it can do. Claimed: it must work. Not claimed: it must be refused.
    pub capabilities: Vec<Capability>,
    /// The triples of the programs that it runs.
    pub targets: Vec<TargetTriple>,
    /// Numbers to plan with.
    pub facts: Facts,
}

impl Description {
    /// Describes a backend that can do nothing special yet.
    #[must_use]
    pub fn new(name: PlatformName, targets: Vec<TargetTriple>) -> Self {
        Self { name, contract: CONTRACT, capabilities: Vec::new(), targets, facts: Facts::default() }
    }

    /// Claims these capabilities.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: impl Into<Vec<Capability>>) -> Self {
        self.capabilities = capabilities.into();
        self
    }

    /// With these numbers.
    #[must_use]
    pub fn with_facts(mut self, facts: Facts) -> Self {
        self.facts = facts;
        self
    }

    /// Whether it claims this capability.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// What a platform can do.
///
/// Written as in `limit_memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Capability {
    /// Instances and their exits outlive the Controller's process.
    Adopt,
    /// A crash hurts nobody else.
    Process,
    /// It can end an instance without its consent.
    Kill,
    /// All descendants of an instance too.
    KillTree,
    /// The exit code is known exactly.
    ExitCode,
    /// The signal is known exactly.
    ExitSignal,
    /// Whether memory ran out is known exactly.
    ExitOom,
    /// Output can be read.
    Logs,
    /// Output can be followed.
    LogsFollow,
    /// Standard output and standard error are told apart.
    LogsSplit,
    /// Output can still be read after the end.
    LogsAfterExit,
    /// It wakes whoever watches it; without, it is observed every [`Facts::observe_every`].
    Watch,
    /// It enforces [`Limits::memory_bytes`](super::Limits::memory_bytes).
    LimitMemory,
    /// It enforces [`Limits::cpu_millis`](super::Limits::cpu_millis).
    LimitCpu,
    /// It enforces [`Limits::pids`](super::Limits::pids).
    LimitPids,
    /// Instances can join networks that are there already.
    Networks,
    /// The boot document is never visible in the backend's views.
    SecretFiles,
    /// It runs [`ProgramSource::Registered`](super::ProgramSource::Registered).
    ProgramRegistered,
    /// It runs [`ProgramSource::Binary`](super::ProgramSource::Binary).
    ProgramBinary,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Numbers to plan with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// How long a start usually takes.
    pub start_typical: Duration,
    /// How often it is to be observed when nothing wakes the Controller.
    pub observe_every: Duration,
    /// The memory that an instance may be limited to, in bytes, least and most.
    pub memory_bytes: RangeInclusive<u64>,
    /// The processor time that an instance may be limited to, in thousandths of a processor, least and most.
    pub cpu_millis: RangeInclusive<u32>,
    /// How many creates may be under way at once.
    pub creates_parallel: usize,
    /// How much output of one instance is kept.
    pub log_bytes_kept: u64,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            start_typical: Duration::from_millis(500),
            observe_every: Duration::from_secs(5),
            memory_bytes: 0..=u64::MAX,
            cpu_millis: 1..=u32::MAX,
            creates_parallel: 4,
            log_bytes_kept: 256 << 10,
        }
    }
}
