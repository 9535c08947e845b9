//! What instances of one cluster share, and how a platform is doing.

use std::net::SocketAddr;
use std::time::Duration;

use super::ProgramSource;
use crate::key::{Epoch, RunnerKey};
use crate::name::ClusterId;

/// Whose instances a platform is to make ready for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterSpec {
    /// The cluster.
    pub cluster: ClusterId,
    /// The Controller's life that asks.
    pub generation: Epoch,
    /// Where the Controller listens already, `unix:PATH` or `tcp:127.0.0.1:PORT`.
    pub listening: Vec<String>,
    /// The programs that instances will run.
    pub programs: Vec<ProgramSource>,
    /// For people who find what it made: who asked, as `HOST:DATA DIRECTORY`.
    pub owner: String,
}

impl ClusterSpec {
    /// A cluster whose Controller listens there.
    #[must_use]
    pub fn new(cluster: ClusterId, generation: Epoch, listening: Vec<String>) -> Self {
        Self { cluster, generation, listening, programs: Vec::new(), owner: String::new() }
    }

    /// The TCP port at which the Controller listens, if it does.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let tcp = self.listening.iter().filter_map(|address| address.strip_prefix("tcp:"));
        tcp.filter_map(|address| address.rsplit_once(':')).find_map(|(_, port)| port.parse().ok())
    }
}

/// How instances of a cluster reach its Controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterAccess {
    /// What Runners are told to dial, in the order in which to try: `unix:PATH` or `tcp:HOST:PORT`.
    pub controllers: Vec<String>,
    /// Where the Controller must listen besides, for that.
    pub listen: Vec<SocketAddr>,
}

impl ClusterAccess {
    /// Runners dial these addresses.
    #[must_use]
    pub fn new(controllers: Vec<String>) -> Self {
        Self { controllers, listen: Vec::new() }
    }

    /// And the Controller listens there besides.
    #[must_use]
    pub fn with_listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }
}

/// How a backend is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Probe {
    /// One round trip.
    Ping,
    /// A program is started, its exit is read, and it is removed: a backend may answer and yet start nothing.
    Canary,
}

/// How a backend is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It works.
    Ok,
    /// It works in part.
    Degraded {
        /// What is wrong.
        why: String,
    },
    /// It does not work.
    Down {
        /// What is wrong.
        why: String,
    },
}

/// A reason to observe again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wake {
    /// The first: from now on changes are told.
    Subscribed,
    /// This instance changed, or some did.
    Changed(Option<RunnerKey>),
    /// Nothing happened, and it would have been told. At least every [`ALIVE_EVERY`].
    Alive,
}

/// A silent watch is a dead one after a little more than this.
pub const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// What [`Platform::release`](super::Platform::release) left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Released {
    /// What was removed, in the backend's own words.
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub left: Vec<String>,
}

impl Released {
    /// Nothing was there to remove.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }
}
