//! A Runner as its Controller sees it ([`Runner`]), and the Controller as one Runner sees it ([`Supervisor`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::artefact::Manifest;
use crate::call::VerbService;
use crate::controller::ControllerError;
use crate::deployment::DeploymentInfo;
use crate::digest::Digest;
use crate::failure::Failure;
use crate::key::{DeploymentId, Epoch, Instance, Session};
use crate::name::{Language, RequestId};

/// Most lines in one batch of output.
pub const LOG_LINES_MAX: usize = 256;
/// Longest line of output, in bytes; what is longer is cut and counted as lost.
pub const LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Last lines of standard error that a crash report carries.
pub const CRASH_TAIL_LINES: usize = 20;

/// Who orders or reports: the fence against a late or former peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The Controller's life.
    pub epoch: Epoch,
    /// The connection.
    pub session: Session,
}

/// What a Runner says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Registration {
    /// What it can run.
    pub language: Language,
    /// Which process it is.
    pub instance: Instance,
    /// How far it had come, when it connects again.
    pub report: Report,
}

impl Registration {
    /// The first registration of a process.
    #[must_use]
    pub fn new(language: Language, instance: Instance, report: Report) -> Self {
        Self { language, instance, report }
    }
}

/// The answer to **RegisterRunner**. **Deploy** follows as a message of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Registered {
    /// What every later message of this connection must carry.
    pub order: Order,
}

impl Registered {
    /// Registered under this order.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self { order }
    }
}

/// How far a Runner has come; repeated as its heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Report {
    /// Waiting for Deploy, fetching or starting.
    Starting,
    /// Deployed, and serving.
    Ready,
    /// Asked to end; refuses new calls.
    Draining,
    /// No call is running any more.
    Drained,
    /// The deployment could not be started, or ended by itself. The Runner ends after it said so.
    Crashed(Crash),
}

/// How a deployment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct Crash {
    /// One sentence: `exited with code 3`, `did not answer a ping within 20 s`.
    pub reason: String,
    /// The exit code, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last lines of its standard error, at most [`CRASH_TAIL_LINES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<String>,
}

impl Crash {
    /// A crash of which only the reason is known.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), exit_code: None, signal: None, tail: Vec::new() }
    }
}

/// Which stream a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutputLine {
    /// When it was read, in microseconds since 1970.
    pub at_us: i64,
    /// Where it was written to.
    pub stream: Stream,
    /// The call it belongs to, if the line says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The line, without its end.
    pub text: String,
    /// Bytes that were lost before this line because nobody took them fast enough.
    #[serde(default)]
    pub lost_bytes: u64,
}

impl OutputLine {
    /// A line that is whole and after which nothing is missing.
    pub fn new(at_us: i64, stream: Stream, text: impl Into<String>) -> Self {
        Self { at_us, stream, request: None, text: text.into(), lost_bytes: 0 }
    }
}

/// One Runner, as the Controller sees it; calls ride back on the connection that the Runner opened.
///
/// # Errors
/// `aborted` when the order's epoch or session is not the newest that the Runner knows.
#[async_trait]
pub trait Runner: VerbService {
    /// **Deploy(id)**: acknowledged at once, idempotent. The outcome comes by [`Supervisor::deployed`] or
    /// [`Supervisor::report`]. Sent once per session.
    async fn deploy(&self, order: Order, id: &DeploymentId) -> Result<(), Failure>;

    /// Refuse new calls as not started, finish the running ones within `grace` of receipt, report
    /// [`Report::Drained`]. Acknowledged at once.
    async fn drain(&self, order: Order, grace: Duration) -> Result<(), Failure>;
}

/// The Controller as ONE authenticated Runner sees it.
///
/// Made per connection from the key that the handshake proved, so that a Runner can name neither another key nor
/// another slot's deployment.
///
/// # Errors
/// [`ControllerError::Gone`] when the slot does not exist any more: the Runner finishes and ends.
/// [`ControllerError::Stale`] when the order is not of the newest session.
#[async_trait]
pub trait Supervisor: VerbService {
    /// **RegisterRunner(language)**; `runner` is the way back.
    async fn register_runner(
        &self,
        registration: Registration,
        runner: Arc<dyn Runner>,
    ) -> Result<Registered, ControllerError>;

    /// **GetDeployment(id)** ⇒ schema.
    async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError>;

    /// **GetDeploymentArtefacts(id)** ⇒ the files' names and digests …
    async fn get_deployment_artefacts(&self, id: &DeploymentId) -> Result<Manifest, ControllerError>;

    /// … and their bytes, by ranges of [`ARTEFACT_READ_BYTES_MAX`](crate::artefact::ARTEFACT_READ_BYTES_MAX), fewer only
    /// at the end and none behind it: memory stays bounded, and the Runner needs no second protocol.
    async fn read_artefact(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError>;

    /// **Deployed(id)**: it answers, and it is what was promised.
    async fn deployed(&self, order: Order, id: &DeploymentId) -> Result<(), ControllerError>;

    /// How far it has come; also the heartbeat.
    async fn report(&self, order: Order, report: Report) -> Result<(), ControllerError>;

    /// Output of the deployment, at most [`LOG_LINES_MAX`] lines.
    async fn append_logs(&self, order: Order, lines: Vec<OutputLine>) -> Result<(), ControllerError>;
}
