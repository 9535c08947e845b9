//! Who answers a call that arrives: served here, relayed on, or refused.

use std::fmt;
use std::sync::Arc;

use ftl_core::key::{Replica, TableVersion};
use ftl_core::{Failure, VerbService};

use crate::connection::Connection;
use crate::frame::CallHead;

/// Decides where the calls of one connection go. Called in the connection's task: it must not block.
///
/// Calls of the module `ftl` may only be answered by [`Route::Serve`]: the wire itself refuses to relay them.
pub trait Dispatch: fmt::Debug + Send + Sync + 'static {
    /// Where this call goes.
    fn dispatch(&self, head: &HeadRef<'_>) -> Route;
}

/// Where a call goes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Route {
    /// To a service of this process. Its future is first polled in the connection's task, which costs nothing for a
    /// call that ends at once, and in a task of its own if it has to wait.
    Serve(Arc<dyn VerbService>),
    /// On to another connection; the body is not parsed.
    Relay {
        /// The next leg.
        to: Connection,
        /// What the relay adds.
        stamp: Stamp,
    },
    /// Nowhere. Its fate must be `NotStarted`.
    Refuse(Failure),
}

/// What a relay that routes writes into the head of a call it hands on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The replica that was picked.
    pub replica: Option<Replica>,
    /// The version of the table that it was picked from.
    pub table: Option<TableVersion>,
}

/// The head of a call as it lies in the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct HeadRef<'a> {
    head: &'a CallHead<'a>,
}

impl<'a> HeadRef<'a> {
    pub(crate) fn new(head: &'a CallHead<'a>) -> Self {
        Self { head }
    }

    /// `module.verb`.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.head.target
    }

    /// The id of the whole request, if the caller gave one.
    #[must_use]
    pub fn request(&self) -> Option<&'a str> {
        self.head.request
    }

    /// The verb that calls, as its own process says; whoever authenticated that process must check it.
    #[must_use]
    pub fn caller(&self) -> Option<&'a str> {
        self.head.caller
    }

    /// The replica that the sender picked.
    #[must_use]
    pub fn replica(&self) -> Option<Replica> {
        self.head.replica
    }

    /// The version of the table that the sender picked it from.
    #[must_use]
    pub fn table(&self) -> Option<TableVersion> {
        self.head.table
    }

    /// 0 at first; grows with each retry.
    #[must_use]
    pub fn attempt(&self) -> u8 {
        self.head.attempt
    }
}
