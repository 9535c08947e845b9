//! [`Local`]: the contract of `Platform`, over the instances of this process.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::controller::BoxStream;
use ftl_core::key::RunnerKey;
use ftl_core::name::{ClusterId, PlatformName, TargetTriple};
use ftl_core::platform::{
    Capability, ClusterAccess, ClusterSpec, Created, Description, ErrorKind, Health, InstanceRef,
    InstanceSpec, InstanceState, InstanceStatus, LogOptions, Platform, PlatformError, Probe, ReleaseOptions,
    Released, RemoveOptions, Wake,
};
use ftl_core::runner::OutputLine;
use ftl_core::sequence::{Actor, Event};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::instance::Instance;
use crate::output::Output;
use crate::spawner::{Start, start_thread};

/// How long a forced removal waits for a killed instance: the kernel ends it at once unless it hangs in a driver.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// Lines that wait for a reader of logs; a slower reader slows down nobody but itself.
const LOG_QUEUE: usize = 64;

/// How a [`Local`] is configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The name it is known under; `local` by default.
    pub name: PlatformName,
    /// Where instances have their directories; made if it is not there.
    pub directory: PathBuf,
    /// The triple of the programs of this machine.
    pub target: TargetTriple,
}

impl Options {
    /// Instances below `directory`, of programs for `target`, under the given name.
    #[must_use]
    pub fn new(name: PlatformName, directory: PathBuf, target: TargetTriple) -> Self {
        Self { name, directory, target }
    }
}

/// Runs Runners as child processes that end with this process.
#[derive(Debug)]
pub struct Local {
    description: Description,
    directory: PathBuf,
    instances: Mutex<BTreeMap<(ClusterId, RunnerKey), Instance>>,
    starts: mpsc::Sender<Start>,
}

impl Local {
    /// Makes the platform's directory and starts the thread that starts instances.
    ///
    /// # Errors
    /// When the directory or the thread cannot be made.
    pub fn new(options: Options) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.directory)?;
        let description = Description::new(options.name, vec![options.target]).with_capabilities([
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
        ]);
        let directory = options.directory.canonicalize()?;
        Ok(Self { description, directory, instances: Mutex::default(), starts: start_thread()? })
    }

    fn instances(&self) -> MutexGuard<'_, BTreeMap<(ClusterId, RunnerKey), Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, reference: &InstanceRef) -> Option<Instance> {
        self.instances().get(&(reference.cluster.clone(), reference.runner)).cloned()
    }

    /// Removes what instances of former processes left: they ended with those, their directories did not.
    fn remove_former(&self, cluster: &ClusterId, released: &mut Released) {
        let instances = self.instances();
        let ours: Vec<&PathBuf> = instances.values().map(|instance| &instance.directory).collect();
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| is_of(path, cluster)) {
            if ours.contains(&&path) {
                continue;
            }
            match fs::remove_dir_all(&path) {
                Ok(()) => released.removed.push(format!("directory {}", path.display())),
                Err(error) => released.left.push(format!("directory {}: {error}", path.display())),
            }
        }
    }

    /// The instance of this key, and whether this call made it.
    fn enter(&self, spec: &InstanceSpec) -> Result<(Created, Option<Instance>), PlatformError> {
        let mut instances = self.instances();
        let key = (spec.cluster.clone(), spec.runner);
        if let Some(known) = instances.get(&key) {
            return Ok((known.again(spec)?, None));
        }
        let directory = self.directory.join(format!("{}-{}", spec.cluster, spec.runner));
        let instance = Instance::new(spec, directory, self.description.facts.log_bytes_kept);
        let created = Created::new(instance.reference.clone(), false);
        instances.insert(key, instance.clone());
        Ok((created, Some(instance)))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Local {
    fn describe(&self) -> &Description {
        &self.description
    }

    async fn probe(&self, _probe: Probe) -> Result<Health, PlatformError> {
        Ok(match tokio::fs::metadata(&self.directory).await {
            Ok(_) => Health::Ok,
            Err(error) => {
                Health::Down { why: format!("{} cannot be used: {error}", self.directory.display()) }
            }
        })
    }

    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        Ok(ClusterAccess::new(cluster.listening.clone()))
    }

    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        // First a place, then the entry: a call that is given up in between must not leave one that never starts.
        let place = self.starts.reserve().await;
        let (created, fresh) = self.enter(spec)?;
        if let Some(instance) = fresh {
            Event::new(Actor::Platform, Actor::Runner, "CreateInstance", "ack", &spec.about()).record();
            match place {
                Ok(place) => place.send(Start { spec: spec.clone(), instance }),
                Err(_) => instance.never_started("the platform is shutting down".to_owned()),
            }
        }
        Ok(created)
    }

    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        let instances = self.instances();
        Ok(instances
            .iter()
            .filter(|((of, _), _)| of == cluster)
            .map(|(_, instance)| instance.status())
            .collect())
    }

    async fn watch(&self, _cluster: &ClusterId) -> Result<BoxStream<Wake>, PlatformError> {
        Err(PlatformError::new(ErrorKind::Unsupported, "this platform wakes nobody").with_hint("observe it"))
    }

    async fn logs(
        &self,
        instance: &InstanceRef,
        options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
        let Some(instance) = self.find(instance) else {
            let message = format!("there is no instance of runner {}", instance.runner);
            return Err(PlatformError::new(ErrorKind::Missing, message));
        };
        let from = options.tail.map_or(0, |lines| instance.output.tail_from(lines));
        let (sender, receiver) = mpsc::channel(LOG_QUEUE);
        // Ends when the instance has ended, when it has caught up and does not follow, or when nobody reads.
        tokio::spawn(follow(instance, from, options.follow, sender));
        Ok(Box::pin(Lines(receiver)))
    }

    async fn stop_instance(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError> {
        if let Some(instance) = self.find(instance) {
            instance.stop(grace);
        }
        Ok(())
    }

    async fn remove_instance(
        &self,
        instance: &InstanceRef,
        options: RemoveOptions,
    ) -> Result<(), PlatformError> {
        let Some(known) = self.find(instance) else { return Ok(()) };
        if !known.ended() {
            if !options.force {
                let message = format!("the instance of runner {} is still running", instance.runner);
                return Err(PlatformError::new(ErrorKind::Conflict, message).with_hint("stop it first"));
            }
            known.stop(Duration::ZERO);
            let mut state = known.state.subscribe();
            let ended = timeout(KILL_WAIT, state.wait_for(|state| matches!(state, InstanceState::Ended(_))));
            if ended.await.is_err() {
                let message =
                    format!("runner {} did not end within {KILL_WAIT:?} of being killed", instance.runner);
                return Err(PlatformError::new(ErrorKind::Unavailable, message).with_unknown_effect());
            }
        }
        match tokio::fs::remove_dir_all(&known.directory).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let message = format!("the directory of runner {} cannot be removed", instance.runner);
                return Err(PlatformError::new(ErrorKind::Unavailable, message).with_source(error));
            }
            _ => {}
        }
        self.instances().remove(&(instance.cluster.clone(), instance.runner));
        Ok(())
    }

    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError> {
        let mut released = Released::nothing();
        if options.instances_too {
            for status in self.observe(cluster).await? {
                match self.remove_instance(&status.instance, RemoveOptions::forced()).await {
                    Ok(()) => released.removed.push(format!("instance {}", status.instance.runner)),
                    Err(error) => released.left.push(format!("instance {}: {error}", status.instance.runner)),
                }
            }
            self.remove_former(cluster, &mut released);
        }
        Ok(released)
    }
}

