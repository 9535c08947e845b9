//! The way in for Runners: who is let in, what each of them may ask, and where its calls go.
//!
//! All of it runs on the data path's own thread. Nothing here decides: registrations and reports are put before the
//! reconciler, artefacts and log lines are served at once, calls follow the newest route table.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use ftl_core::artefact::Manifest;
use ftl_core::controller::LogLine;
use ftl_core::key::{DeploymentId, Epoch, Instance, RunnerKey, Session};
use ftl_core::name::{ClusterId, RESERVED_MODULE};
use ftl_core::routing::Routed;
use ftl_core::runner::{LOG_LINES_MAX, Order, OutputLine, Registered, Registration, Report, Runner};
use ftl_core::schema::CallEdges;
use ftl_core::sequence::{self, Actor, Event};
use ftl_core::{
    Call, CallError, ControllerError, DeploymentInfo, DeploymentSpec, Digest, Failure, Reply, Router, Secret,
    Supervisor, VerbService, remote,
};
use ftl_wire::{Authority, Connection, Dispatch, HeadRef, Peer, Route, Stamp};
use tokio::time::Instant;

use crate::artefacts::Artefacts;
use crate::logs::Logs;
use crate::mailbox::{Mailbox, Message};

/// What the data path knows of a slot.
#[derive(Debug)]
pub(crate) struct SlotView {
    pub(crate) id: DeploymentId,
    pub(crate) spec: Arc<DeploymentSpec>,
    pub(crate) edges: Arc<CallEdges>,
}

/// Every slot that exists; swapped as a whole by the reconciler.
pub(crate) type Slots = Arc<ArcSwap<HashMap<RunnerKey, Arc<SlotView>>>>;

/// What the data path and the API share with the reconciler.
#[derive(Clone)]
pub(crate) struct DataPath {
    pub(crate) cluster: ClusterId,
    pub(crate) cluster_key: Secret,
    pub(crate) epoch: Epoch,
    pub(crate) slots: Slots,
    pub(crate) router: Arc<Router<Connection>>,
    pub(crate) artefacts: Artefacts,
    pub(crate) logs: Logs,
    pub(crate) mailbox: Mailbox,
    pub(crate) sessions: Arc<AtomicU64>,
}

impl fmt::Debug for DataPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataPath")
            .field("cluster", &self.cluster)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Authority for DataPath {
    fn secret(&self, runner: RunnerKey) -> Secret {
        ftl_wire::runner_secret(&self.cluster_key, &self.cluster, runner)
    }

    fn wanted(&self, runner: RunnerKey, _instance: Instance) -> bool {
        self.slots.load().contains_key(&runner)
    }

    fn connected(&self, connection: &Connection) -> Arc<dyn Dispatch> {
        let Peer::Runner { key, instance } = *connection.peer() else { return Arc::new(Nobody) };
        let Some(slot) = self.slots.load().get(&key).cloned() else { return Arc::new(Nobody) };
        // Numbers grow with every connection, so that a former one can be told from the newest.
        let session = Session(1 + self.sessions.fetch_add(1, Ordering::Relaxed));
        let order = Order { epoch: self.epoch, session };
        let peer = PeerOf { key, instance, order };
        let overseer =
            Overseer { peer, slot: slot.clone(), connection: connection.clone(), path: self.clone() };
        let control = remote::serve_supervisor(
            Arc::new(overseer),
            Arc::new(remote::RemoteRunner::new(Arc::new(connection.clone()))),
        );
        // Ends with the connection it waits for, or with the data path's runtime.
        tokio::spawn({
            let (mailbox, connection) = (self.mailbox.clone(), connection.clone());
            async move {
                let closed = connection.closed().await;
                tracing::debug!(runner = %key, %session, %closed, "a runner's connection ended");
                mailbox.send(Message::Disconnected { key, session }).await;
            }
        });
        Arc::new(Calls { edges: slot.edges.clone(), router: self.router.clone(), control })
    }
}

/// One connection of one Runner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerOf {
    pub(crate) key: RunnerKey,
    pub(crate) instance: Instance,
    pub(crate) order: Order,
}

/// Where the calls of a Runner's user code go.
#[derive(Debug)]
struct Calls {
    edges: Arc<CallEdges>,
    router: Arc<Router<Connection>>,
    control: Arc<dyn VerbService>,
}

