//! How two processes prove who they are before the first call.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ftl_core::Secret;
use ftl_core::digest::Digest;
use ftl_core::key::{Instance, RunnerKey};
use ftl_core::name::ClusterId;

use crate::address::Address;
use crate::connection::Connection;
use crate::dispatch::Dispatch;
use crate::options::Options;

/// Who a Runner is, and what it proves it with.
#[derive(Clone, Debug)]
pub struct Identity {
    key: RunnerKey,
    instance: Instance,
    secret: Secret,
}

impl Identity {
    /// The identity of one Runner process.
    #[must_use]
    pub fn new(key: RunnerKey, instance: Instance, secret: Secret) -> Self {
        Self { key, instance, secret }
    }
}

/// The secret of a Runner: HMAC-SHA256 of the cluster's key over cluster and runner key, length-prefixed.
#[must_use]
pub fn runner_secret(_cluster_key: &Secret, _cluster: &ClusterId, _runner: RunnerKey) -> Secret {
    unimplemented!()
}

/// Why a peer was not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It took too long.
    #[error("the handshake did not end in time")]
    Timeout,
    /// The socket failed.
    #[error("the connection broke during the handshake")]
    Io(#[source] io::Error),
}

/// Why a Controller was not reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// A Controller that proved itself says that this Runner's slot does not exist any more.
    #[error("this runner is no longer wanted")]
    Gone,
    /// The socket could not be connected.
    #[error("nothing answers there")]
    Connect(#[source] io::Error),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Connects a Runner to its Controller.
///
/// # Errors
/// See [`DialError`]; only [`DialError::Gone`] ends a Runner.
pub async fn dial(
    _address: &Address,
    _identity: &Identity,
    _dispatch: Arc<dyn Dispatch>,
    _options: &Options,
) -> Result<Connection, DialError> {
    unimplemented!()
}

/// A connected pair of sockets: one end for the Runner, the other to become its child's standard input.
///
/// # Errors
/// When the kernel gives no sockets.
pub fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    unimplemented!()
}

/// The Runner's end: waits for the user code to say which schema it serves.
///
/// # Errors
/// When it says nothing in time, or something that is not the protocol.
pub async fn accept_deployment(
    _socket: UnixStream,
    _dispatch: Arc<dyn Dispatch>,
    _options: &Options,
) -> Result<Connection, HandshakeError> {
    unimplemented!()
}

/// The user code's end of the inherited socket.
///
/// # Errors
/// When the Runner does not answer in time, or not in the protocol.
pub async fn dial_runner(
    _socket: UnixStream,
    _schema: Digest,
    _dispatch: Arc<dyn Dispatch>,
    _options: &Options,
) -> Result<Connection, HandshakeError> {
    unimplemented!()
}
