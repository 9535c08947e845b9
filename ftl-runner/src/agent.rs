//! The Runner as its Controller may order it: Deploy, Drain, and the fences around them.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::key::{DeploymentId, Instance, RunnerKey};
use ftl_core::runner::{Order, Report};
use ftl_core::sequence::{Actor, Event};
use ftl_core::{Call, CallError, Code, Failure, Reply, Runner, VerbService};
use ftl_wire::Connection;
use tokio::sync::watch;
use tokio::time::Instant;

/// What the Controller and the Runner's own tasks share.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) key: RunnerKey,
    pub(crate) instance: Instance,
    /// How far it has come.
    pub(crate) phase: watch::Sender<Report>,
    /// What it was told to deploy.
    pub(crate) ordered: watch::Sender<Option<DeploymentId>>,
    /// When its grace is over, once it was told to drain.
    pub(crate) drain_by: watch::Sender<Option<Instant>>,
    /// The way to the user code, once it runs.
    pub(crate) user_code: OnceLock<Connection>,
    newest: Mutex<Option<Order>>,
}

impl Agent {
    pub(crate) fn new(key: RunnerKey, instance: Instance) -> Self {
        Self {
            key,
            instance,
            phase: watch::Sender::new(Report::Starting),
            ordered: watch::Sender::new(None),
            drain_by: watch::Sender::new(None),
            user_code: OnceLock::new(),
            newest: Mutex::new(None),
        }
    }

    fn newest(&self) -> MutexGuard<'_, Option<Order>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the order of a new session; `false` when a newer Controller was here already.
    pub(crate) fn registered(&self, order: Order) -> bool {
        let mut newest = self.newest();
        let newer = newest.is_none_or(|known| order.epoch >= known.epoch);
        if newer {
            *newest = Some(order);
        }
        newer
    }

    /// Refuses what a former Controller or session orders.
    fn fence(&self, order: Order) -> Result<(), Failure> {
        match *self.newest() {
            // The first order may overtake the answer to our registration.
            None => Ok(()),
            Some(known) if order.epoch > known.epoch || order == known => Ok(()),
            Some(known) if order.epoch == known.epoch && order.session > known.session => Ok(()),
            Some(known) => {
                let message = format!("ordered by {order:?}, but this runner follows {known:?}");
                Err(Failure::new(Code::Aborted, message).not_started(false))
            }
        }
    }

    /// Refuses new calls from now on, and gives running ones until `deadline`. Only the first deadline counts.
    pub(crate) fn begin_drain(&self, deadline: Instant) {
        self.drain_by.send_if_modified(|drain_by| {
            let first = drain_by.is_none();
            drain_by.get_or_insert(deadline);
            first
        });
        self.phase.send_if_modified(|phase| {
            let serving = matches!(phase, Report::Starting | Report::Ready);
            if serving {
                *phase = Report::Draining;
            }
            serving
        });
    }

    /// Becomes ready, unless it is to end already.
    pub(crate) fn become_ready(&self) {
        self.phase.send_if_modified(|phase| {
            let starting = *phase == Report::Starting;
            if starting {
                *phase = Report::Ready;
            }
            starting
        });
    }
}

/// The way in for the Controller's orders.
#[derive(Clone, Debug)]
pub(crate) struct Orders(pub(crate) std::sync::Arc<Agent>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Orders {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        match self.0.user_code.get() {
            Some(user_code) => user_code.call(call).await,
            None => {
                Err(Failure::new(Code::Unavailable, "nothing is deployed here yet").not_started(true).into())
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Runner for Orders {
    async fn deploy(&self, order: Order, id: &DeploymentId) -> Result<(), Failure> {
        self.0.fence(order)?;
        let mut refused = None;
        self.0.ordered.send_if_modified(|ordered| match ordered {
            None => {
                *ordered = Some(id.clone());
                true
            }
            Some(known) => {
                refused = (known != id).then(|| known.short());
                false
            }
        });
        if let Some(known) = refused {
            let message = format!("this runner serves {known}: a runner belongs to one deployment");
            return Err(Failure::new(Code::FailedPrecondition, message).not_started(false));
        }
        Event::new(Actor::Controller, Actor::Runner, "Deploy", "ack", &id.short()).record();
        Ok(())
    }

    async fn drain(&self, order: Order, grace: Duration) -> Result<(), Failure> {
        self.0.fence(order)?;
        self.0.begin_drain(Instant::now() + grace);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::Digest;
    use ftl_core::key::{Epoch, Session};
    use std::sync::Arc;

    fn order(epoch: u64, session: u64) -> Order {
        Order { epoch: Epoch(epoch), session: Session(session) }
    }

    fn id(content: &[u8]) -> DeploymentId {
        DeploymentId::new("clock".parse().unwrap(), Digest::of(content))
    }

    #[tokio::test]
    async fn a_former_controller_or_session_is_refused() {
        let orders = Orders(Arc::new(Agent::new(RunnerKey(1), Instance([1; 16]))));
        assert!(orders.0.registered(order(2, 5)));
        for late in [order(1, 9), order(2, 4)] {
            assert_eq!(orders.deploy(late, &id(b"a")).await.unwrap_err().code, Code::Aborted);
            assert_eq!(orders.drain(late, Duration::ZERO).await.unwrap_err().code, Code::Aborted);
        }
        assert!(!orders.0.registered(order(1, 9)), "a frozen old Controller woke up");
        orders.deploy(order(2, 5), &id(b"a")).await.unwrap();
        orders.deploy(order(2, 6), &id(b"a")).await.unwrap();
        assert_eq!(orders.deploy(order(3, 1), &id(b"b")).await.unwrap_err().code, Code::FailedPrecondition);
    }

    #[tokio::test]
    async fn a_drain_is_never_undone() {
        let agent = Agent::new(RunnerKey(1), Instance([1; 16]));
        let first = Instant::now();
        agent.begin_drain(first);
        agent.become_ready();
        agent.begin_drain(first + Duration::from_secs(9));
        assert_eq!(*agent.phase.borrow(), Report::Draining);
        assert_eq!(*agent.drain_by.borrow(), Some(first));
    }
}
