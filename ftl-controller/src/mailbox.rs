//! What is put before the reconciler: a bounded queue of messages, each answered once.

use std::sync::Arc;
use std::time::Duration;

use ftl_core::controller::{ChangeSpec, ChangeStatus, ModuleStatus};
use ftl_core::key::{ChangeId, RunnerKey, Session};
use ftl_core::runner::{Registration, Report, Runner};
use ftl_core::{Code, ControllerError, Failure};
use ftl_wire::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::platforms::PlatformEvent;
use crate::runners::PeerOf;

/// Messages that may wait; whoever finds the queue full waits for a place.
const QUEUE: usize = 1024;

/// Where an answer goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, ControllerError>>;

/// One message to the reconciler.
#[derive(Debug)]
pub(crate) enum Message {
    /// A Runner connected and says who it is.
    Register {
        peer: PeerOf,
        registration: Registration,
        connection: Connection,
        runner: Arc<dyn Runner>,
        reply: Answer<()>,
    },
    /// A Runner's deployment answers.
    Deployed { peer: PeerOf, reply: Answer<()> },
    /// How far a Runner has come; also its heartbeat.
    Report { peer: PeerOf, report: Report, reply: Answer<()> },
    /// A connection ended.
    Disconnected { key: RunnerKey, session: Session },
    /// A platform answered.
    Platform(PlatformEvent),
    /// Somebody wants something else to run.
    Apply { change: ChangeSpec, deadline: Duration, reply: Answer<ChangeId> },
    /// Somebody asks how everything stands.
    Status { reply: Answer<Vec<ModuleStatus>> },
    /// Somebody asks how a change is getting on.
    ChangeStatus { id: ChangeId, reply: Answer<ChangeStatus> },
}

/// The sending end.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox(mpsc::Sender<Message>);

impl Mailbox {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Puts a message that nobody waits for. At the end of the Controller there is nobody to read it, and no need.
    pub(crate) async fn send(&self, message: Message) {
        let _ = self.0.send(message).await;
    }

    /// Puts a message and waits for its answer.
    pub(crate) async fn ask<T>(
        &self,
        message: impl FnOnce(Answer<T>) -> Message,
    ) -> Result<T, ControllerError> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply)).await;
        answer.await.unwrap_or_else(|_| Err(ending()))
    }
}

/// What is answered when nothing can be done any more.
pub(crate) fn ending() -> ControllerError {
    Failure::new(Code::Unavailable, "the Controller is ending").not_started(true).into()
}
