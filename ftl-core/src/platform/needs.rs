//! What a module asks of the machine that it runs on, and whether a platform can give it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Capability, Description};
use crate::digest::Hasher;
use crate::name::NetworkName;

/// What a module asks of the machine that it runs on; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Needs {
    /// What it may use at most.
    pub limits: Limits,
    /// Networks that are there already and that it joins. They are never made and never removed.
    pub networks: Vec<NetworkName>,
    /// What a platform cannot give is left out instead of refused.
    pub best_effort: bool,
}

/// What an instance may use at most; `None` is no limit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// Memory in bytes, swap and temporary files included.
    pub memory_bytes: Option<u64>,
    /// Processor time, in thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// Something that a platform cannot give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unmet {
    /// The platform does not claim to be able to.
    #[error("cannot do `{0}`")]
    Capability(Capability),
    /// The platform can, but not so much or so little.
    #[error("cannot give {asked} of {what}, only {range}")]
    OutOfRange {
        /// Of what.
        what: &'static str,
        /// How much was asked for.
        asked: u64,
        /// How much can be given.
        range: String,
    },
}

impl Needs {
    /// Whether nothing is asked.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The capabilities that these needs take.
    #[must_use]
    pub fn capabilities(&self) -> Vec<Capability> {
        let Limits { memory_bytes, cpu_millis, pids } = self.limits;
        let asked = [
            (memory_bytes.is_some(), Capability::LimitMemory),
            (cpu_millis.is_some(), Capability::LimitCpu),
            (pids.is_some(), Capability::LimitPids),
            (!self.networks.is_empty(), Capability::Networks),
        ];
        asked.into_iter().filter_map(|(asked, capability)| asked.then_some(capability)).collect()
    }

    /// What a platform of this description would be asked: all of it, or with `best_effort` what it can give.
    ///
    /// # Errors
    /// The first thing that it cannot give.
    ///
    /// ```
    /// use ftl_core::platform::{Capability, Description, Limits, Needs, Unmet};
    /// let local = Description::new("local".parse().unwrap(), vec![]);
    /// let mut needs = Needs::default();
    /// needs.limits.memory_bytes = Some(64 << 20);
    /// assert_eq!(needs.on(&local), Err(Unmet::Capability(Capability::LimitMemory)));
    /// needs.best_effort = true;
    /// assert_eq!(needs.on(&local).unwrap().limits, Limits::default());
    /// ```
    pub fn on(&self, platform: &Description) -> Result<Self, Unmet> {
        let mut asked = self.clone();
        for capability in self.capabilities() {
            if platform.can(capability) {
                continue;
            }
            if !self.best_effort {
                return Err(Unmet::Capability(capability));
            }
            match capability {
                Capability::LimitMemory => asked.limits.memory_bytes = None,
                Capability::LimitCpu => asked.limits.cpu_millis = None,
                Capability::LimitPids => asked.limits.pids = None,
                _ => asked.networks.clear(),
            }
        }
        let facts = &platform.facts;
        within(
            "memory in bytes",
            asked.limits.memory_bytes,
            *facts.memory_bytes.start()..=*facts.memory_bytes.end(),
        )?;
        let cpu = u64::from(*facts.cpu_millis.start())..=u64::from(*facts.cpu_millis.end());
        within("processor time in thousandths", asked.limits.cpu_millis.map(u64::from), cpu)?;
        Ok(asked)
    }

    pub(crate) fn hash(&self, hasher: &mut Hasher) {
        if self.is_nothing() {
            return;
        }
        let number = |number: Option<u64>| number.map_or([0; 9], tagged);
        hasher.field(&number(self.limits.memory_bytes));
        hasher.field(&number(self.limits.cpu_millis.map(u64::from)));
        hasher.field(&number(self.limits.pids.map(u64::from)));
        hasher.field(&[u8::from(self.best_effort)]);
        for network in &self.networks {
            hasher.field(network.as_str().as_bytes());
        }
    }
}

/// A number that differs from no number.
fn tagged(number: u64) -> [u8; 9] {
    let mut bytes = [1; 9];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn within(what: &'static str, asked: Option<u64>, range: std::ops::RangeInclusive<u64>) -> Result<(), Unmet> {
    match asked {
        Some(asked) if !range.contains(&asked) => {
            Err(Unmet::OutOfRange { what, asked, range: format!("{} to {}", range.start(), range.end()) })
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.memory_bytes.map(|bytes| format!("memory {bytes} bytes")));
        parts.extend(self.cpu_millis.map(|millis| format!("cpu {}", f64::from(millis) / 1000.0)));
        parts.extend(self.pids.map(|pids| format!("pids {pids}")));
        f.write_str(&parts.join(", "))
    }
}
