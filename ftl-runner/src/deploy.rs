//! One deployment, from Deploy to its end.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::digest::Digest;
use ftl_core::key::DeploymentId;
use ftl_core::runner::Crash;
use ftl_core::sequence::{Actor, Event};
use ftl_core::{ControllerError, DeploymentInfo, VerbService};
use ftl_wire::{Connection, Peer};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::agent::Agent;
use crate::child::{UserCode, crash_of};
use crate::control::Control;
use crate::fetch::fetch;
use crate::options::Timings;
use crate::output::Output;
use crate::program::Program;
use crate::route::Upward;

/// First pause between two pings of user code that does not answer yet …
const PING_PAUSE_FIRST: Duration = Duration::from_millis(5);
/// … and the longest.
const PING_PAUSE_MAX: Duration = Duration::from_millis(500);
/// How often a Runner looks whether its user code still answers.
const STUCK_LOOK: Duration = Duration::from_secs(1);
/// How long the end of a process may be seen later than the end of its connection.
const END_LOOK: Duration = Duration::from_millis(500);
/// How long one ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// What one deployment needs around it.
#[derive(Debug)]
pub(crate) struct Deploying<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) control: &'a Control,
    pub(crate) output: &'a Arc<Output>,
    pub(crate) directory: &'a Path,
    /// Whether user code runs with the libraries that its deployment brings.
    pub(crate) libraries: bool,
    pub(crate) timings: Timings,
}

impl Deploying<'_> {
    /// Waits for Deploy, fetches, starts and serves, until the user code ends or `stop` says how long it may take to.
    ///
    /// Returns how it crashed, or `None` when it was asked to end.
    pub(crate) async fn live(&self, mut stop: watch::Receiver<Option<Duration>>) -> Option<Crash> {
        let mut ordered = self.agent.ordered.subscribe();
        let prepared = tokio::select! {
            _ = stop.wait_for(Option::is_some) => return None,
            prepared = async {
                let id = ordered.wait_for(Option::is_some).await.ok().and_then(|id| id.clone());
                self.prepare(&id.ok_or_else(|| Crash::new("the runner is ending"))?).await
            } => prepared,
        };
        match prepared {
            Ok((info, program)) => self.run(&info, &program, stop).await,
            Err(crash) => Some(crash),
        }
    }

    async fn prepare(&self, id: &DeploymentId) -> Result<(DeploymentInfo, Program), Crash> {
        let unanswered =
            |error: ControllerError| Crash::new(format!("its description could not be had: {error}"));
        let info = self.control.get_deployment(id).await.map_err(unanswered)?;
        let manifest = self.control.get_artefacts(id).await.map_err(unanswered)?;
        let files = self.directory.join("files");
        let fetched = fetch(self.control, &manifest, &files, self.libraries).await;
        let path = fetched.map_err(|error| Crash::new(error.to_string()))?;
        let program = Program::new(path, &files, self.libraries);
        let cannot = |words| Crash::new(format!("could not be started: {words}"));
        program.check().await.map_err(cannot)?;
        Ok((info, program))
    }

    async fn run(
        &self,
        info: &DeploymentInfo,
        program: &Program,
        mut stop: watch::Receiver<Option<Duration>>,
    ) -> Option<Crash> {
        let started = UserCode::start(program, self.directory, self.output);
        let (mut code, socket) = match started {
            Ok(started) => started,
            Err(error) => return Some(Crash::new(format!("could not be started: {error}"))),
        };
        let crash = tokio::select! {
            _ = stop.wait_for(Option::is_some) => None,
            ended = code.wait() => Some(crash_of(&ended, self.when())),
            crash = self.serve(info, socket) => Some(crash),
        };
        let grace = stop.borrow().unwrap_or(self.timings.child_grace);
        code.stop(grace).await;
        code.finish().await;
        crash.map(|mut crash| {
            crash.tail = self.output.tail();
            crash
        })
    }

    fn when(&self) -> &'static str {
        if self.agent.user_code.get().is_some() { "" } else { " before it was ready" }
    }

    /// Brings the user code to life and watches it; returns only what went wrong.
    async fn serve(&self, info: &DeploymentInfo, socket: std::os::unix::net::UnixStream) -> Crash {
        let deadline = Instant::now() + self.timings.alive;
        let dispatch = Arc::new(Upward::new(&info.schema, self.control.link()));
        let options = ftl_wire::Options::default().with_handshake(self.timings.alive);
        let silent = || Crash::new(format!("did not answer a ping within {:?}", self.timings.alive));
        let connection =
            match timeout_at(deadline, ftl_wire::accept_deployment(socket, dispatch, &options)).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(ftl_wire::HandshakeError::Timeout)) | Err(_) => return silent(),
                Ok(Err(error)) => {
                    // The end of the process explains more than the end of its connection.
                    sleep(END_LOOK).await;
                    return Crash::new(format!("did not speak the protocol of this runner: {error}"));
                }
            };
        if let Err(crash) = self.check_schema(info, &connection) {
            return crash;
        }
        if self.ping_until_alive(info, &connection, deadline).await.is_none() {
            return silent();
        }
        info!(deployment = %info.id.short(), "deployed");
        // Set once: this is the only task that does so, and it does so once.
        let _ = self.agent.user_code.set(connection.clone());
        self.agent.become_ready();
        let closed = tokio::select! {
            closed = connection.closed() => closed,
            never = self.tell_when_stuck(&connection) => match never {},
        };
        // The end of the process explains more than the end of its connection: give it a moment to be seen.
        sleep(END_LOOK).await;
        Crash::new(format!("closed its connection: {closed}"))
    }

    /// Tells those who read its output when the user code answers no more, and when it does again. Its calls may still
    /// end, so nothing else is done about it here: calls are refused meanwhile.
    async fn tell_when_stuck(&self, connection: &Connection) -> Infallible {
        let mut stuck = false;
        loop {
            sleep(STUCK_LOOK).await;
            if connection.is_stuck() != stuck {
                stuck = !stuck;
                let silence = connection.silent_for().as_secs();
                let words = if stuck {
                    format!(
                        "the deployment has not answered for {silence} s: calls are refused until it does"
                    )
                } else {
                    "the deployment answers again".to_owned()
                };
                warn!("{words}");
                self.output.say(&format!("[runner {}] {words}", self.agent.key));
            }
        }
    }

    fn check_schema(&self, info: &DeploymentInfo, connection: &Connection) -> Result<(), Crash> {
        let promised = info.schema.hash();
        let found: Option<Digest> = match connection.peer() {
            Peer::Deployment { schema } => Some(*schema),
            _ => None,
        };
        match found {
            Some(found) if found == promised => Ok(()),
            Some(found) => {
                let (promised, found) = (promised.short(), found.short());
                Err(Crash::new(format!(
                    "the running binary serves schema {found}, its deployment promised {promised}: build and deploy it again"
                )))
            }
            None => Err(Crash::new("did not say which schema it serves")),
        }
    }

    async fn ping_until_alive(
        &self,
        info: &DeploymentInfo,
        connection: &Connection,
        deadline: Instant,
    ) -> Option<()> {
        let id = info.id.short();
        let mut pause = PING_PAUSE_FIRST;
        while Instant::now() < deadline {
            Event::new(Actor::Runner, Actor::Deployment, "Ping", "ack", &id).record();
            if connection.ping((Instant::now() + PING_TIMEOUT).min(deadline)).await.is_ok() {
                return Some(());
            }
            sleep(pause).await;
            pause = (pause * 2).min(PING_PAUSE_MAX);
        }
        None
    }
}
