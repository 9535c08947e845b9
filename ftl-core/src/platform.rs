//! Where Runners live: [`Platform`] is what a backend implements, [`PlatformExt`] what its callers use.
//!
//! A platform knows nothing of schemas, routing or rollout. It turns an [`InstanceSpec`] into one running Runner
//! and tells what became of it; deciding is the Controller's.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::controller::BoxStream;
use crate::digest::{Digest, Hasher};
use crate::key::{DeploymentId, Epoch, RunnerKey};
use crate::name::{ClusterId, Language, PlatformName, TargetTriple};
use crate::runner::{OutputLine, Stream};
use crate::secret::Secret;
use crate::sequence::{Actor, Event};

/// The version of this contract.
pub const CONTRACT: u32 = 1;

/// Runs Runners on one kind of machine and tells what became of them. For implementors; callers use [`PlatformExt`].
///
/// # Contract
/// 1. Identity is `(cluster, runner)`: at most one live instance carries it. The Controller never reuses a key.
/// 2. Keep no state of your own: what is owned is found again by marks on the backend (labels, unit names, a
///    directory) that carry cluster, runner, generation, digest and language. A backend that does not claim
///    [`Capability::Adopt`] may keep its marks in memory.
/// 3. `observe` is the only truth: complete, or an error. An unreachable backend is never an empty list.
/// 4. Every `Err` says whether it may have taken effect ([`Effect`]); in doubt, `Unknown`.
/// 5. `boot` is secret: never in arguments, environment, names, labels, logs, errors or `Debug`.
/// 6. Never restart an instance: the Controller is the only supervisor.
/// 7. What is asked and cannot be enforced is refused with `Unsupported`, never ignored; what is not known is
///    `None`, never 0.
///
/// # Cancellation
/// Dropping a future may leave work under way. The caller observes and calls again; every method may be called
/// again.
#[async_trait]
pub trait Platform: fmt::Debug + Send + Sync + 'static {
    /// What this backend is and can do. Constant for this value, known before anything is planned; no I/O.
    fn describe(&self) -> &Description;

    /// Platform → Runner: **CreateInstance(language)**. Starts the Runner, which then dials the Controller with the
    /// secret in `spec.boot`.
    ///
    /// Same key and digest: `existed`; a half-made instance is completed, an ended one stays ended. Other digest:
    /// `Conflict`. A higher generation is there: `Stale`. Returns once durably accepted; what cannot start is seen
    /// later as [`InstanceState::Ended`] with `never_started`.
    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError>;

    /// Every instance of the cluster, of every generation, ended ones until they are removed. Reads its own writes.
    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError>;

    /// What an instance wrote, in order per stream, kept until its removal or up to [`Facts::log_bytes_kept`];
    /// losses are counted in `lost_bytes`. Ends at the present, or with `follow` when the instance has ended.
    async fn logs(
        &self,
        instance: &InstanceRef,
        options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError>;

    /// Ask to end; kill when `grace` is over (0 = now). May return once under way.
    ///
    /// Ended or unknown: `Ok`. A later call may only shorten. Valid before the program runs. The exit stays readable.
    async fn stop_instance(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError>;

    /// Forget an ended instance and free all that it held. Running: `Conflict`, unless `force` (kill first).
    /// Unknown key: `Ok`.
    async fn remove_instance(
        &self,
        instance: &InstanceRef,
        options: RemoveOptions,
    ) -> Result<(), PlatformError>;
}

/// What a platform is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// The name it is configured under.
    pub name: PlatformName,
    /// The version of [`Platform`] that it implements.
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

    /// Whether it claims this capability.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// What a platform can do.
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
    /// Output can be read.
    Logs,
    /// Output can be followed.
    LogsFollow,
    /// Standard output and standard error are told apart.
    LogsSplit,
    /// Output can still be read after the end.
    LogsAfterExit,
    /// The boot document is never visible in the backend's views.
    SecretFiles,
    /// It runs [`ProgramSource::Registered`].
    ProgramRegistered,
    /// It runs [`ProgramSource::Binary`].
    ProgramBinary,
}

/// Numbers to plan with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// How long a start usually takes.
    pub start_typical: Duration,
    /// How many creates may be under way at once.
    pub creates_parallel: usize,
    /// How much output of one instance is kept.
    pub log_bytes_kept: u64,
}

impl Default for Facts {
    fn default() -> Self {
        Self { start_typical: Duration::from_millis(500), creates_parallel: 4, log_bytes_kept: 256 << 10 }
    }
}

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
        Self { cluster, runner, language, generation, program, boot, env, labels }
    }

    /// What a message about it names: the deployment that it is for, or else the runner.
    #[must_use]
    pub fn about(&self) -> String {
        let deployment = self.labels.get("deployment").and_then(|id| id.parse::<DeploymentId>().ok());
        deployment.map_or_else(|| self.runner.to_string(), |id| id.short())
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
        hasher.finish()
    }
}

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
    /// The [`InstanceSpec::digest`] that it was made from.
    pub digest: Digest,
    /// The generation that made it.
    pub generation: Epoch,
    /// What it is doing.
    pub state: InstanceState,
}

