//! [`Local`]: the platform, in the mode that was chosen.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::controller::BoxStream;
use ftl_core::name::ClusterId;
use ftl_core::platform::{
    Capability, ClusterAccess, ClusterSpec, Created, Description, Health, InstanceRef, InstanceSpec,
    InstanceStatus, LogOptions, Platform, PlatformError, Probe, ReleaseOptions, Released, RemoveOptions,
    Wake,
};
use ftl_core::runner::OutputLine;

use crate::detached::Detached;
use crate::options::{Mode, Options};
use crate::tied::Tied;

/// What both modes can do.
const CAPABILITIES: [Capability; 10] = [
    Capability::Process,
    Capability::Kill,
    Capability::ExitCode,
    Capability::ExitSignal,
    Capability::Logs,
    Capability::LogsFollow,
    Capability::LogsSplit,
    Capability::LogsAfterExit,
    Capability::SecretFiles,
    Capability::ProgramBinary,
];

/// Runs Runners as processes of this machine.
#[derive(Debug)]
pub struct Local(Box<dyn Platform>);

impl Local {
    /// Makes the platform's directory, and what its mode needs.
    ///
    /// # Errors
    /// When the directory cannot be used, the thread of the tied mode cannot be started, or the system does not tell
    /// what the detached mode must know of processes.
    pub fn new(options: Options) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&options.directory)?;
        // What the kernel tells of processes is in paths without links.
        let directory = options.directory.canonicalize()?;
        let mut capabilities = CAPABILITIES.to_vec();
        if matches!(options.mode, Mode::Detached { .. }) {
            capabilities.extend([Capability::Adopt, Capability::Watch]);
        }
        let description =
            Description::new(options.name, vec![options.target]).with_capabilities(capabilities);
        Ok(Self(match options.mode {
            Mode::Tied => Box::new(Tied::new(description, directory)?),
            Mode::Detached { program, args } => {
                Box::new(Detached::new(description, directory, program, args)?)
            }
        }))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Local {
    fn describe(&self) -> &Description {
        self.0.describe()
    }

    async fn probe(&self, probe: Probe) -> Result<Health, PlatformError> {
        self.0.probe(probe).await
    }

    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        self.0.prepare(cluster).await
    }

    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        self.0.create_instance(spec).await
    }

    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        self.0.observe(cluster).await
    }

    async fn watch(&self, cluster: &ClusterId) -> Result<BoxStream<Wake>, PlatformError> {
        self.0.watch(cluster).await
    }

    async fn logs(
        &self,
        instance: &InstanceRef,
        options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
        self.0.logs(instance, options).await
    }

    async fn stop_instance(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError> {
        self.0.stop_instance(instance, grace).await
    }

    async fn remove_instance(
        &self,
        instance: &InstanceRef,
        options: RemoveOptions,
    ) -> Result<(), PlatformError> {
        self.0.remove_instance(instance, options).await
    }

    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError> {
        self.0.release(cluster, options).await
    }
}
