//! The connection to the Controller: dialled, registered, kept, and dialled again when it breaks.
//!
//! A broken connection never ends a Runner. It ends when it is told so, because its slot is gone; or when no Controller has
//! let it in for so long that none will.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ftl_core::artefact::Manifest;
use ftl_core::boot::Boot;
use ftl_core::digest::Digest;
use ftl_core::key::DeploymentId;
use ftl_core::name::Language;
use ftl_core::remote::RemoteSupervisor;
use ftl_core::runner::{Order, Registration, Report};
use ftl_core::{Code, ControllerError, DeploymentInfo, Failure, Supervisor};
use ftl_wire::{Address, Connection, DialError, Identity};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use crate::agent::Agent;
use crate::fetch::Source;
use crate::options::Timings;
use crate::output::Output;
use crate::route::Downward;

/// How long a question to the Controller is repeated over new connections before it is given up: the Controller
/// replaces a Runner that is not ready by then.
const ASK_MAX: Duration = Duration::from_secs(20);
/// Pause before a question is repeated on the same connection.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// One registered connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) supervisor: RemoteSupervisor,
    pub(crate) order: Order,
}

/// The Runner's side of its Controller.
#[derive(Debug)]
pub(crate) struct Control {
    agent: Arc<Agent>,
    identity: Identity,
    addresses: Vec<Address>,
    language: Language,
    timings: Timings,
    link: watch::Sender<Option<Link>>,
    /// The last report that the Controller has taken.
    told: watch::Sender<Option<Report>>,
}

/// The slot of this Runner does not exist any more.
#[derive(Debug, PartialEq, Eq)]
struct Gone;

/// Why a Runner looks for its Controller no longer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// Its slot does not exist any more.
    Gone,
    /// No Controller has let it in for [`Timings::orphan`].
    Forgotten,
}

impl Control {
    pub(crate) fn new(boot: &Boot, agent: Arc<Agent>, timings: Timings) -> Self {
        let addresses = boot.controller.iter().filter_map(|address| address.parse().ok()).collect();
        let identity = Identity::new(agent.key, agent.instance, boot.secret.clone());
        let language = boot.language.clone();
        let (link, told) = (watch::Sender::new(None), watch::Sender::new(None));
        Self { agent, identity, addresses, language, timings, link, told }
    }

    /// The newest registered connection, if there is one.
    pub(crate) fn link(&self) -> watch::Receiver<Option<Link>> {
        self.link.subscribe()
    }

    /// Keeps a connection to the Controller until there is none to be kept any more.
    pub(crate) async fn keep(&self) -> Parting {
        let mut pause = self.timings.redial_first;
        let mut let_in = Instant::now();
        loop {
            match self.dial().await {
                Ok(connection) => {
                    match self.session(connection).await {
                        Ok(registered) if registered => pause = self.timings.redial_first,
                        Ok(_) => {}
                        Err(Gone) => return Parting::Gone,
                    }
                    let_in = Instant::now();
                }
                Err(Some(Gone)) => return Parting::Gone,
                Err(None) => {}
            }
            self.link.send_replace(None);
            if let_in.elapsed() >= self.timings.orphan {
                return Parting::Forgotten;
            }
            sleep(pause).await;
            pause = (pause * 2).min(self.timings.redial_max);
        }
    }

    async fn dial(&self) -> Result<Connection, Option<Gone>> {
        let dispatch = Arc::new(Downward::new(self.agent.clone()));
        for address in &self.addresses {
            match ftl_wire::dial(address, &self.identity, dispatch.clone(), &ftl_wire::Options::default())
                .await
            {
                Ok(connection) => return Ok(connection),
                Err(DialError::Gone) => return Err(Some(Gone)),
                Err(error) => {
                    warn!(%address, error = &error as &dyn std::error::Error, "the Controller was not reached")
                }
            }
        }
        Err(None)
    }

