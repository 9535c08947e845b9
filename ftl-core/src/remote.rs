//! Turns a `VerbService` into a remote [`Supervisor`] or [`Runner`], and back.
//!
//! Control messages are calls to the reserved module `ftl`, so the control plane needs no second protocol: whatever
//! carries calls carries it, a wire as well as a function call in a test. No I/O here.
//!
//! Calls to `ftl` end at the connection they arrive on. Whoever owns a connection hands exactly those calls to
//! [`serve_supervisor`] or [`serve_runner`] and refuses to forward them anywhere.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::artefact::{ARTEFACT_READ_BYTES_MAX, Manifest};
use crate::call::{BODY_BYTES_MAX, Body, Call, Head, Reply, VerbService};
use crate::controller::ControllerError;
use crate::deployment::DeploymentInfo;
use crate::digest::Digest;
use crate::failure::{CallError, Code, Failure};
use crate::key::DeploymentId;
use crate::name::{ModuleName, NameError, RequestId, VerbRef};
use crate::runner::{Order, OutputLine, Registered, Registration, Report, Runner, Supervisor};

/// How long a control message may take: a healthy peer answers within a few milliseconds.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
/// The request id of control messages: they belong to no call.
const CONTROL_REQUEST: &str = "control";

#[derive(Serialize, Deserialize)]
struct ReadArtefact {
    digest: Digest,
    offset: u64,
}

#[derive(Serialize, Deserialize)]
struct Deploy {
    order: Order,
    id: DeploymentId,
}

#[derive(Serialize, Deserialize)]
struct Drain {
    order: Order,
    grace: Duration,
}

#[derive(Serialize, Deserialize)]
struct Reported {
    order: Order,
    report: Report,
}

#[derive(Serialize, Deserialize)]
struct Logged {
    order: Order,
    lines: Vec<OutputLine>,
}

fn control_head(verb: &str) -> Result<Head, NameError> {
    let target = VerbRef::new(ModuleName::reserved(), verb.parse()?);
    Ok(Head::new(target, CONTROL_REQUEST.parse::<RequestId>()?, Instant::now() + CONTROL_TIMEOUT))
}

async fn send(service: &dyn VerbService, verb: &str, message: &impl Serialize) -> Result<Bytes, CallError> {
    let internal =
        |error: &dyn std::fmt::Display| Failure::new(Code::Internal, error.to_string()).not_started(false);
    let head = control_head(verb).map_err(|error| internal(&error))?;
    let json = serde_json::to_vec(message).map_err(|error| internal(&error))?;
    let reply = service.call(Call::new(head, Body::once(json))).await?;
    Ok(reply.body.collect(BODY_BYTES_MAX).await?)
}

fn read<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::new(Code::InvalidArgument, format!("{what} cannot be read: {error}")))
}

async fn ask<T: DeserializeOwned>(
    service: &dyn VerbService,
    verb: &str,
    message: &impl Serialize,
) -> Result<T, ControllerError> {
    let bytes = send(service, verb, message).await.map_err(|error| controller_error(error, verb))?;
    Ok(read(&bytes, "the Controller's answer")?)
}

fn controller_error(error: CallError, verb: &str) -> ControllerError {
    match error {
        CallError::Failed(failure) => ControllerError::Failed(failure),
        CallError::Verb(body) => serde_json::from_slice(body.bytes()).unwrap_or_else(|_| {
            Failure::new(Code::Internal, format!("the Controller's error to `{verb}` cannot be read")).into()
        }),
    }
}

/// The Controller at the other end of a connection, as its Runner sees it.
#[derive(Clone, Debug)]
pub struct RemoteSupervisor {
    connection: Arc<dyn VerbService>,
}

impl RemoteSupervisor {
    /// Speaks through this connection. The way back is the connection itself: its other direction must be served by
    /// [`serve_runner`].
    #[must_use]
    pub fn new(connection: Arc<dyn VerbService>) -> Self {
        Self { connection }
    }

