//! A platform whose instances live in this process.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::lock;
use crate::boot::Boot;
use crate::controller::BoxStream;
use crate::key::RunnerKey;
use crate::name::{ClusterId, PlatformName};
use crate::platform::{
    Capability, ClusterAccess, ClusterSpec, Created, Description, ErrorKind, Exit, Health, InstanceRef,
    InstanceSpec, InstanceState, InstanceStatus, LogOptions, Platform, PlatformError, Probe, ProgramSource,
    ReleaseOptions, Released, RemoveOptions, Wake,
};
use crate::runner::OutputLine;
use crate::sequence::{Actor, Event};

/// Starts a Runner in this process: it registers with the Controller that its boot document names.
pub trait Launch: fmt::Debug + Send + Sync + 'static {
    /// Starts it; an error is why its program never ran.
    fn launch(&self, boot: Boot) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// Runs registered programs in this process.
pub struct MemoryPlatform {
    description: Description,
    program: String,
    launch: Arc<dyn Launch>,
    instances: Mutex<BTreeMap<(ClusterId, RunnerKey), InstanceStatus>>,
}

impl MemoryPlatform {
    /// A platform that runs one program, registered as `program`.
    #[must_use]
    pub fn new(name: PlatformName, program: &str, launch: Arc<dyn Launch>) -> Self {
        let description = Description::new(name, Vec::new()).with_capabilities([
            Capability::ProgramRegistered,
            Capability::Kill,
            Capability::SecretFiles,
        ]);
        Self { description, program: program.to_owned(), launch, instances: Mutex::default() }
    }

    /// The answer to a second create, if there was a first.
    fn enter(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        let mut instances = lock(&self.instances);
        let instance = InstanceRef::new(spec.cluster.clone(), spec.runner, spec.runner.to_string());
        let key = (spec.cluster.clone(), spec.runner);
        let Some(known) = instances.get(&key) else {
            let state = InstanceState::Running;
            let status = InstanceStatus::new(instance.clone(), spec.digest(), spec.generation, state);
            instances.insert(key, status);
            return Ok(Created::new(instance, false));
        };
        if spec.generation < known.generation {
            return Err(PlatformError::new(ErrorKind::Stale, "a newer Controller made this instance"));
        }
        if spec.digest() != known.digest {
            let message = format!("runner {} exists with another specification", spec.runner);
            return Err(PlatformError::new(ErrorKind::Conflict, message));
        }
        Ok(Created::new(instance, true))
    }

    fn set(&self, instance: &InstanceRef, state: InstanceState) {
        let key = (instance.cluster.clone(), instance.runner);
        if let Some(known) = lock(&self.instances).get_mut(&key) {
            known.state = state;
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for MemoryPlatform {
    fn describe(&self) -> &Description {
        &self.description
    }

    async fn probe(&self, _probe: Probe) -> Result<Health, PlatformError> {
        Ok(Health::Ok)
    }

    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        Ok(ClusterAccess::new(cluster.listening.clone()))
    }

    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        let registered = ProgramSource::Registered(self.program.clone());
        if !spec.program.contains(&registered) {
            let message = format!("this platform runs `{}` only", self.program);
            return Err(PlatformError::new(ErrorKind::Missing, message));
        }
        let boot = Boot::from_document(spec.boot.expose())
            .map_err(|error| PlatformError::new(ErrorKind::Invalid, error.to_string()))?;
        let created = self.enter(spec)?;
        if !created.existed {
            Event::new(Actor::Platform, Actor::Runner, "CreateInstance", "ack", &spec.about()).record();
            if let Err(why) = self.launch.launch(boot).await {
                let mut exit = Exit::new(false);
                (exit.never_started, exit.message) = (true, Some(why));
                self.set(&created.instance, InstanceState::Ended(exit));
            }
        }
        Ok(created)
    }

    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        let instances = lock(&self.instances);
        Ok(instances.iter().filter(|((of, _), _)| of == cluster).map(|(_, status)| status.clone()).collect())
    }

    async fn watch(&self, _cluster: &ClusterId) -> Result<BoxStream<Wake>, PlatformError> {
        Err(PlatformError::new(ErrorKind::Unsupported, "this platform wakes nobody").with_hint("observe it"))
    }

    async fn logs(
        &self,
        _instance: &InstanceRef,
        _options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
        let message = "output of this process cannot be told apart by instance";
        Err(PlatformError::new(ErrorKind::Unsupported, message))
    }

    async fn stop_instance(&self, instance: &InstanceRef, _grace: Duration) -> Result<(), PlatformError> {
        self.set(instance, InstanceState::Ended(Exit::new(true)));
        Ok(())
    }

    async fn remove_instance(
        &self,
        instance: &InstanceRef,
        options: RemoveOptions,
    ) -> Result<(), PlatformError> {
        let key = (instance.cluster.clone(), instance.runner);
        let mut instances = lock(&self.instances);
        let ended = |status: &InstanceStatus| matches!(status.state, InstanceState::Ended(_));
        if !options.force && instances.get(&key).is_some_and(|status| !ended(status)) {
            let message = format!("runner {} is still running", instance.runner);
            return Err(PlatformError::new(ErrorKind::Conflict, message).with_hint("stop it first"));
        }
        instances.remove(&key);
        Ok(())
    }

    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError> {
        let mut released = Released::nothing();
        if options.instances_too {
            lock(&self.instances).retain(|(of, runner), _| {
                let removed = of == cluster;
                if removed {
                    released.removed.push(format!("instance {runner}"));
                }
                !removed
            });
        }
        Ok(released)
    }
}

impl fmt::Debug for MemoryPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPlatform").field("name", &self.description.name).finish_non_exhaustive()
    }
}
