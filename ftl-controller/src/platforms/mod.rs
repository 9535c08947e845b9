//! One worker for each platform: it may wait for its platform, and nobody waits for it.
//!
//! A platform that is down delays nothing of the others, and never the reconciler, which only notes that something was
//! asked and hears the answer as a message.

mod access;
mod ending;
mod watching;
mod worker;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::boot::Boot;
use ftl_core::key::RunnerKey;
use ftl_core::name::PlatformName;
use ftl_core::platform::{
    Capability, ClusterSpec, Exit, InstanceRef, InstanceSpec, InstanceStatus, Platform, PlatformError,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::mailbox::Mailbox;
use crate::observed::ListNumber;

pub(crate) use access::Doors;
pub(crate) use ending::{end_all, end_with_controller};
pub(crate) use worker::in_time;

use access::Access;
use worker::Worker;

/// Tasks that may wait for one platform; what finds no place is asked again by a later plan.
const QUEUE: usize = 256;

/// How long a Controller that ends waits for what a platform was asked.
const FINISH_MAX: Duration = Duration::from_secs(10);

/// Something to ask a platform.
#[derive(Debug)]
pub(crate) enum Task {
    /// The boot document is completed with the addresses that the platform's Runners can reach.
    Create(Box<(InstanceSpec, Boot)>),
    List(ListNumber),
    Stop {
        instance: InstanceRef,
        grace: Duration,
    },
    Tail {
        instance: InstanceRef,
        exit: Exit,
    },
    Purge(InstanceRef),
}

impl Task {
    /// Two tasks of one kind and this number are one. No listing is: an earlier one may have looked too early.
    fn number(&self) -> u64 {
        match self {
            Self::Create(creating) => creating.0.runner.0,
            Self::Stop { instance, .. } | Self::Tail { instance, .. } | Self::Purge(instance) => {
                instance.runner.0
            }
            Self::List(number) => number.seq,
        }
    }
}

/// What a platform answered.
#[derive(Debug)]
pub(crate) enum PlatformEvent {
    Created {
        key: RunnerKey,
        instance: InstanceRef,
    },
    NotCreated {
        key: RunnerKey,
        error: PlatformError,
    },
    Listed {
        platform: PlatformName,
        number: ListNumber,
        instances: Vec<InstanceStatus>,
    },
    Read {
        key: RunnerKey,
        exit: Exit,
        tail: Vec<String>,
    },
    Purged {
        platform: PlatformName,
        key: RunnerKey,
    },
    Stopped {
        platform: PlatformName,
    },
    /// Something changed: a listing would tell news.
    Woken {
        platform: PlatformName,
    },
    Failed {
        platform: PlatformName,
        error: PlatformError,
    },
}

/// The way to a worker.
#[derive(Debug)]
struct Way {
    tasks: mpsc::Sender<Task>,
    access: Access,
    finish: CancellationToken,
}

/// The ways to all workers.
#[derive(Debug)]
pub(crate) struct Workers(BTreeMap<PlatformName, Way>);

impl Workers {
    /// Starts a worker for each platform, owned by `tasks`.
    pub(crate) fn start(
        platforms: &[Arc<dyn Platform>],
        cluster: &ClusterSpec,
        doors: &Doors,
        mailbox: &Mailbox,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let start = |platform: &Arc<dyn Platform>| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let finish = CancellationToken::new();
            let access = Access::new(platform.clone(), cluster.clone(), doors.clone());
            let worker = Worker::new(access.clone(), mailbox.clone());
            let name = worker.name().clone();
            if platform.describe().can(Capability::Watch) {
                tasks.spawn(watching::run(platform.clone(), cluster.cluster.clone(), mailbox.clone()));
            }
            tasks.spawn(worker.run(receiver, finish.clone()));
            (name, Way { tasks: sender, access, finish })
        };
        Self(platforms.iter().map(start).collect())
    }

    /// Whether there is such a platform.
    pub(crate) fn has(&self, platform: &PlatformName) -> bool {
        self.0.contains_key(platform)
    }

    /// Gives a platform something to do; `false` when it has too much to do already.
    pub(crate) fn give(&self, platform: &PlatformName, task: Task) -> bool {
        self.0.get(platform).is_some_and(|way| way.tasks.try_send(task).is_ok())
    }

    /// Whether this Controller asked a platform to run anything.
    pub(crate) fn used(&self, platform: &PlatformName) -> bool {
        self.0.get(platform).is_some_and(|way| way.access.is_used())
    }

    /// Has a worker finish: it begins nothing more. Waits for what it has begun, for a while: an instance that is being
    /// created is not seen by those who end all that they see.
    pub(crate) fn finish(&self, platform: &PlatformName) -> impl Future<Output = ()> + use<> {
        let way = self.0.get(platform).map(|way| (way.tasks.clone(), way.finish.clone()));
        async move {
            let Some((tasks, finish)) = way else { return };
            finish.cancel();
            if timeout(FINISH_MAX, tasks.closed()).await.is_err() {
                tracing::warn!("a platform does not answer; what it was asked last may come late");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ftl_core::Secret;
    use ftl_core::key::Epoch;
    use ftl_core::memory::{Launch, MemoryPlatform, Program, Start};
    use ftl_core::platform::ProgramSource;
    use tokio::sync::Semaphore;
    use tokio::time::sleep;

    use crate::desired::Startup;
    use crate::mailbox::Message;
    use crate::store::Store;
    use crate::time::Time;

    /// Counts starts, and lets them happen when it is open.
    #[derive(Debug)]
    struct Held {
        open: Semaphore,
        begun: AtomicUsize,
    }

    impl Launch for Held {
        fn launch(&self, _: Start) -> Pin<Box<dyn Future<Output = Result<Program, String>> + Send + '_>> {
            Box::pin(async move {
                self.begun.fetch_add(1, Ordering::Relaxed);
                let _open = self.open.acquire().await;
                let program: Program = Box::pin(pending());
                Ok(program)
            })
        }
    }

    struct Bench {
        workers: Workers,
        inbox: mpsc::Receiver<Message>,
        held: Arc<Held>,
        name: PlatformName,
        _tasks: JoinSet<()>,
        _folder: tempfile::TempDir,
    }

    /// A platform that starts nothing before it is let; time passes only when nothing else can happen.
    async fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let startup = Startup { adopting: [].into(), at: Time::from_micros(0) };
        let opened = Store::open(&folder.path().join("db"), None, &startup).await.unwrap();
        let held = Arc::new(Held { open: Semaphore::new(0), begun: AtomicUsize::new(0) });
        let name: PlatformName = "memory".parse().unwrap();
        let platform: Arc<dyn Platform> = Arc::new(MemoryPlatform::new(name.clone(), "p", held.clone()));
        let listening = vec!["tcp:127.0.0.1:1".to_owned()];
        let cluster = ClusterSpec::new(opened.cluster, Epoch(1), listening);
        let doors = Doors::new(mpsc::channel(1).0, opened.store, opened.doors);
        let (mailbox, inbox) = Mailbox::new();
        let mut tasks = JoinSet::new();
        let workers = Workers::start(&[platform], &cluster, &doors, &mailbox, &mut tasks);
        tokio::time::pause();
        Bench { workers, inbox, held, name, _tasks: tasks, _folder: folder }
    }

    impl Bench {
        fn create(&self, key: u64) {
            let (cluster, language) = ("c".parse().unwrap(), "rust".parse().unwrap());
            let boot = Boot::new(
                cluster,
                RunnerKey(key),
                language,
                Epoch(1),
                vec!["tcp:127.0.0.1:1".to_owned()],
                Secret::new(*b"s"),
            );
            let program = vec![ProgramSource::Registered("p".to_owned())];
            let (cluster, language) = (boot.cluster.clone(), boot.language.clone());
            let spec =
                InstanceSpec::new(cluster, RunnerKey(key), language, Epoch(1), program, boot.to_document());
            assert!(self.workers.give(&self.name, Task::Create(Box::new((spec, boot)))));
        }

        async fn event(&mut self) -> PlatformEvent {
            match self.inbox.recv().await.unwrap() {
                Message::Platform(event) => event,
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_listing_waits_for_no_creation_and_no_creation_is_under_way_twice() {
        let mut bench = bench().await;
        for key in [1, 2, 3, 4, 5, 1] {
            bench.create(key);
        }
        let number = ListNumber { epoch: Epoch(1), seq: 1 };
        assert!(bench.workers.give(&bench.name, Task::List(number)));
        let first = bench.event().await;
        assert!(matches!(first, PlatformEvent::Listed { .. }), "{first:?}");
        bench.held.open.add_permits(Semaphore::MAX_PERMITS);
        for _ in 1..=5 {
            let created = bench.event().await;
            assert!(matches!(created, PlatformEvent::Created { .. }), "{created:?}");
        }
        assert!(timeout(Duration::from_secs(60), bench.inbox.recv()).await.is_err(), "one answer for each");
    }

    #[tokio::test]
    async fn a_worker_that_finishes_waits_for_what_it_began_and_begins_nothing_more() {
        let bench = bench().await;
        for key in 1..=5 {
            bench.create(key);
        }
        while bench.held.begun.load(Ordering::Relaxed) < 4 {
            sleep(Duration::from_millis(1)).await;
        }
        let mut finished = pin!(bench.workers.finish(&bench.name));
        assert!(timeout(FINISH_MAX / 2, &mut finished).await.is_err());
        assert_eq!(bench.held.begun.load(Ordering::Relaxed), 4, "so many at once");
        bench.held.open.add_permits(Semaphore::MAX_PERMITS);
        assert!(timeout(FINISH_MAX / 4, finished).await.is_ok());
        assert_eq!(bench.held.begun.load(Ordering::Relaxed), 4);
    }
}
