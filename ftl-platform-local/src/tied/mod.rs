//! Tied mode: the instances of this process, known in memory, that end with it.

mod instance;
mod spawner;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::controller::BoxStream;
use ftl_core::key::RunnerKey;
use ftl_core::name::ClusterId;
use ftl_core::platform::{
    ClusterAccess, ClusterSpec, Created, Description, ErrorKind, Health, InstanceRef, InstanceSpec,
    InstanceState, InstanceStatus, LogOptions, Platform, PlatformError, PlatformExt, Probe, ReleaseOptions,
    Released, RemoveOptions, Wake,
};
use ftl_core::runner::OutputLine;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use self::instance::Instance;
use self::spawner::{Start, start_thread};
use crate::common::{self, KILL_WAIT, LOG_QUEUE, Received};
use crate::program::never_started;

/// Runs Runners as child processes that end with this process.
#[derive(Debug)]
pub(crate) struct Tied {
    description: Description,
    directory: PathBuf,
    instances: Mutex<BTreeMap<(ClusterId, RunnerKey), Instance>>,
    starts: mpsc::Sender<Start>,
}

impl Tied {
    /// Starts the thread that starts instances.
    pub(crate) fn new(description: Description, directory: PathBuf) -> io::Result<Self> {
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
        for path in entries.map(|entry| entry.path()).filter(|path| common::key_of(path, cluster).is_some()) {
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
impl Platform for Tied {
    fn describe(&self) -> &Description {
        &self.description
    }

    async fn probe(&self, _probe: Probe) -> Result<Health, PlatformError> {
        Ok(common::probe(&self.directory).await)
    }

    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        Ok(ClusterAccess::new(cluster.listening.clone()))
    }

    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        // First a place, then the entry: a call that is given up in between must not leave one that never starts.
        let place = self.starts.reserve().await;
        let (created, fresh) = self.enter(spec)?;
        if let Some(instance) = fresh {
            common::record_create(spec);
            match place {
                Ok(place) => place.send(Start { spec: spec.clone(), instance }),
                Err(_) => instance.ended(never_started(false, "the platform is shutting down")),
            }
        }
        Ok(created)
    }

    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        let instances = self.instances();
        let of_cluster = instances.iter().filter(|((of, _), _)| of == cluster);
        Ok(of_cluster.map(|(_, instance)| instance.status()).collect())
    }

    async fn watch(&self, _cluster: &ClusterId) -> Result<BoxStream<Wake>, PlatformError> {
        Err(PlatformError::new(ErrorKind::Unsupported, "this platform wakes nobody").with_hint("observe it"))
    }

    async fn logs(
        &self,
        instance: &InstanceRef,
        options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
        let instance = self.find(instance).ok_or_else(|| common::missing(instance))?;
        let from = options.tail.map_or(0, |lines| instance.output.tail_from(lines));
        let (sender, receiver) = mpsc::channel(LOG_QUEUE);
        // Ends when the instance has ended, when it has caught up and does not follow, or when nobody reads.
        tokio::spawn(follow(instance, from, options.follow, sender));
        Ok(Box::pin(Received(receiver)))
    }

    async fn stop_instance(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError> {
        if let Some(instance) = self.find(instance) {
            instance.deadline.shorten(grace);
        }
        Ok(())
    }

    async fn remove_instance(
        &self,
        instance: &InstanceRef,
        options: RemoveOptions,
    ) -> Result<(), PlatformError> {
        let Some(known) = self.find(instance) else { return Ok(()) };
        if !known.has_ended() {
            if !options.force {
                return Err(common::still_running(instance));
            }
            known.deadline.shorten(Duration::ZERO);
            let mut state = known.state.subscribe();
            let ended = timeout(KILL_WAIT, state.wait_for(InstanceState::is_ended));
            if ended.await.is_err() {
                return Err(common::did_not_end(instance));
            }
        }
        match tokio::fs::remove_dir_all(&known.directory).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(common::not_removed(instance, error));
            }
            _ => {}
        }
        self.instances().remove(&(instance.cluster.clone(), instance.runner));
        Ok(())
    }

    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError> {
        // Instances share nothing, so there is nothing to undo but them.
        if !options.instances_too {
            return Ok(Released::nothing());
        }
        let mut released = self.remove_all(cluster).await?;
        self.remove_former(cluster, &mut released);
        Ok(released)
    }
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
        let ended = state.borrow_and_update().is_ended();
        written.borrow_and_update();
        from = match send_all(&instance, from, &lines).await {
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
    instance: &Instance,
    from: u64,
    to: &mpsc::Sender<Result<OutputLine, PlatformError>>,
) -> Option<u64> {
    let (lines, next) = instance.output.since(from);
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
