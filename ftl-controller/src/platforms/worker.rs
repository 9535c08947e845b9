//! The worker of one platform: carries out what it is asked, a bounded number at once, and tells the outcome.

use std::collections::HashSet;
use std::future::Future;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ftl_core::boot::Boot;
use ftl_core::name::PlatformName;
use ftl_core::platform::{
    Created, ErrorKind, InstanceSpec, Platform, PlatformError, PlatformExt, RemoveOptions,
};
use ftl_core::runner::CRASH_TAIL_LINES;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::{PlatformEvent, Task};
use crate::mailbox::{Mailbox, Message};

/// How long one question to a platform may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Stops, removals and reads under way at once, on one platform.
const OTHERS_PARALLEL: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Worker {
    access: Access,
    creates: Arc<Semaphore>,
    others: Arc<Semaphore>,
    mailbox: Mailbox,
}

impl Worker {
    pub(super) fn new(access: Access, mailbox: Mailbox) -> Self {
        let creates = access.platform.describe().facts.creates_parallel.max(1);
        let (creates, others) = (Semaphore::new(creates), Semaphore::new(OTHERS_PARALLEL));
        Self { access, creates: Arc::new(creates), others: Arc::new(others), mailbox }
    }

    pub(super) fn name(&self) -> &PlatformName {
        &self.platform().describe().name
    }

    fn platform(&self) -> &dyn Platform {
        &*self.access.platform
    }

    /// Works until it is asked to finish; then what was begun is waited for, and nothing else is begun.
    pub(super) async fn run(self, mut tasks: mpsc::Receiver<Task>, finish: CancellationToken) {
        let under_way = UnderWay::default();
        let mut running = JoinSet::new();
        while let Some(Some(task)) = finish.run_until_cancelled(tasks.recv()).await {
            while running.try_join_next().is_some() {}
            // What is asked again while its answer is awaited is answered once.
            let Some(entry) = under_way.enter(&task) else { continue };
            let worker = self.clone();
            running.spawn(async move {
                let Some(event) = worker.in_turn(task).await else { return };
                drop(entry);
                worker.mailbox.send(Message::Platform(event)).await;
            });
        }
        self.creates.close();
        self.others.close();
        while running.join_next().await.is_some() {}
    }

    /// Carries out a task when it is its turn, unless the end comes first. A listing has no turn: it is what tells that
    /// something is wrong.
    async fn in_turn(&self, task: Task) -> Option<PlatformEvent> {
        let turns = match task {
            Task::Create(_) => &self.creates,
            Task::List(_) => return Some(self.carry_out(task).await),
            Task::Stop { .. } | Task::Tail { .. } | Task::Purge(_) => &self.others,
        };
        let _permit = turns.acquire().await.ok()?;
        Some(self.carry_out(task).await)
    }

    async fn carry_out(&self, task: Task) -> PlatformEvent {
        let platform = self.name().clone();
        let failed = |error| PlatformEvent::Failed { platform: platform.clone(), error };
        match task {
            Task::Create(creating) => {
                let (spec, boot) = *creating;
                let key = spec.runner;
                match self.create(spec, boot).await {
                    Ok(created) => PlatformEvent::Created { key, instance: created.instance },
                    Err(error) => PlatformEvent::NotCreated { key, error },
                }
            }
            Task::List(number) => {
                let observed = self.platform().observe(&self.access.cluster().cluster);
                match in_time("observe", observed).await {
                    Ok(instances) => PlatformEvent::Listed { platform, number, instances },
                    Err(error) => failed(error),
                }
            }
            Task::Stop { instance, grace } => {
                match in_time("stop", self.platform().stop_instance(&instance, grace)).await {
                    Ok(()) => PlatformEvent::Stopped { platform },
                    Err(error) => failed(error),
                }
            }
            Task::Tail { instance, exit } => {
                match in_time("logs", self.platform().tail(&instance, CRASH_TAIL_LINES)).await {
                    Ok(tail) => PlatformEvent::Read { key: instance.runner, exit, tail },
                    Err(error) => failed(error),
                }
            }
            Task::Purge(instance) => {
                let removed = self.platform().remove_instance(&instance, RemoveOptions::default());
                match in_time("remove", removed).await {
                    Ok(()) => PlatformEvent::Purged { platform, key: instance.runner },
                    Err(error) => failed(error),
                }
            }
        }
    }

    /// Creates an instance; when what it shares with others went missing, prepares that again, once.
    async fn create(&self, mut spec: InstanceSpec, mut boot: Boot) -> Result<Created, PlatformError> {
        let mut prepared_again = false;
        loop {
            boot.controller = self.access.controllers().await?;
            spec.boot = boot.to_document();
            match in_time("create", self.access.platform.create_runner(&spec)).await {
                Err(error) if error.kind == ErrorKind::Missing && !prepared_again => {
                    tracing::info!(platform = %self.name(), %error, "preparing again");
                    prepared_again = true;
                    self.access.forget().await;
                }
                answer => return answer,
            }
        }
    }
}

/// What a platform was asked and has not answered.
#[derive(Clone, Debug, Default)]
struct UnderWay(Arc<Mutex<HashSet<About>>>);

/// A kind of task, and its number.
type About = (Discriminant<Task>, u64);

/// Keeps the same from being asked twice, until it is dropped.
struct Entry {
    all: UnderWay,
    about: About,
}

impl UnderWay {
    fn enter(&self, task: &Task) -> Option<Entry> {
        let about = (discriminant(task), task.number());
        let entered = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(about);
        entered.then(|| Entry { all: self.clone(), about })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.about);
    }
}

/// The answer, or that there was none in time.
pub(crate) async fn in_time<T>(
    what: &str,
    answer: impl Future<Output = Result<T, PlatformError>>,
) -> Result<T, PlatformError> {
    timeout(ANSWER_MAX, answer).await.unwrap_or_else(|_| {
        let message = format!("the platform did not answer `{what}` within {ANSWER_MAX:?}");
        Err(PlatformError::new(ErrorKind::Timeout, message).with_unknown_effect())
    })
}
