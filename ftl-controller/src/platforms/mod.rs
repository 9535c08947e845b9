//! One worker for each platform: it may wait for its platform, and nobody waits for it.
//!
//! A platform that is down delays nothing of the others, and never the reconciler, which only notes that something was
//! asked and hears the answer as a message.

mod access;
mod ending;
mod watching;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use ftl_core::boot::Boot;
use ftl_core::key::RunnerKey;
use ftl_core::name::PlatformName;
use ftl_core::platform::{
    Capability, ClusterSpec, Exit, InstanceRef, InstanceSpec, InstanceStatus, Platform, PlatformError,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::mailbox::Mailbox;
use crate::observed::ListNumber;

pub(crate) use access::Doors;
pub(crate) use ending::{end_all, end_with_controller};
pub(crate) use worker::in_time;

use access::Access;
use worker::Worker;

/// Tasks that may wait for one platform; what finds no place is asked again by a later plan.
const QUEUE: usize = 256;

/// Something to ask a platform.
#[derive(Debug)]
pub(crate) enum Task {
    /// The boot document is completed with the addresses that the platform's Runners can reach.
    Create(Box<(InstanceSpec, Boot)>),
    List(ListNumber),
    Stop {
        instance: InstanceRef,
        grace: std::time::Duration,
    },
    Tail {
        instance: InstanceRef,
        exit: Exit,
    },
    Purge(InstanceRef),
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

/// The ways to all workers.
#[derive(Debug)]
pub(crate) struct Workers(BTreeMap<PlatformName, (mpsc::Sender<Task>, Access)>);

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
            let access = Access::new(platform.clone(), cluster.clone(), doors.clone());
            let worker = Worker::new(access.clone(), mailbox.clone());
            let name = worker.name().clone();
            if platform.describe().can(Capability::Watch) {
                tasks.spawn(watching::run(platform.clone(), cluster.cluster.clone(), mailbox.clone()));
            }
            tasks.spawn(worker.run(receiver));
            (name, (sender, access))
        };
        Self(platforms.iter().map(start).collect())
    }

    /// Whether there is such a platform.
    pub(crate) fn has(&self, platform: &PlatformName) -> bool {
        self.0.contains_key(platform)
    }

    /// Gives a platform something to do; `false` when it has too much to do already.
    pub(crate) fn give(&self, platform: &PlatformName, task: Task) -> bool {
        self.0.get(platform).is_some_and(|(worker, _)| worker.try_send(task).is_ok())
    }

    /// Whether this Controller asked a platform to run anything.
    pub(crate) fn used(&self, platform: &PlatformName) -> bool {
        self.0.get(platform).is_some_and(|(_, access)| access.is_used())
    }
}