    /// Registers and reports until the connection closes; answers whether it was registered.
    async fn session(&self, connection: Connection) -> Result<bool, Gone> {
        let supervisor = RemoteSupervisor::new(Arc::new(connection.clone()));
        let report = self.agent.phase.borrow().clone();
        let registration = Registration::new(self.language.clone(), self.agent.instance, report.clone());
        let order = match supervisor.register(&registration).await {
            Ok(registered) => registered.order,
            Err(ControllerError::Gone) => return Err(Gone),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the Controller did not register this runner"
                );
                connection.close(ftl_wire::CloseReason::Normal, "not registered");
                return Ok(false);
            }
        };
        if !self.agent.registered(order) {
            warn!(?order, "a Controller older than the last one was dialled");
            connection.close(ftl_wire::CloseReason::Normal, "an older Controller");
            return Ok(false);
        }
        info!(runner = %self.agent.key, session = %order.session, "registered");
        let link = Link { connection, supervisor, order };
        self.link.send_replace(Some(link.clone()));
        self.told.send_replace(Some(report.clone()));
        self.report_until_closed(&link, report).await?;
        Ok(true)
    }

    async fn report_until_closed(&self, link: &Link, mut told: Report) -> Result<(), Gone> {
        let mut phase = self.agent.phase.subscribe();
        let mut beat = interval(self.timings.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.reset();
        loop {
            let now = phase.borrow_and_update().clone();
            if now != told {
                match self.tell(link, &now).await {
                    Ok(()) => {
                        told = now.clone();
                        self.told.send_replace(Some(now));
                    }
                    Err(ControllerError::Gone) => return Err(Gone),
                    Err(ControllerError::Stale) => return Ok(()),
                    Err(error) => {
                        warn!(error = &error as &dyn std::error::Error, "a report was not taken");
                        sleep(ASK_PAUSE).await;
                    }
                }
                if link.connection.is_open() {
                    continue;
                }
            }
            tokio::select! {
                _ = link.connection.closed() => return Ok(()),
                changed = phase.changed() => if changed.is_err() { return Ok(()) },
                _ = beat.tick() => match link.supervisor.report(link.order, told.clone()).await {
                    Err(ControllerError::Gone) => return Err(Gone),
                    Err(ControllerError::Stale) => return Ok(()),
                    _ => {}
                },
            }
        }
    }

    async fn tell(&self, link: &Link, report: &Report) -> Result<(), ControllerError> {
        let ordered = self.agent.ordered.borrow().clone();
        match (report, ordered) {
            (Report::Ready, Some(id)) => link.supervisor.deployed(link.order, &id).await,
            _ => link.supervisor.report(link.order, report.clone()).await,
        }
    }

    /// Resolves when there is no connection to the Controller.
    pub(crate) async fn unreachable(&self) {
        let link = self.link.borrow().as_ref().map(|link| link.connection.clone());
        if let Some(connection) = link {
            connection.closed().await;
        }
    }

    /// Waits until the Controller has taken this report, as long as last words may take.
    pub(crate) async fn told(&self, report: &Report) {
        let mut told = self.told.subscribe();
        let _ = timeout(self.timings.last_words, told.wait_for(|told| told.as_ref() == Some(report))).await;
    }

    /// Asks the Controller, over whatever connection there is, again when one breaks.
    async fn ask<T>(
        &self,
        question: impl AsyncFn(&RemoteSupervisor) -> Result<T, ControllerError>,
    ) -> Result<T, ControllerError> {
        let mut last = String::new();
        let asking = async {
            let mut link = self.link.subscribe();
            loop {
                let supervisor = match link.wait_for(Option::is_some).await {
                    Ok(link) => link.as_ref().map(|link| link.supervisor.clone()),
                    Err(_) => None,
                };
                let Some(supervisor) = supervisor else { return Err(ControllerError::Gone) };
                match question(&supervisor).await {
                    Err(ControllerError::Failed(failure)) if may_pass(&failure) => {
                        last = format!(": {failure}");
                        sleep(ASK_PAUSE).await;
                    }
                    answered => return answered,
                }
            }
        };
        match timeout(ASK_MAX, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                let message = format!("no answer from the Controller within {ASK_MAX:?}{last}");
                Err(Failure::new(Code::DeadlineExceeded, message).into())
            }
        }
    }

    pub(crate) async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError> {
        self.ask(async |supervisor| supervisor.get_deployment(id).await).await
    }

    pub(crate) async fn get_artefacts(&self, id: &DeploymentId) -> Result<Manifest, ControllerError> {
        self.ask(async |supervisor| supervisor.get_deployment_artefacts(id).await).await
    }

    /// Sends output as long as there is a Controller to take it.
    pub(crate) async fn ship(&self, output: &Output) {
        let mut link = self.link.subscribe();
        loop {
            output.written().await;
            let current = match link.wait_for(Option::is_some).await {
                Ok(current) => current.clone(),
                Err(_) => return,
            };
            let Some(current) = current else { continue };
            let batch = output.batch();
            match current.supervisor.append_logs(current.order, batch).await {
                Ok(()) => output.sent(),
                Err(_) => sleep(ASK_PAUSE).await,
            }
        }
    }
}

/// Whether the way to the Controller failed, and not what was asked.
fn may_pass(failure: &Failure) -> bool {
    matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded)
}

impl Source for Control {
    async fn read(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
        self.ask(async |supervisor| supervisor.read_artefact(digest, offset).await).await
    }
}