/// Whether a directory is that of an instance of this cluster, whose name may be the beginning of another one's.
fn is_of(directory: &Path, cluster: &ClusterId) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str());
    let runner = name.and_then(|name| name.strip_prefix(cluster.as_str())?.strip_prefix('-'));
    runner.is_some_and(|runner| runner.parse::<RunnerKey>().is_ok())
}

async fn follow(
    instance: Instance,
    mut from: u64,
    follow: bool,
    lines: mpsc::Sender<Result<OutputLine, PlatformError>>,
) {
    let mut state = instance.state.subscribe();
    let mut written = instance.output.subscribe();
    loop {
        let ended = matches!(*state.borrow_and_update(), InstanceState::Ended(_));
        written.borrow_and_update();
        from = match send_all(&instance.output, from, &lines).await {
            Some(next) => next,
            None => return,
        };
        if ended || !follow {
            return;
        }
        if !changed(&mut state, &mut written, &lines).await {
            return;
        }
    }
}

async fn send_all(
    output: &Output,
    from: u64,
    to: &mpsc::Sender<Result<OutputLine, PlatformError>>,
) -> Option<u64> {
    let (lines, next) = output.since(from);
    for line in lines {
        to.send(Ok(line)).await.ok()?;
    }
    Some(next)
}

async fn changed(
    state: &mut watch::Receiver<InstanceState>,
    written: &mut watch::Receiver<u64>,
    lines: &mpsc::Sender<Result<OutputLine, PlatformError>>,
) -> bool {
    tokio::select! {
        changed = state.changed() => changed.is_ok(),
        changed = written.changed() => changed.is_ok(),
        () = lines.closed() => false,
    }
}

/// A receiver as a stream.
struct Lines(mpsc::Receiver<Result<OutputLine, PlatformError>>);

impl futures_core::Stream for Lines {
    type Item = Result<OutputLine, PlatformError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