impl InstanceStatus {
    /// Says what became of an instance.
    #[must_use]
    pub fn new(instance: InstanceRef, digest: Digest, generation: Epoch, state: InstanceState) -> Self {
        Self { instance, digest, generation, state }
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

/// How an instance ended; what a backend does not know is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exit {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
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
            (Some(code), _, None) => write!(f, "exited with code {code}"),
            (None, Some(signal), None) => write!(f, "killed by signal {signal}"),
            (None, None, None) => f.write_str("ended, cause unknown"),
        }
    }
}

/// Options of [`Platform::logs`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// At most so many of the newest lines.
    pub tail: Option<usize>,
    /// Go on until the instance ends.
    pub follow: bool,
}

impl LogOptions {
    /// The newest lines.
    #[must_use]
    pub fn tail(lines: usize) -> Self {
        Self { tail: Some(lines), follow: false }
    }
}

/// Options of [`Platform::remove_instance`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
}

impl RemoveOptions {
    /// Kill it first if it runs.
    #[must_use]
    pub fn forced() -> Self {
        Self { force: true }
    }
}

/// Whether a failed request may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Certainly nothing happened.
    None,
    /// Observe before anything else.
    Unknown,
}

/// The class of a platform's refusal; says what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A bad name, path or number. Never works.
    Invalid,
    /// Asked for what the backend cannot do. Never works.
    Unsupported,
    /// An image, a network, a binary is not there.
    Missing,
    /// The same key with another digest, or removal while running. Never works.
    Conflict,
    /// A higher generation acts. Stop acting.
    Stale,
    /// The same key is being worked on. Later.
    Busy,
    /// Quota, disk full. Later, slowly.
    Exhausted,
    /// An operator must allow it.
    Denied,
    /// The backend cannot be reached. Later.
    Unavailable,
    /// It took too long. Observe first.
    Timeout,
    /// A defect. Report it.
    Internal,
}

/// Why a platform did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct PlatformError {
    /// The class.
    pub kind: ErrorKind,
    /// Whether it may have taken effect.
    pub effect: Effect,
    /// One sentence for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The driver's own error.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl PlatformError {
    /// A refusal without effect.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, effect: Effect::None, message, hint: None, retry_after: None, source: None }
    }

    /// The same, of which it is not known whether it took effect.
    #[must_use]
    pub fn with_unknown_effect(mut self) -> Self {
        self.effect = Effect::Unknown;
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        self.effect == Effect::Unknown
            || matches!(
                self.kind,
                ErrorKind::Busy | ErrorKind::Exhausted | ErrorKind::Unavailable | ErrorKind::Timeout
            )
    }
}

/// What callers of a platform use: built on [`Platform`] alone, so that no backend can differ.
#[async_trait]
pub trait PlatformExt: Platform {
    /// Controller → Platform: **CreateRunner(language)**. Refuses what the description cannot do, creates, and when
    /// the answer was lost looks whether the instance is there.
    ///
    /// Still unseen is not "not there": call again with the same key.
    ///
    /// # Errors
    /// Those of [`Platform::create_instance`].
    async fn create_runner(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        let description = self.describe();
        let takes = |source: &ProgramSource| match source {
            ProgramSource::Registered(_) => description.can(Capability::ProgramRegistered),
            ProgramSource::Binary { .. } => description.can(Capability::ProgramBinary),
        };
        if !spec.program.iter().any(takes) {
            let message = format!("platform `{}` runs none of the runner's programs", description.name);
            return Err(PlatformError::new(ErrorKind::Unsupported, message));
        }
        Event::new(Actor::Controller, Actor::Platform, "CreateRunner", "ack", &spec.about()).record();
        let lost = match self.create_instance(spec).await {
            Err(error) if error.effect == Effect::Unknown => error,
            certain => return certain,
        };
        let seen = self.observe(&spec.cluster).await?;
        match seen.into_iter().find(|status| status.instance.runner == spec.runner) {
            Some(status) => Ok(Created::new(status.instance, true)),
            None => Err(lost),
        }
    }

    /// The last lines that an instance wrote, standard error last.
    ///
    /// # Errors
    /// Those of [`Platform::logs`].
    async fn tail(&self, instance: &InstanceRef, lines: usize) -> Result<Vec<String>, PlatformError> {
        let mut stream = self.logs(instance, LogOptions::tail(lines)).await?;
        let mut tail = Vec::new();
        while let Some(line) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            tail.push(line?);
        }
        tail.sort_by_key(|line| line.stream == Stream::Stderr);
        let from = tail.len().saturating_sub(lines);
        Ok(tail.drain(from..).map(|line| line.text).collect())
    }
}

impl<P: Platform + ?Sized> PlatformExt for P {}
