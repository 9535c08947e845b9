//! One connection: calls out of it, calls into it, its end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::digest::Digest;
use ftl_core::key::{Instance, RunnerKey};
use ftl_core::routing::Load;
use ftl_core::{Call, CallError, Code, Failure, Reply, VerbService};
use tokio::time::{Instant, timeout_at};

use crate::frame::CloseCode;
use crate::limits::DEAD_AFTER;
use crate::shared::Shared;

/// Who is at the other end, as the handshake proved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A Controller that knows this Runner's secret.
    Controller,
    /// A Runner that knows its secret.
    Runner {
        /// Its key.
        key: RunnerKey,
        /// Its process.
        instance: Instance,
    },
    /// User code at the other end of a socket that it inherited.
    Deployment {
        /// The hash of the schema that it serves.
        schema: Digest,
    },
    /// The Runner at the other end of this user code's inherited socket.
    ParentRunner,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("the Controller"),
            Self::Runner { key, .. } => write!(f, "runner {key}"),
            Self::Deployment { .. } => f.write_str("the deployment"),
            Self::ParentRunner => f.write_str("the runner"),
        }
    }
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Somebody was done.
    Normal,
    /// The slot of this Runner does not exist any more.
    Gone,
    /// Bytes that are no frame, or a frame that breaks a rule.
    Protocol,
    /// A frame larger than was agreed on.
    FrameTooLarge,
    /// The peer did not prove who it is, or may not come this way.
    Denied,
    /// The peer speaks no version that is spoken here.
    Version,
    /// Too many cancelled calls did not end.
    StuckPeer,
    /// Nothing was heard for too long.
    Silent,
    /// Too much waited to be sent, or too many handshakes were under way.
    Overloaded,
    /// The other end is no more.
    Lost,
}

impl CloseReason {
    pub(crate) fn code(self) -> CloseCode {
        match self {
            Self::Normal | Self::Lost => CloseCode::Normal,
            Self::Gone => CloseCode::Gone,
            Self::Protocol => CloseCode::Protocol,
            Self::FrameTooLarge => CloseCode::FrameTooLarge,
            Self::Denied => CloseCode::Denied,
            Self::Version => CloseCode::Version,
            Self::StuckPeer => CloseCode::StuckPeer,
            Self::Silent => CloseCode::Silent,
            Self::Overloaded => CloseCode::Overloaded,
        }
    }
}

impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Normal => Self::Normal,
            CloseCode::Gone => Self::Gone,
            CloseCode::Protocol | CloseCode::FlowControl => Self::Protocol,
            CloseCode::FrameTooLarge => Self::FrameTooLarge,
            CloseCode::Denied | CloseCode::AuthTimeout => Self::Denied,
            CloseCode::Version => Self::Version,
            CloseCode::StuckPeer => Self::StuckPeer,
            CloseCode::Silent => Self::Silent,
            CloseCode::Overloaded => Self::Overloaded,
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Why.
    pub reason: CloseReason,
    /// In words.
    pub message: String,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// One connection. Cheap to clone, callable from any thread and any runtime.
///
/// Its one task lives on the runtime on which it was made. The connection ends by [`Connection::close`] or
/// [`Connection::drain`], with its peer, with that runtime, or with the [`Listener`](crate::Listener) that let it in.
/// Dropping handles ends nothing: a connection that only serves calls needs none.
///
/// # Calls
/// As a [`VerbService`] it makes calls at the other end. Dropping the future of a call sends CANCEL. A failure says
/// truthfully how far the call got: `NotStarted` when its bytes were not wholly handed to the kernel or the peer said
/// so, `MayHaveRun` when they were and no answer came.
///
/// A ping is answered by the peer's connection task. User code that blocks its thread does not answer.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn into_shared(self) -> Arc<Shared> {
        self.shared
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// Whether calls can be made: `false` from the moment at which the peer drains or the connection ends.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.is_callable()
    }

    /// How long nothing has been heard of the peer. A peer that lives sends something every ten seconds or so.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.shared.silent_for()
    }

    /// Whether the peer has been silent for so long that any other than user code would count as dead.
    ///
    /// User code that blocks its thread cannot answer. Its connection stays open, so that its calls can still end;
    /// whoever routes to it must look here.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.silent_for() >= DEAD_AFTER
    }

    /// Waits for the end.
    pub async fn closed(&self) -> Closed {
        let mut closed = self.shared.closed.subscribe();
        match closed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(closed)) => closed.clone(),
            // The sender lives in the connection that is being borrowed.
            _ => Closed { reason: CloseReason::Lost, message: String::new() },
        }
    }

    /// Ends it: running calls end as far as is known of them.
    pub fn close(&self, reason: CloseReason, message: &str) {
        let closed = Closed { reason, message: message.to_owned() };
        self.shared.wake_with(|state| state.close(closed, Instant::now()));
    }

    /// Takes no new calls from the peer, lets running ones finish until `deadline`, then closes; returns when it is
    /// closed. No call fails that ends in time: the peer learns which of its calls never started.
    ///
    /// # Cancellation
    /// The drain goes on when the future is dropped.
    pub async fn drain(&self, deadline: Instant) {
        self.shared.wake_with(|state| state.begin_drain(deadline, Instant::now()));
        self.closed().await;
    }
}

impl Load for Connection {
    /// Calls that were sent over this connection, relayed ones included, and have no terminal yet.
    fn open_calls(&self) -> usize {
        self.shared.open_calls()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Connection {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        let mut ponged = self.shared.ponged.subscribe();
        let asked = self.shared.wake_with(|state| match state.refuses_pings() {
            Some(refused) => Err(refused.failure),
            None => Ok(state.ping()),
        })?;
        let (peer, answered) =
            (self.peer(), timeout_at(deadline, ponged.wait_for(|seen| *seen >= asked)).await);
        // The end of the connection counts as every answer, so that nobody waits for one that cannot come.
        let message = match (answered, &*self.shared.closed.borrow()) {
            (Ok(_), Some(closed)) => format!("the connection to {peer} is closed: {closed}"),
            (Ok(_), None) => return Ok(()),
            (Err(_), _) => {
                let message = format!("no sign of life from {peer} before the deadline");
                return Err(Failure::new(Code::DeadlineExceeded, message).not_started(true));
            }
        };
        Err(Failure::new(Code::Unavailable, message).not_started(true))
    }

    // Written out, because the macro's future would carry the call twice.
    fn call<'life0, 'async_trait>(
        &'life0 self,
        call: Call,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { crate::call::call(&self.shared, &call).await })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}
