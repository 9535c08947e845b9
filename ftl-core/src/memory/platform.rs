//! A platform whose instances are tasks of this process.
//!
//! What a task cannot have is not claimed: no exit code, no output of its own, no end without its consent. A program that
//! yields is ended when its grace is over; one that never does stays [`InstanceState::Stopping`] for as long as it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};

use super::lock;
use crate::boot::Boot;
use crate::controller::BoxStream;
use crate::digest::Digest;
use crate::key::{Epoch, RunnerKey};
use crate::name::{ClusterId, PlatformName};
use crate::platform::{
    Capability, ClusterAccess, ClusterSpec, Created, Description, ErrorKind, Exit, Health, InstanceRef,
    InstanceSpec, InstanceState, InstanceStatus, LogOptions, Platform, PlatformError, PlatformExt, Probe,
    ProgramSource, ReleaseOptions, Released, RemoveOptions, Wake,
};
use crate::runner::OutputLine;
use crate::sequence::{Actor, Event};

/// How long a forced removal waits for a cancelled program: one that yields is gone at its next await.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

/// What a program of this process is started with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start {
    /// Its boot document.
    pub boot: Boot,
    /// Its environment; it shares the one of the process with everybody.
    pub env: BTreeMap<String, String>,
    /// Where it hears that it is to end.
    pub stop: StopSignal,
}

/// Where a program hears that it is to end.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Receiver<Option<Instant>>);

impl StopSignal {
    /// Waits until the program is asked to end; what still runs when its grace is over is cancelled.
    pub async fn asked(&mut self) {
        // A platform that is gone asks for the end of all its instances.
        let _ = self.0.wait_for(Option::is_some).await;
    }
}

/// A program that runs: what it does until it ends, and what there is to say of its end.
pub type Program = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Starts a Runner in this process: it registers with the Controller that its boot document names.
pub trait Launch: fmt::Debug + Send + Sync + 'static {
    /// Starts it and answers with what it does from then on; an error is why its program never ran.
    fn launch(&self, start: Start) -> Pin<Box<dyn Future<Output = Result<Program, String>> + Send + '_>>;
}

/// One instance, from its creation to its removal.
#[derive(Clone, Debug)]
struct Instance {
    reference: InstanceRef,
    digest: Digest,
    generation: Epoch,
    /// What it is doing; its supervisor is the only writer.
    state: watch::Sender<InstanceState>,
    /// When it is to be cancelled, once it was asked to end.
    kill_at: watch::Sender<Option<Instant>>,
}

impl Instance {
    fn new(spec: &InstanceSpec) -> Self {
        Self {
            reference: InstanceRef::new(spec.cluster.clone(), spec.runner, spec.runner.to_string()),
            digest: spec.digest(),
            generation: spec.generation,
            state: watch::Sender::new(InstanceState::Pending),
            kill_at: watch::Sender::new(None),
        }
    }

    fn status(&self) -> InstanceStatus {
        let state = self.state.borrow().clone();
        InstanceStatus::new(self.reference.clone(), self.digest, self.generation, state)
    }

    fn ended(&self) -> bool {
        self.state.borrow().is_ended()
    }

    /// Asks it to end, and cancels it after `grace`. A later call may only shorten.
    fn stop(&self, grace: Duration) {
        let at = Instant::now() + grace;
        self.kill_at.send_if_modified(|kill_at| {
            let sooner = kill_at.is_none_or(|earlier| at < earlier);
            if sooner {
                *kill_at = Some(at);
            }
            sooner
        });
    }

    /// The answer to a second create under this key.
    fn again(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        spec.check_again(self.generation, self.digest)?;
        Ok(Created::new(self.reference.clone(), true))
    }
}

/// Runs registered programs as tasks of this process. They end with this value.
pub struct MemoryPlatform {
    description: Description,
    program: String,
    launch: Arc<dyn Launch>,
    instances: Mutex<BTreeMap<(ClusterId, RunnerKey), Instance>>,
}

impl MemoryPlatform {
    /// A platform that runs one program, registered as `program`.
    #[must_use]
    pub fn new(name: PlatformName, program: &str, launch: Arc<dyn Launch>) -> Self {
        let description = Description::new(name, Vec::new())
            .with_capabilities([Capability::ProgramRegistered, Capability::SecretFiles]);
        Self { description, program: program.to_owned(), launch, instances: Mutex::default() }
    }

