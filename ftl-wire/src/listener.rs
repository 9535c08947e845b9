//! Where a Controller waits for its Runners.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ftl_core::Secret;
use ftl_core::key::{Instance, RunnerKey};

use crate::address::Address;
use crate::connection::Connection;
use crate::dispatch::Dispatch;
use crate::options::Options;

/// Knows which Runners there are. Called in the listener's tasks: it must not block.
pub trait Authority: fmt::Debug + Send + Sync + 'static {
    /// The secret of any key, wanted or not: derived, never looked up.
    fn secret(&self, runner: RunnerKey) -> Secret;

    /// Whether the slot of a Runner that proved itself exists; otherwise it is told that it is gone.
    fn wanted(&self, runner: RunnerKey, instance: Instance) -> bool;

    /// A Runner is connected. Answers who takes its calls; the connection is already open, and is the way back.
    fn connected(&self, connection: &Connection) -> Arc<dyn Dispatch>;
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    address: Address,
}

impl Listener {
    /// Listens on a Unix socket in a private (0700) directory made for it, whose path is at most 90 bytes long
    /// whatever the temporary directory is. The directory is removed with the listener.
    ///
    /// # Errors
    /// When no directory or socket can be made.
    pub fn bind_private(_cluster: &str) -> io::Result<Self> {
        unimplemented!()
    }

    /// Listens on a Unix socket at this path; what a former process left there is replaced.
    ///
    /// # Errors
    /// When the path is too long, or the socket cannot be made.
    pub fn bind_unix(_path: &Path) -> io::Result<Self> {
        unimplemented!()
    }

    /// Listens on 127.0.0.1; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn bind_tcp(_port: u16) -> io::Result<Self> {
        unimplemented!()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Lets Runners in until it is dropped; its connections end with it.
    pub async fn serve(self, _authority: Arc<dyn Authority>, _options: Options) -> io::Error {
        unimplemented!()
    }
}
