//! What a platform is asked to start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ErrorKind, Needs, PlatformError};
use crate::digest::{Digest, Hasher};
use crate::key::{DeploymentId, Epoch, RunnerKey};
use crate::name::{ClusterId, Language};
use crate::secret::Secret;

/// Where the program that an instance runs comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramSource {
    /// A function of this process, by the name under which the backend knows it.
    Registered(String),
    /// An executable file of the machine that runs the Controller.
    Binary {
        /// Where it is.
        path: PathBuf,
        /// Its arguments.
        args: Vec<String>,
    },
}

/// What to start: the Runner for one replica of one deployment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstanceSpec {
    /// Whose instance it is.
    pub cluster: ClusterId,
    /// Its identity in the cluster.
    pub runner: RunnerKey,
    /// What it is to run.
    pub language: Language,
    /// The Controller's life that asks.
    pub generation: Epoch,
    /// The Runner's program: the first source that the backend takes.
    pub program: Vec<ProgramSource>,
    /// The boot document.
    pub boot: Secret,
    /// Environment, besides `FTL_BOOT`.
    pub env: BTreeMap<String, String>,
    /// For people who look at the backend: module, deployment.
    pub labels: BTreeMap<String, String>,
    /// What it asks of the machine.
    pub needs: Needs,
}

impl InstanceSpec {
    /// A specification without environment and labels.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        runner: RunnerKey,
        language: Language,
        generation: Epoch,
        program: Vec<ProgramSource>,
        boot: Secret,
    ) -> Self {
        let (env, labels) = (BTreeMap::new(), BTreeMap::new());
        Self { cluster, runner, language, generation, program, boot, env, labels, needs: Needs::default() }
    }

    /// The first program that is an executable file, with its arguments.
    #[must_use]
    pub fn binary(&self) -> Option<(&Path, &[String])> {
        self.program.iter().find_map(|source| match source {
            ProgramSource::Binary { path, args } => Some((path.as_path(), args.as_slice())),
            ProgramSource::Registered(_) => None,
        })
    }

    /// What a message about it names: the deployment that it is for, or else the runner.
    #[must_use]
    pub fn about(&self) -> String {
        let deployment = self.labels.get("deployment").and_then(|id| id.parse::<DeploymentId>().ok());
        deployment.map_or_else(|| self.runner.to_string(), |id| id.short())
    }

    /// Whether an instance that is there under this key, made by that generation from that digest, is the one that is
    /// asked for.
    ///
    /// # Errors
    /// [`Stale`](ErrorKind::Stale) when a newer Controller made it, [`Conflict`](ErrorKind::Conflict) when it was made
    /// from something else.
    pub fn check_again(&self, generation: Epoch, digest: Digest) -> Result<(), PlatformError> {
        if self.generation < generation {
            let message = format!("runner {} was made by generation {generation}", self.runner);
            return Err(PlatformError::new(ErrorKind::Stale, message));
        }
        if self.digest() != digest {
            let message = format!("runner {} exists with another specification", self.runner);
            return Err(PlatformError::new(ErrorKind::Conflict, message));
        }
        Ok(())
    }

    /// The digest of everything but generation and boot: a retry with other boot bytes is the same instance.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        hasher.field(b"ftl instance 1");
        hasher.field(self.cluster.as_str().as_bytes());
        hasher.field(&self.runner.0.to_le_bytes());
        hasher.field(self.language.as_str().as_bytes());
        for source in &self.program {
            hasher.field(format!("{source:?}").as_bytes());
        }
        for map in [&self.env, &self.labels] {
            hasher.field(&(map.len() as u64).to_le_bytes());
            for (key, value) in map {
                hasher.field(key.as_bytes());
                hasher.field(value.as_bytes());
            }
        }
        self.needs.hash(&mut hasher);
        hasher.finish()
    }
}
