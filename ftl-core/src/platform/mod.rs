//! Where Runners live: [`Platform`] is what a backend implements, [`PlatformExt`] what its callers use.
//!
//! A platform knows nothing of schemas, routing or rollout. It turns an [`InstanceSpec`] into one running Runner
//! and tells what became of it; deciding is the Controller's.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::controller::BoxStream;
use crate::name::ClusterId;
use crate::runner::{OutputLine, Stream};
use crate::sequence::{Actor, Event};

mod cluster;
mod description;
mod error;
mod instance;
mod needs;
mod options;
mod spec;

pub use cluster::{ALIVE_EVERY, ClusterAccess, ClusterSpec, Health, Probe, Released, Wake};
pub use description::{Capability, Description, Facts};
pub use error::{Effect, ErrorKind, PlatformError};
pub use instance::{Created, Exit, InstanceRef, InstanceState, InstanceStatus};
pub use needs::{Limits, Needs, Unmet};
pub use options::{LogOptions, ReleaseOptions, RemoveOptions};
pub use spec::{InstanceSpec, ProgramSource};

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

    /// Whether the backend can work now.
    async fn probe(&self, probe: Probe) -> Result<Health, PlatformError>;

    /// Ensures what instances of a cluster share (a network, an uploaded program), and says how they reach the
    /// Controller. Asked at its start, and again after each [`ErrorKind::Missing`]; harmless beside running instances.
    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError>;

    /// Platform → Runner: **CreateInstance(language)**. Starts the Runner, which then dials the Controller with the
    /// secret in `spec.boot`.
    ///
    /// Same key and digest: `existed`; a half-made instance is completed, an ended one stays ended. Other digest:
    /// `Conflict`. A higher generation is there: `Stale`. Returns once durably accepted; what cannot start is seen
    /// later as [`InstanceState::Ended`] with `never_started`.
    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError>;

    /// Every instance of the cluster, of every generation, ended ones until they are removed. Reads its own writes.
    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError>;

    /// Reasons to observe again: [`Wake::Subscribed`] first and at once. They may merge, repeat and get lost; the end of
    /// the stream is a reason too. `Unsupported` without [`Capability::Watch`].
    async fn watch(&self, cluster: &ClusterId) -> Result<BoxStream<Wake>, PlatformError>;

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

    /// Undoes `prepare`, once no instance needs it; asked to, ends and removes every instance of the cluster first.
    /// What could not be removed is named in the answer, and no error.
    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError>;
}

/// What callers of a platform use: built on [`Platform`] alone, so that no backend can differ.
#[async_trait]
pub trait PlatformExt: Platform {
    /// Controller → Platform: **CreateRunner(language)**. Refuses what the description cannot do, creates, and when
    /// the answer was lost looks whether the instance is there.
    ///
    /// Still unseen is not "not there", and seen but not started is only half made: call again with the same key.
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
        // A system takes `A=B` for the variable `A`, or for none at all.
        if let Some(name) = spec.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            let message = format!("{name:?} cannot name a variable");
            return Err(PlatformError::new(ErrorKind::Invalid, message).with_hint("leave out `=` and NUL"));
        }
        let mut spec = spec.clone();
        spec.needs = spec.needs.on(description).map_err(|unmet| {
            let message = format!("platform `{}` {unmet}", description.name);
            PlatformError::new(ErrorKind::Unsupported, message)
        })?;
        Event::new(Actor::Controller, Actor::Platform, "CreateRunner", "ack", &spec.about()).record();
        let lost = match self.create_instance(&spec).await {
            Err(error) if error.effect == Effect::Unknown => error,
            certain => return certain,
        };
        let seen = self.observe(&spec.cluster).await?;
        match seen.into_iter().find(|status| status.instance.runner == spec.runner) {
            Some(status) if status.state != InstanceState::Pending => Ok(Created::new(status.instance, true)),
            _ => Err(lost),
        }
    }

    /// Ends and removes every instance of a cluster, one after the other, without asking them first: what `release` does
    /// with instances, for a backend whose instances share nothing.
    ///
    /// # Errors
    /// When they cannot be listed. What could not be removed is named in the answer.
    async fn remove_all(&self, cluster: &ClusterId) -> Result<Released, PlatformError> {
        let mut released = Released::nothing();
        for status in self.observe(cluster).await? {
            let runner = status.instance.runner;
            match self.remove_instance(&status.instance, RemoveOptions::forced()).await {
                Ok(()) => released.removed.push(format!("instance {runner}")),
                Err(error) => released.left.push(format!("instance {runner}: {error}")),
            }
        }
        Ok(released)
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