impl Dispatch for Calls {
    fn dispatch(&self, head: &HeadRef<'_>) -> Route {
        let target = head.target();
        if target.split_once('.').is_some_and(|(module, _)| module == RESERVED_MODULE) {
            return Route::Serve(self.control.clone());
        }
        // The Runner checked this too, but it runs beside user code, and this process does not.
        if let Err(failure) = self.edges.check(target, head.caller()) {
            return Route::Refuse(failure);
        }
        tracing::debug!(
            request = head.request(),
            verb = target,
            caller = head.caller(),
            "a call of a deployment"
        );
        if sequence::recording() {
            Event::new(Actor::Runner, Actor::Controller, "Call", "reply", target).record();
        }
        match self.router.route(target, head.caller()) {
            Routed::To(to) => {
                let stamp = Stamp { replica: Some(to.row.replica), table: Some(self.router.version()) };
                Route::Relay { to: to.service.clone(), stamp }
            }
            Routed::Wait => Route::Serve(self.router.clone()),
            Routed::Refused(failure) => Route::Refuse(failure),
        }
    }
}

/// The dispatch of a Runner whose slot went away while it connected.
#[derive(Debug)]
struct Nobody;

impl Dispatch for Nobody {
    fn dispatch(&self, _head: &HeadRef<'_>) -> Route {
        Route::Refuse(
            Failure::new(ftl_core::Code::Unavailable, "this runner is no longer wanted").not_started(false),
        )
    }
}

/// The Controller as one Runner's connection sees it.
#[derive(Debug)]
struct Overseer {
    peer: PeerOf,
    slot: Arc<SlotView>,
    connection: Connection,
    path: DataPath,
}

impl Overseer {
    /// A Runner may know its own deployment, and no other.
    fn own(&self, id: &DeploymentId) -> Result<(), ControllerError> {
        if *id == self.slot.id {
            return Ok(());
        }
        let (key, id) = (self.peer.key, id.short());
        Err(ControllerError::Denied(format!("runner {key} was not created for {id}")))
    }

    fn current(&self, order: Order) -> Result<(), ControllerError> {
        if order == self.peer.order { Ok(()) } else { Err(ControllerError::Stale) }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Overseer {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.path.router.call(call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Supervisor for Overseer {
    async fn register_runner(
        &self,
        registration: Registration,
        runner: Arc<dyn Runner>,
    ) -> Result<Registered, ControllerError> {
        let id = self.slot.id.short();
        Event::new(Actor::Runner, Actor::Controller, "RegisterRunner", "ack", &id).record();
        if registration.instance != self.peer.instance {
            return Err(ControllerError::Denied("the handshake named another process".to_owned()));
        }
        let (peer, connection) = (self.peer, self.connection.clone());
        let ask = |reply| Message::Register { peer, registration, connection, runner, reply };
        self.path.mailbox.ask(ask).await?;
        Ok(Registered::new(self.peer.order))
    }

    async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError> {
        self.own(id)?;
        Event::new(Actor::Runner, Actor::Controller, "GetDeployment", "schema", &id.short()).record();
        Ok(DeploymentInfo::of(&self.slot.spec))
    }

    async fn get_deployment_artefacts(&self, id: &DeploymentId) -> Result<Manifest, ControllerError> {
        self.own(id)?;
        Event::new(Actor::Runner, Actor::Controller, "GetDeploymentArtefacts", "artefacts", &id.short())
            .record();
        Ok(self.slot.spec.artefacts.clone())
    }

    async fn read_artefact(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
        if !self.slot.spec.artefacts.artefacts().iter().any(|artefact| artefact.digest == digest) {
            return Err(ControllerError::Denied(format!("{} has no such artefact", self.slot.id.short())));
        }
        self.path.artefacts.read(digest, offset).await
    }

    async fn deployed(&self, order: Order, id: &DeploymentId) -> Result<(), ControllerError> {
        self.current(order)?;
        self.own(id)?;
        Event::new(Actor::Runner, Actor::Controller, "Deployed", "ack", &id.short()).record();
        let peer = self.peer;
        self.path.mailbox.ask(|reply| Message::Deployed { peer, reply }).await
    }

    async fn report(&self, order: Order, report: Report) -> Result<(), ControllerError> {
        self.current(order)?;
        let peer = self.peer;
        self.path.mailbox.ask(|reply| Message::Report { peer, report, reply }).await
    }

    async fn append_logs(&self, order: Order, lines: Vec<OutputLine>) -> Result<(), ControllerError> {
        self.current(order)?;
        for line in lines.into_iter().take(LOG_LINES_MAX) {
            self.path.logs.push(LogLine::new(self.slot.id.module().clone(), self.peer.key, line));
        }
        Ok(())
    }
}