    /// The instance of this key, and whether this call made it.
    fn enter(&self, spec: &InstanceSpec) -> Result<(Created, Option<Instance>), PlatformError> {
        let mut instances = lock(&self.instances);
        let key = (spec.cluster.clone(), spec.runner);
        if let Some(known) = instances.get(&key) {
            return Ok((known.again(spec)?, None));
        }
        let instance = Instance::new(spec);
        instances.insert(key, instance.clone());
        Ok((Created::new(instance.reference.clone(), false), Some(instance)))
    }

    fn find(&self, reference: &InstanceRef) -> Option<Instance> {
        lock(&self.instances).get(&(reference.cluster.clone(), reference.runner)).cloned()
    }
}

/// Starts the program of an instance, and says what becomes of it. Goes on when whoever asked for it does not.
async fn supervise(launch: Arc<dyn Launch>, start: Start, instance: Instance) {
    let state = instance.state.clone();
    let mut program = tokio::spawn(async move {
        match launch.launch(start).await {
            Ok(program) => {
                state.send_if_modified(|state| {
                    let first = matches!(state, InstanceState::Pending);
                    if first {
                        *state = InstanceState::Running;
                    }
                    first
                });
                Ok(program.await)
            }
            Err(why) => Err(why),
        }
    });
    let ended = end(&mut program, &instance).await;
    let mut exit = Exit::new(instance.kill_at.borrow().is_some());
    match ended {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(message))) => exit.message = Some(message),
        Ok(Err(why)) => (exit.never_started, exit.message) = (true, Some(why)),
        Err(error) if error.is_panic() => exit.message = Some(words_of(error)),
        Err(_) => exit.message = Some("cancelled when its grace was over".to_owned()),
    }
    instance.state.send_replace(InstanceState::Ended(exit));
}

/// Waits for the end of a program, and cancels it when its grace is over.
async fn end<T>(program: &mut JoinHandle<T>, instance: &Instance) -> Result<T, JoinError> {
    let mut kill_at = instance.kill_at.subscribe();
    loop {
        let at = *kill_at.borrow_and_update();
        if at.is_some() {
            instance.state.send_replace(InstanceState::Stopping);
        }
        tokio::select! {
            ended = &mut *program => return ended,
            Ok(()) = kill_at.changed() => {}
            () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                program.abort();
                return program.await;
            }
        }
    }
}

fn words_of(panic: JoinError) -> String {
    let payload = panic.into_panic();
    let words = payload.downcast_ref::<&str>().copied();
    let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", words.unwrap_or("without words"))
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

    /// Answers when the program has started, or has been found not to.
    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        let registered = ProgramSource::Registered(self.program.clone());
        if !spec.program.contains(&registered) {
            let message = format!("this platform runs `{}` only", self.program);
            return Err(PlatformError::new(ErrorKind::Missing, message));
        }
        let boot = Boot::from_document(spec.boot.expose())
            .map_err(|error| PlatformError::new(ErrorKind::Invalid, error.to_string()))?;
        let (created, fresh) = self.enter(spec)?;
        if let Some(instance) = fresh {
            Event::new(Actor::Platform, Actor::Runner, "CreateInstance", "ack", &spec.about()).record();
            let mut state = instance.state.subscribe();
            let stop = StopSignal(instance.kill_at.subscribe());
            let start = Start { boot, env: spec.env.clone(), stop };
            // In a task of its own: a call that is given up must not leave an instance that never starts.
            tokio::spawn(supervise(self.launch.clone(), start, instance));
            // Its supervisor has the sender; without one there is nothing to wait for.
            let _ = state.wait_for(|state| !matches!(state, InstanceState::Pending)).await;
        }
        Ok(created)
    }

    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        let instances = lock(&self.instances);
        let ours = instances.iter().filter(|((of, _), _)| of == cluster);
        Ok(ours.map(|(_, instance)| instance.status()).collect())
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
                let message = format!("runner {} is still running", instance.runner);
                return Err(PlatformError::new(ErrorKind::Conflict, message).with_hint("stop it first"));
            }
            known.stop(Duration::ZERO);
            let mut state = known.state.subscribe();
            let ended = timeout(CANCEL_WAIT, state.wait_for(InstanceState::is_ended));
            if ended.await.is_err() {
                let message = format!("runner {} did not yield within {CANCEL_WAIT:?}", instance.runner);
                return Err(PlatformError::new(ErrorKind::Unavailable, message).with_unknown_effect());
            }
        }
        lock(&self.instances).remove(&(instance.cluster.clone(), instance.runner));
        Ok(())
    }

    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError> {
        if options.instances_too { self.remove_all(cluster).await } else { Ok(Released::nothing()) }
    }
}

