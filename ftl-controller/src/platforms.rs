//! One worker for each platform: it may wait for its platform, and nobody waits for it.
//!
//! A platform that is down delays nothing of the others, and never the reconciler, which only notes that something was
//! asked and hears the answer as a message.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::key::RunnerKey;
use ftl_core::name::{ClusterId, PlatformName};
use ftl_core::platform::{
    ErrorKind, Exit, InstanceRef, InstanceSpec, InstanceState, InstanceStatus, Platform, PlatformError,
    PlatformExt, RemoveOptions,
};
use ftl_core::runner::CRASH_TAIL_LINES;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::mailbox::{Mailbox, Message};
use crate::observed::ListNumber;

/// Tasks that may wait for one platform; what finds no place is asked again by a later plan.
const QUEUE: usize = 256;
/// How long one question to a platform may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Stops, removals and reads under way at once, on one platform.
const OTHERS_PARALLEL: usize = 16;
/// How often a Controller that ends looks whether its instances have ended.
const END_LOOK: Duration = Duration::from_millis(10);

/// Something to ask a platform.
#[derive(Debug)]
pub(crate) enum Task {
    Create(Box<InstanceSpec>),
    List(ListNumber),
    Stop { instance: InstanceRef, grace: Duration },
    Tail { instance: InstanceRef, exit: Exit },
    Purge(InstanceRef),
}

/// What a platform answered.
#[derive(Debug)]
pub(crate) enum PlatformEvent {
    Created { key: RunnerKey, instance: InstanceRef },
    NotCreated { key: RunnerKey, error: PlatformError },
    Listed { platform: PlatformName, number: ListNumber, instances: Vec<InstanceStatus> },
    Read { key: RunnerKey, exit: Exit, tail: Vec<String> },
    Purged { platform: PlatformName, key: RunnerKey },
    Stopped { platform: PlatformName },
    Failed { platform: PlatformName, error: PlatformError },
}

/// The ways to all workers.
#[derive(Debug)]
pub(crate) struct Workers(BTreeMap<PlatformName, mpsc::Sender<Task>>);

impl Workers {
    /// Starts a worker for each platform, owned by `tasks`.
    pub(crate) fn start(
        platforms: &[Arc<dyn Platform>],
        cluster: &ClusterId,
        mailbox: &Mailbox,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let start = |platform: &Arc<dyn Platform>| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let worker = Worker {
                name: platform.describe().name.clone(),
                creates: Arc::new(Semaphore::new(platform.describe().facts.creates_parallel.max(1))),
                others: Arc::new(Semaphore::new(OTHERS_PARALLEL)),
                platform: platform.clone(),
                cluster: cluster.clone(),
                mailbox: mailbox.clone(),
            };
            let name = worker.name.clone();
            tasks.spawn(worker.run(receiver));
            (name, sender)
        };
        Self(platforms.iter().map(start).collect())
    }

    /// Whether there is such a platform.
    pub(crate) fn has(&self, platform: &PlatformName) -> bool {
        self.0.contains_key(platform)
    }

    /// Gives a platform something to do; `false` when it has too much to do already.
    pub(crate) fn give(&self, platform: &PlatformName, task: Task) -> bool {
        self.0.get(platform).is_some_and(|worker| worker.try_send(task).is_ok())
    }
}

#[derive(Clone)]
struct Worker {
    name: PlatformName,
    platform: Arc<dyn Platform>,
    cluster: ClusterId,
    creates: Arc<Semaphore>,
    others: Arc<Semaphore>,
    mailbox: Mailbox,
}

impl Worker {
    async fn run(self, mut tasks: mpsc::Receiver<Task>) {
        let mut running = JoinSet::new();
        while let Some(task) = tasks.recv().await {
            while running.try_join_next().is_some() {}
            let permits = if matches!(task, Task::Create(_)) { &self.creates } else { &self.others };
            // A listing is never behind anything else: it is what tells that something is wrong.
            let permit = match task {
                Task::List(_) => None,
                _ => permits.clone().acquire_owned().await.ok(),
            };
            let worker = self.clone();
            running.spawn(async move {
                let event = worker.carry_out(task).await;
                drop(permit);
                worker.mailbox.send(Message::Platform(event)).await;
            });
        }
    }

    async fn carry_out(&self, task: Task) -> PlatformEvent {
        let platform = self.name.clone();
        let failed = |error| PlatformEvent::Failed { platform: platform.clone(), error };
        match task {
            Task::Create(spec) => {
                let key = spec.runner;
                match in_time("create", self.platform.create_runner(&spec)).await {
                    Ok(created) => PlatformEvent::Created { key, instance: created.instance },
                    Err(error) => PlatformEvent::NotCreated { key, error },
                }
            }
            Task::List(number) => match in_time("observe", self.platform.observe(&self.cluster)).await {
                Ok(instances) => PlatformEvent::Listed { platform, number, instances },
                Err(error) => failed(error),
            },
            Task::Stop { instance, grace } => {
                match in_time("stop", self.platform.stop_instance(&instance, grace)).await {
                    Ok(()) => PlatformEvent::Stopped { platform },
                    Err(error) => failed(error),
                }
            }
            Task::Tail { instance, exit } => {
                match in_time("logs", self.platform.tail(&instance, CRASH_TAIL_LINES)).await {
                    Ok(tail) => PlatformEvent::Read { key: instance.runner, exit, tail },
                    Err(error) => failed(error),
                }
            }
            Task::Purge(instance) => {
                let removed = self.platform.remove_instance(&instance, RemoveOptions::default());
                match in_time("remove", removed).await {
                    Ok(()) => PlatformEvent::Purged { platform, key: instance.runner },
                    Err(error) => failed(error),
                }
            }
        }
    }
}

async fn in_time<T>(
    what: &str,
    answer: impl Future<Output = Result<T, PlatformError>>,
) -> Result<T, PlatformError> {
    timeout(ANSWER_MAX, answer).await.unwrap_or_else(|_| {
        let message = format!("the platform did not answer `{what}` within {ANSWER_MAX:?}");
        Err(PlatformError::new(ErrorKind::Timeout, message).with_unknown_effect())
    })
}

/// Ends every instance of the cluster, for a platform whose instances do not outlive the Controller.
///
/// What cannot be ended is said and left to the platform: it ends its instances with this process.
pub(crate) async fn end_all(platform: &dyn Platform, cluster: &ClusterId, grace: Duration) {
    let name = &platform.describe().name;
    let deadline = Instant::now() + grace * 2;
    let mut asked = false;
    loop {
        let instances = match in_time("observe", platform.observe(cluster)).await {
            Ok(instances) => instances,
            Err(error) => return tracing::warn!(platform = %name, %error, "its instances cannot be listed"),
        };
        let ended = |status: &InstanceStatus| matches!(status.state, InstanceState::Ended(_));
        let running: Vec<&InstanceStatus> = instances.iter().filter(|status| !ended(status)).collect();
        if running.is_empty() || Instant::now() >= deadline {
            for status in &instances {
                let removed = platform.remove_instance(&status.instance, RemoveOptions::forced());
                if let Err(error) = in_time("remove", removed).await {
                    tracing::warn!(platform = %name, runner = %status.instance.runner, %error, "not removed");
                }
            }
            return;
        }
        if !asked {
            asked = true;
            for status in running {
                if let Err(error) = in_time("stop", platform.stop_instance(&status.instance, grace)).await {
                    tracing::warn!(platform = %name, runner = %status.instance.runner, %error, "not stopped");
                }
            }
        }
        sleep(END_LOOK).await;
    }
}