    /// [`Supervisor::register_runner`] without naming the way back.
    ///
    /// # Errors
    /// Those of [`Supervisor::register_runner`].
    pub async fn register(&self, registration: &Registration) -> Result<Registered, ControllerError> {
        ask(&*self.connection, "register_runner", registration).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for RemoteSupervisor {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        self.connection.ping(deadline).await
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.connection.call(call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Supervisor for RemoteSupervisor {
    async fn register_runner(
        &self,
        registration: Registration,
        _runner: Arc<dyn Runner>,
    ) -> Result<Registered, ControllerError> {
        self.register(&registration).await
    }

    async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError> {
        ask(&*self.connection, "get_deployment", id).await
    }

    async fn get_deployment_artefacts(&self, id: &DeploymentId) -> Result<Manifest, ControllerError> {
        ask(&*self.connection, "get_deployment_artefacts", id).await
    }

    async fn read_artefact(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
        let sent = send(&*self.connection, "read_artefact", &ReadArtefact { digest, offset }).await;
        sent.map_err(|error| controller_error(error, "read_artefact"))
    }

    async fn deployed(&self, order: Order, id: &DeploymentId) -> Result<(), ControllerError> {
        ask(&*self.connection, "deployed", &Deploy { order, id: id.clone() }).await
    }

    async fn report(&self, order: Order, report: Report) -> Result<(), ControllerError> {
        ask(&*self.connection, "report", &Reported { order, report }).await
    }

    async fn append_logs(&self, order: Order, lines: Vec<OutputLine>) -> Result<(), ControllerError> {
        ask(&*self.connection, "append_logs", &Logged { order, lines }).await
    }
}

/// A Runner at the other end of a connection, as its Controller sees it.
#[derive(Clone, Debug)]
pub struct RemoteRunner {
    connection: Arc<dyn VerbService>,
}

impl RemoteRunner {
    /// Speaks through this connection.
    #[must_use]
    pub fn new(connection: Arc<dyn VerbService>) -> Self {
        Self { connection }
    }

    async fn order(&self, verb: &str, message: &impl Serialize) -> Result<(), Failure> {
        match send(&*self.connection, verb, message).await {
            Ok(_) => Ok(()),
            Err(CallError::Failed(failure)) => Err(failure),
            Err(CallError::Verb(_)) => Err(Failure::new(Code::Internal, "a Runner has no typed errors")),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for RemoteRunner {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        self.connection.ping(deadline).await
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.connection.call(call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Runner for RemoteRunner {
    async fn deploy(&self, order: Order, id: &DeploymentId) -> Result<(), Failure> {
        self.order("deploy", &Deploy { order, id: id.clone() }).await
    }

    async fn drain(&self, order: Order, grace: Duration) -> Result<(), Failure> {
        self.order("drain", &Drain { order, grace }).await
    }
}

/// Answers the control messages of one Runner.
///
/// `supervisor` is the Controller as this Runner may see it, `runner` the way back to the Runner.
#[must_use]
pub fn serve_supervisor(supervisor: Arc<dyn Supervisor>, runner: Arc<dyn Runner>) -> Arc<dyn VerbService> {
    Arc::new(SupervisorEnd { supervisor, runner })
}

/// Answers the control messages of the Controller.
#[must_use]
pub fn serve_runner(runner: Arc<dyn Runner>) -> Arc<dyn VerbService> {
    Arc::new(RunnerEnd { runner })
}

#[derive(Debug)]
struct SupervisorEnd {
    supervisor: Arc<dyn Supervisor>,
    runner: Arc<dyn Runner>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for SupervisorEnd {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        self.supervisor.ping(deadline).await
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let (verb, bytes) = open(call).await?;
        let supervisor = &*self.supervisor;
        match verb.as_str() {
            "register_runner" => {
                let registration = read(&bytes, "RegisterRunner")?;
                answer(supervisor.register_runner(registration, self.runner.clone()).await)
            }
            "get_deployment" => answer(supervisor.get_deployment(&read(&bytes, "GetDeployment")?).await),
            "get_deployment_artefacts" => {
                let id = read(&bytes, "GetDeploymentArtefacts")?;
                answer(supervisor.get_deployment_artefacts(&id).await)
            }
            "read_artefact" => {
                let ReadArtefact { digest, offset } = read(&bytes, "a ranged read")?;
                let range = supervisor.read_artefact(digest, offset).await.map_err(typed)?;
                debug_assert!(range.len() <= ARTEFACT_READ_BYTES_MAX);
                Ok(Reply::new(Body::once(range)))
            }
            "deployed" => {
                let Deploy { order, id } = read(&bytes, "Deployed")?;
                answer(supervisor.deployed(order, &id).await)
            }
            "report" => {
                let Reported { order, report } = read(&bytes, "a report")?;
                answer(supervisor.report(order, report).await)
            }
            "append_logs" => {
                let Logged { order, lines } = read(&bytes, "log lines")?;
                answer(supervisor.append_logs(order, lines).await)
            }
            other => Err(unknown("the Controller", other).into()),
        }
    }
}

#[derive(Debug)]
struct RunnerEnd {
    runner: Arc<dyn Runner>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for RunnerEnd {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        self.runner.ping(deadline).await
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let (verb, bytes) = open(call).await?;
        match verb.as_str() {
            "deploy" => {
                let Deploy { order, id } = read(&bytes, "Deploy")?;
                self.runner.deploy(order, &id).await?;
            }
            "drain" => {
                let Drain { order, grace } = read(&bytes, "Drain")?;
                self.runner.drain(order, grace).await?;
            }
            other => return Err(unknown("the Runner", other).into()),
        }
        answer(Ok(()))
    }
}

async fn open(call: Call) -> Result<(String, Bytes), Failure> {
    if !call.head.target.module.is_reserved() {
        let message = format!("`{}` is no control message", call.head.target);
        return Err(Failure::new(Code::PermissionDenied, message).not_started(false));
    }
    Ok((call.head.target.verb.to_string(), call.body.collect(BODY_BYTES_MAX).await?))
}

fn unknown(who: &str, verb: &str) -> Failure {
    Failure::new(Code::Unimplemented, format!("{who} knows no control message `{verb}`")).not_started(false)
}

fn answer<T: Serialize>(result: Result<T, ControllerError>) -> Result<Reply, CallError> {
    let json = serde_json::to_vec(&result.map_err(typed)?)
        .map_err(|error| Failure::new(Code::Internal, format!("the answer has no JSON form: {error}")))?;
    Ok(Reply::new(Body::once(json)))
}

fn typed(error: ControllerError) -> CallError {
    match error {
        ControllerError::Failed(failure) => CallError::Failed(failure),
        other => match serde_json::to_vec(&other) {
            Ok(json) => CallError::Verb(Body::once(json)),
            Err(_) => CallError::Failed(Failure::new(Code::Internal, other.to_string())),
        },
    }
}