impl Drop for MemoryPlatform {
    fn drop(&mut self) {
        for instance in lock(&self.instances).values() {
            instance.stop(Duration::ZERO);
        }
    }
}

impl fmt::Debug for MemoryPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPlatform").field("name", &self.description.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    /// Programs that end by a panic, that never start, and that hear nothing.
    #[derive(Debug)]
    enum Odd {
        Panics,
        CannotStart,
        Deaf,
    }

    impl Launch for Odd {
        fn launch(
            &self,
            _start: Start,
        ) -> Pin<Box<dyn Future<Output = Result<Program, String>> + Send + '_>> {
            let launched: Result<Program, String> = match self {
                Self::Panics => Ok(Box::pin(async { panic!("out of {}", "luck") })),
                Self::CannotStart => Err("no such thing".to_owned()),
                Self::Deaf => Ok(Box::pin(std::future::pending())),
            };
            Box::pin(std::future::ready(launched))
        }
    }

    async fn start(odd: Odd) -> (MemoryPlatform, InstanceRef) {
        let platform = MemoryPlatform::new("memory".parse().unwrap(), "odd", Arc::new(odd));
        let (cluster, language): (ClusterId, _) = ("c".parse().unwrap(), "rust".parse().unwrap());
        let (here, secret) = (vec!["memory".to_owned()], Secret::new(*b"secret"));
        let boot = Boot::new(cluster.clone(), RunnerKey(1), "rust".parse().unwrap(), Epoch(1), here, secret);
        let program = vec![ProgramSource::Registered("odd".to_owned())];
        let boot = boot.to_document();
        let spec = InstanceSpec::new(cluster, RunnerKey(1), language, Epoch(1), program, boot);
        let created = platform.create_instance(&spec).await.unwrap();
        (platform, created.instance)
    }

    async fn end_of(platform: &MemoryPlatform, instance: &InstanceRef) -> Exit {
        let mut state = platform.find(instance).unwrap().state.subscribe();
        let ended = state.wait_for(InstanceState::is_ended).await.unwrap();
        let InstanceState::Ended(exit) = ended.clone() else { unreachable!() };
        exit
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_told_in_words() {
        let (platform, instance) = start(Odd::Panics).await;
        let exit = end_of(&platform, &instance).await;
        assert_eq!((exit.message.as_deref(), exit.code), (Some("panicked: out of luck"), None));
        let (platform, instance) = start(Odd::CannotStart).await;
        let exit = end_of(&platform, &instance).await;
        assert_eq!((exit.message.as_deref(), exit.never_started), (Some("no such thing"), true));
    }

    #[tokio::test(start_paused = true)]
    async fn who_hears_nothing_is_cancelled_when_his_grace_is_over() {
        let (platform, instance) = start(Odd::Deaf).await;
        let began = Instant::now();
        platform.stop_instance(&instance, Duration::from_secs(60)).await.unwrap();
        platform.stop_instance(&instance, Duration::from_secs(9)).await.unwrap();
        assert!(end_of(&platform, &instance).await.asked);
        assert_eq!(began.elapsed().as_secs(), 9, "a later call may only shorten");
    }

    #[tokio::test(start_paused = true)]
    async fn instances_end_with_their_platform() {
        let (platform, instance) = start(Odd::Deaf).await;
        let mut state = platform.find(&instance).unwrap().state.subscribe();
        drop(platform);
        state.wait_for(InstanceState::is_ended).await.unwrap();
    }
}
