//! One connection: calls out of it, calls into it, its end.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ftl_core::digest::Digest;
use ftl_core::key::{Instance, RunnerKey};
use ftl_core::routing::Load;
use ftl_core::{Call, CallError, Failure, Reply, VerbService};
use tokio::time::Instant;

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
    /// Nothing was heard for too long.
    Silent,
    /// The other end is no more.
    Lost,
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

/// One connection. Cheap to clone; it is closed by [`Connection::close`], by its peer, or with its runtime.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<()>,
}

impl Connection {
    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        unimplemented!()
    }

    /// Whether calls can be made.
    #[must_use]
    pub fn is_open(&self) -> bool {
        unimplemented!()
    }

    /// Waits for the end.
    pub async fn closed(&self) -> Closed {
        unimplemented!()
    }

    /// Ends it: running calls end as the fate table says.
    pub fn close(&self, _reason: CloseReason, _message: &str) {
        unimplemented!()
    }

    /// Takes no new calls from the peer, lets running ones finish until `deadline`, then closes.
    pub async fn drain(&self, _deadline: Instant) {
        unimplemented!()
    }
}

impl Load for Connection {
    /// Calls that were sent over this connection, relayed ones included, and have no terminal yet.
    fn open_calls(&self) -> usize {
        unimplemented!()
    }
}

#[async_trait]
impl VerbService for Connection {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        unimplemented!()
    }

    async fn call(&self, _call: Call) -> Result<Reply, CallError> {
        unimplemented!()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("shared", &self.shared).finish()
    }
}
