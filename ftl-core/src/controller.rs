//! The Controller for those who deploy ([`Controller`]) and for those who operate ([`Operator`]).

use std::io;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::call::VerbService;
use crate::deployment::{DeploymentInfo, DeploymentSpec};
use crate::digest::Digest;
use crate::failure::Failure;
use crate::key::{ChangeId, DeploymentId, RunnerKey};
use crate::name::{ChangeRequest, ModuleName, PlatformName};
use crate::runner::OutputLine;
use crate::schema::Module;

/// A stream that somebody owns.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// Most replicas of one module in one change.
pub const REPLICAS_MAX: u16 = 100;

/// Why the Controller did not do what it was asked. Nothing changed, unless `Failed` says otherwise by its fate.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ControllerError {
    /// No such thing.
    #[error("no {what} `{name}`{}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    NotFound {
        /// What kind of thing.
        what: String,
        /// How it was called.
        name: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The deployment names artefacts that are not here.
    #[error("{} artefacts are missing: upload them first (GetArtefactDiffs names them)", .0.len())]
    MissingArtefacts(Vec<Digest>),
    /// The bytes are not what they were announced as.
    #[error(
        "the bytes have the digest {found}, not {expected} as announced; nothing was stored, send them again"
    )]
    Corrupt {
        /// What was announced.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Fewer or more bytes came than were announced.
    #[error("{found} bytes came where {expected} were announced; nothing was stored, send them again")]
    Truncated {
        /// What was announced.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A field of the request is wrong.
    #[error("{field}: {message}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// A newer Controller or session has taken over.
    #[error("a newer Controller or session has taken over")]
    Stale,
    /// The Runner's slot does not exist any more.
    #[error("this runner is no longer wanted")]
    Gone,
    /// The request id was used for something else.
    #[error("the request id `{0}` was already used for something else; take a new one")]
    Conflict(String),
    /// Not allowed.
    #[error("not allowed: {0}")]
    Denied(String),
    /// The two sides speak versions that do not fit; names both, and which to upgrade.
    #[error("{0}")]
    Incompatible(String),
    /// The caller did not prove who it is.
    #[error("not authenticated: {0}")]
    Unauthenticated(String),
    /// The Controller could not be reached, or did not answer.
    #[error("the Controller did not answer")]
    Failed(#[from] Failure),
    /// The store failed.
    #[error("the Controller's store failed: {0}")]
    Store(String),
}

/// The Controller for those who deploy.
#[async_trait]
pub trait Controller: VerbService {
    /// **GetArtefactDiffs** ⇒ those of the digests that are not here (missing_digests).
    async fn get_artefact_diffs(&self, digests: &[Digest]) -> Result<Vec<Digest>, ControllerError>;

    /// **UploadArtefact** ⇒ digest. Durable when it returns; idempotent. `size` is the number of bytes to come.
    async fn upload_artefact(
        &self,
        digest: Digest,
        size: u64,
        body: BoxStream<io::Result<Bytes>>,
    ) -> Result<Digest, ControllerError>;

    /// **CreateDeployment** ⇒ id. Durable when it returns; starts nothing. Equal content, equal id.
    async fn create_deployment(&self, spec: DeploymentSpec) -> Result<DeploymentId, ControllerError>;

    /// **GetDeployment(id)** ⇒ schema.
    async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError>;
}

/// What one module shall be after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Exactly this deployment.
    pub deployment: DeploymentId,
    /// Here.
    pub platform: PlatformName,
    /// So often, 1 to [`REPLICAS_MAX`].
    pub replicas: u16,
}

/// A change: all its modules switch together, or none does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangeSpec {
    /// Asking twice under one id asks once.
    pub request: ChangeRequest,
    /// What is wanted; each module at most once.
    pub wanted: Vec<Wanted>,
    /// How long it may take before it fails and leaves the old version serving; `None`: the Controller's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
}

impl ChangeSpec {
    /// A change with the Controller's default deadline.
    #[must_use]
    pub fn new(request: ChangeRequest, wanted: Vec<Wanted>) -> Self {
        Self { request, wanted, deadline: None }
    }
}

/// Where a change stands. The last two are final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeState {
    /// Its replicas are being started; the old version serves.
    Rolling,
    /// It serves.
    Committed,
    /// It was given up; the old version serves.
    Failed {
        /// Why: `deadline`, `crash loop`, `superseded`, or a platform's refusal.
        reason: String,
    },
}

/// How a change is getting on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangeStatus {
    /// Which change.
    pub id: ChangeId,
    /// Grows with everything that is new; give it to the next question.
    pub seen: u64,
    /// Where it stands.
    pub state: ChangeState,
    /// Its modules.
    pub modules: Vec<ModuleStatus>,
}

