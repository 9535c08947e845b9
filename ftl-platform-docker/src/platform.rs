//! [`Docker`]: the contract of `Platform`, over an engine.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::controller::BoxStream;
use ftl_core::name::ClusterId;
use ftl_core::platform::{
    Capability, ClusterAccess, ClusterSpec, Created, Description, ErrorKind, Facts, Health, InstanceRef,
    InstanceSpec, InstanceStatus, LogOptions, Platform, PlatformError, Probe, ReleaseOptions, Released,
    RemoveOptions, Wake,
};
use ftl_core::runner::OutputLine;

use crate::backend::Backend;
use crate::options::Options;
use crate::sweep::Leftover;
use crate::{instances, logs, watch};

/// The least memory that the engine limits a container to.
const MEMORY_BYTES_MIN: u64 = 6 << 20;
/// The engine sets up networks one after the other; more at once only wait in it.
const CREATES_PARALLEL: usize = 4;

/// Runs Runners in containers of a Docker Engine.
///
/// Holds no state of its own: whatever it made is found again by labels, also by another process.
#[derive(Debug)]
pub struct Docker {
    description: Description,
    backend: Arc<Backend>,
}

impl Docker {
    /// A platform over the engine that these options lead to. Nothing is opened yet: an engine that is away is an error
    /// of the first request, and of none once it is there.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let description = Description::new(options.name.clone(), vec![options.target.clone()])
            .with_capabilities([
                Capability::Adopt,
                Capability::Process,
                Capability::Kill,
                Capability::KillTree,
                Capability::ExitCode,
                Capability::ExitSignal,
                Capability::ExitOom,
                Capability::Logs,
                Capability::LogsFollow,
                Capability::LogsSplit,
                Capability::LogsAfterExit,
                Capability::SecretFiles,
                Capability::Watch,
                Capability::LimitMemory,
                Capability::LimitCpu,
                Capability::LimitPids,
                Capability::Networks,
                Capability::ProgramBinary,
            ])
            .with_facts(facts());
        Self { description, backend: Arc::new(Backend::new(options)) }
    }

    /// What clusters have on the engine, found by label alone; also those that are in use.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, PlatformError> {
        self.backend.leftovers().await
    }

    /// Removes all that carries a cluster's label: its containers, its volumes, its network.
    ///
    /// # Errors
    /// When the engine cannot be asked. What could not be removed is named in the answer.
    pub async fn sweep(&self, cluster: &ClusterId) -> Result<Released, PlatformError> {
        self.backend.release(cluster, ReleaseOptions::with_instances()).await
    }

    /// Tags of the runner's image that no container uses.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn unused_images(&self) -> Result<Vec<String>, PlatformError> {
        self.backend.unused_images().await
    }

    /// Removes tags of the runner's image that no container uses, and says which. A create that needs one loads it again.
    ///
    /// # Errors
    /// When the engine cannot be asked, or keeps one for another reason than its use.
    pub async fn remove_unused_images(&self) -> Result<Vec<String>, PlatformError> {
        self.backend.remove_unused_images().await
    }
}

fn facts() -> Facts {
    // The engine's own number is not known before it was asked; it is this machine's, or it says so itself.
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut facts = Facts::default();
    facts.start_typical = Duration::from_secs(1);
    facts.memory_bytes = MEMORY_BYTES_MIN..=i64::MAX as u64;
    facts.cpu_millis = 10..=u32::try_from(processors).unwrap_or(u32::MAX).saturating_mul(1000);
    facts.creates_parallel = CREATES_PARALLEL;
    facts
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Docker {
    fn describe(&self) -> &Description {
        &self.description
    }

    async fn probe(&self, probe: Probe) -> Result<Health, PlatformError> {
        match probe {
            Probe::Ping => Ok(self.backend.ping().await),
            Probe::Canary => Ok(self.backend.canary().await),
            other => {
                let message = format!("docker cannot be looked at as {other:?}");
                Err(PlatformError::new(ErrorKind::Unsupported, message))
            }
        }
    }

    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        self.backend.prepare(cluster).await
    }

    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        let (backend, spec) = (self.backend.clone(), spec.clone());
        // A task, so that a caller who gives up does not leave a container that was created and never started, and so
        // that one who asks for the end meanwhile is heard.
        let creating = tokio::spawn(async move { backend.create(&spec).await });
        creating.await.unwrap_or_else(|error| {
            let error =
                PlatformError::new(ErrorKind::Internal, "an instance was not made").with_source(error);
            Err(error.with_unknown_effect())
        })
    }

    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        instances::observe(&self.backend.engine, cluster, &self.backend.seen).await
    }

    async fn watch(&self, cluster: &ClusterId) -> Result<BoxStream<Wake>, PlatformError> {
        watch::watch(self.backend.engine.clone(), cluster).await
    }

    async fn logs(
        &self,
        instance: &InstanceRef,
        options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
        let engine = self.backend.engine.clone();
        let Some(found) = instances::find(&engine, &instance.cluster, instance.runner).await? else {
            let message = format!("there is no instance of runner {}", instance.runner);
            return Err(PlatformError::new(ErrorKind::Missing, message));
        };
        logs::read(engine, &found.id, options).await
    }

    async fn stop_instance(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError> {
        self.backend.stop(instance, grace).await
    }

    async fn remove_instance(
        &self,
        instance: &InstanceRef,
        options: RemoveOptions,
    ) -> Result<(), PlatformError> {
        self.backend.remove(instance, options).await
    }

    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError> {
        self.backend.release(cluster, options).await
    }
}
