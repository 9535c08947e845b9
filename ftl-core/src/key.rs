//! Identities and counters that the system mints.
//!
//! Numbers that only grow are the fences of the control plane: whoever carries a smaller one is late or dead.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::ModuleName;

/// Defines a counter.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )* };
}

counters! {
    /// One incarnation of one replica. Minted by the Controller's durable counter and never reused.
    RunnerKey;
    /// One life of a Controller over its store; grows with each start. A lower one is refused everywhere.
    Epoch;
    /// One connection of one Runner, as the Controller numbers them; grows.
    Session;
    /// One deploy, rollback or scale.
    ChangeId;
}

/// Drawn at random once per Runner process: tells two processes with one [`RunnerKey`] apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instance(pub [u8; 16]);

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One running replica: the key that the Controller minted and the process that answered to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replica {
    /// Which slot.
    pub runner: RunnerKey,
    /// Which process.
    pub instance: Instance,
}

/// The version of a route table; compares by epoch first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableVersion {
    /// The Controller's life that published it.
    pub epoch: Epoch,
    /// Its number within that life.
    pub seq: u64,
}

impl TableVersion {
    /// Before anything was published.
    pub const NONE: Self = Self { epoch: Epoch(0), seq: 0 };
}

/// One immutable version of a module: its name and the digest of everything that it is made of.
///
/// Shown to people in short, `greeter-91c0f3ab12de`; the digest is kept whole.
///
/// ```
/// use ftl_core::{Digest, key::DeploymentId};
/// let id = DeploymentId::new("greeter".parse().unwrap(), Digest::of(b"all of it"));
/// assert_eq!(id.to_string().parse::<DeploymentId>().unwrap(), id);
/// assert_eq!(id.short().len(), "greeter-".len() + 12);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeploymentId {
    module: ModuleName,
    digest: Digest,
}

impl DeploymentId {
    /// The deployment of this module with this content.
    #[must_use]
    pub fn new(module: ModuleName, digest: Digest) -> Self {
        Self { module, digest }
    }

    /// The module.
    #[must_use]
    pub fn module(&self) -> &ModuleName {
        &self.module
    }

    /// The digest of the content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The form for people: the module and twelve digits.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}-{}", self.module, self.digest.short())
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.module, self.digest)
    }
}

impl fmt::Debug for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// A text that is not a deployment id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a deployment id: write the module, `-` and 64 hexadecimal digits")]
pub struct DeploymentIdError(String);

impl FromStr for DeploymentId {
    type Err = DeploymentIdError;
    fn from_str(text: &str) -> Result<Self, DeploymentIdError> {
        let refused = || DeploymentIdError(text.chars().take(200).collect());
        let (module, digest) = text.rsplit_once('-').ok_or_else(refused)?;
        Ok(Self {
            module: module.parse().map_err(|_| refused())?,
            digest: digest.parse().map_err(|_| refused())?,
        })
    }
}

impl Serialize for DeploymentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeploymentId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