impl ChangeStatus {
    /// Says how a change is getting on.
    #[must_use]
    pub fn new(id: ChangeId, seen: u64, state: ChangeState, modules: Vec<ModuleStatus>) -> Self {
        Self { id, seen, state, modules }
    }
}

/// What a module is meant to be, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModuleStatus {
    /// The module.
    pub module: ModuleName,
    /// The deployment that is wanted.
    pub deployment: DeploymentId,
    /// Where.
    pub platform: PlatformName,
    /// How many replicas are wanted.
    pub desired: u16,
    /// How many are routed to.
    pub ready: u16,
    /// How many replicas were replaced since it was deployed.
    pub restarts: u32,
    /// Seconds since the deployment was first wanted.
    pub age_s: u64,
    /// Why the last replica ended, with the last lines that it wrote.
    pub last_error: Option<String>,
    /// What is wrong with its platform: replicas that run go on, and none is started or ended until it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_trouble: Option<PlatformTrouble>,
    /// What each replica is doing.
    #[serde(default)]
    pub replicas: Vec<ReplicaStatus>,
}

impl ModuleStatus {
    /// A module of which nothing runs yet.
    #[must_use]
    pub fn new(wanted: &Wanted) -> Self {
        Self {
            module: wanted.deployment.module().clone(),
            deployment: wanted.deployment.clone(),
            platform: wanted.platform.clone(),
            desired: wanted.replicas,
            ready: 0,
            restarts: 0,
            age_s: 0,
            last_error: None,
            platform_trouble: None,
            replicas: Vec::new(),
        }
    }
}

/// What one replica is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Its runner.
    pub runner: RunnerKey,
    /// `waiting`, `creating`, `starting`, `ready`, `disconnected`, `crashed`, `draining`.
    pub state: String,
    /// Where it is found on its platform: a container's name, a process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// A platform that cannot be reached or does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlatformTrouble {
    /// For how many seconds already.
    pub since_s: u64,
    /// Its newest words.
    pub why: String,
}

impl PlatformTrouble {
    /// Says what is wrong.
    pub fn new(since_s: u64, why: impl Into<String>) -> Self {
        Self { since_s, why: why.into() }
    }
}

impl ReplicaStatus {
    /// Says what a replica is doing.
    pub fn new(runner: RunnerKey, state: impl Into<String>) -> Self {
        Self { runner, state: state.into(), place: None }
    }
}

/// Which output is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogQuery {
    /// Of this module only.
    #[serde(default)]
    pub module: Option<ModuleName>,
    /// At most so many of the newest lines.
    #[serde(default)]
    pub tail: Option<u32>,
    /// Whether to go on with what comes.
    #[serde(default)]
    pub follow: bool,
}

impl LogQuery {
    /// Everything that is kept.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Of this module only.
    #[must_use]
    pub fn of_module(mut self, module: ModuleName) -> Self {
        self.module = Some(module);
        self
    }

    /// At most so many of the newest lines.
    #[must_use]
    pub fn with_tail(mut self, lines: u32) -> Self {
        self.tail = Some(lines);
        self
    }

    /// And what comes.
    #[must_use]
    pub fn following(mut self) -> Self {
        self.follow = true;
        self
    }
}

/// A line of a module's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogLine {
    /// The module.
    pub module: ModuleName,
    /// The replica.
    pub runner: RunnerKey,
    /// The line.
    pub line: OutputLine,
}

impl LogLine {
    /// A line of this replica.
    #[must_use]
    pub fn new(module: ModuleName, runner: RunnerKey, line: OutputLine) -> Self {
        Self { module, runner, line }
    }
}

/// The Controller for those who operate.
#[async_trait]
pub trait Operator: Controller {
    /// Starts a change. Durable when it returns; idempotent by its request id.
    async fn apply(&self, change: ChangeSpec) -> Result<ChangeId, ControllerError>;

    /// Answers when something newer than `newer_than` is known, or after at most 20 s with what is known.
    async fn change_status(&self, id: ChangeId, newer_than: u64) -> Result<ChangeStatus, ControllerError>;

    /// Every module that is wanted, ordered by name.
    async fn status(&self) -> Result<Vec<ModuleStatus>, ControllerError>;

    /// The schema of every module that is wanted, ordered by name.
    async fn schemas(&self) -> Result<Vec<Module>, ControllerError>;

    /// Output of the deployments, oldest first.
    async fn logs(
        &self,
        query: LogQuery,
    ) -> Result<BoxStream<Result<LogLine, ControllerError>>, ControllerError>;
}
