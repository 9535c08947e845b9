//! How two processes prove who they are before the first call.
//!
//! A Runner and its Controller share a secret and prove it to each other, the Controller first: whoever only pretends to
//! be one learns nothing. User code inherits its socket and has no secret to prove. See `docs/wire.md` for the frames.

mod acceptor;
mod dialler;
mod mac;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ftl_core::Secret;
use ftl_core::digest::Digest;
use ftl_core::key::{Instance, RunnerKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

pub(crate) use acceptor::accept_runner;
pub use mac::runner_secret;

use crate::address::Address;
use crate::connection::{CloseReason, Closed, Connection};
use crate::dispatch::Dispatch;
use crate::frame::Violation;
use crate::limits::VERSION;
use crate::options::Options;
use crate::shared::{Established, Shared};
use crate::socket::Socket;
use crate::task::Task;

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

/// Why a peer was not let in, or did not let us in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It took too long.
    #[error("the handshake did not end in time")]
    Timeout,
    /// The socket failed.
    #[error("the connection broke during the handshake")]
    Io(#[source] io::Error),
    /// The peer speaks another protocol.
    #[error("the peer does not speak FTL's wire protocol")]
    NotOurs,
    /// The peer speaks HTTP.
    #[error("the peer speaks HTTP, which this port does not")]
    Http {
        /// What it is told.
        answer: String,
    },
    /// The peer broke the protocol.
    #[error("the peer broke the wire protocol: {0}")]
    Violation(#[from] Violation),
    /// There is no common version.
    #[error(
        "the peer speaks versions {low} to {high} of the wire protocol, this process speaks {VERSION}: upgrade the older one"
    )]
    Version {
        /// The peer's lowest version.
        low: u16,
        /// The peer's highest version.
        high: u16,
    },
    /// The peer did not prove who it is, or may not come this way.
    #[error("the peer was not let in: {0}")]
    Denied(&'static str),
    /// The peer proved who it is, and is wanted no more.
    #[error("this runner is no longer wanted")]
    Unwanted,
    /// The peer refused.
    #[error("the peer refused the connection: {0}")]
    Refused(Closed),
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
    /// The address is somewhere where what is said could be read.
    #[error("{0} is not near: without TLS only this machine and its private networks are dialled")]
    NotNear(Address),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl From<Violation> for DialError {
    fn from(violation: Violation) -> Self {
        Self::Handshake(violation.into())
    }
}

/// Connects a Runner to its Controller.
///
/// # Errors
/// See [`DialError`]; only [`DialError::Gone`] ends a Runner.
pub async fn dial(
    address: &Address,
    identity: &Identity,
    dispatch: Arc<dyn Dispatch>,
    options: &Options,
) -> Result<Connection, DialError> {
    if !address.is_near() {
        return Err(DialError::NotNear(address.clone()));
    }
    let dialling = async {
        match address {
            Address::Unix(path) => {
                let io = tokio::net::UnixStream::connect(path).await;
                let io = io.and_then(|io| Socket::new(io.into_std()?)).map_err(DialError::Connect)?;
                introduce(io, identity, dispatch).await
            }
            Address::Tcp(address) => introduce(connect(*address).await?, identity, dispatch).await,
            Address::Host(host, port) => {
                let found = lookup_host((host.as_str(), *port)).await.map_err(DialError::Connect)?;
                let near = found.into_iter().find(|found| crate::address::is_near(found.ip()));
                let near = near.ok_or_else(|| DialError::NotNear(address.clone()))?;
                introduce(connect(near).await?, identity, dispatch).await
            }
        }
    };
    timeout(options.handshake, dialling).await.unwrap_or(Err(DialError::Handshake(HandshakeError::Timeout)))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, DialError> {
    let io = TcpStream::connect(address).await.map_err(DialError::Connect)?;
    io.set_nodelay(true).map_err(DialError::Connect)?;
    Ok(io)
}

async fn introduce<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    io: S,
    identity: &Identity,
    dispatch: Arc<dyn Dispatch>,
) -> Result<Connection, DialError> {
    let (io, established) = dialler::introduce_runner(io, identity).await?;
    Ok(start(io, established, dispatch))
}

/// A connected pair of sockets: one end for the Runner, the other to become its child's standard input.
///
/// # Errors
/// When the kernel gives no sockets.
pub fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, theirs.into()))
}

/// The Runner's end: waits for the user code to say which schema it serves.
///
/// # Errors
/// When it says nothing in time, or something that is not the protocol.
pub async fn accept_deployment(
    socket: UnixStream,
    dispatch: Arc<dyn Dispatch>,
    options: &Options,
) -> Result<Connection, HandshakeError> {
    let (io, established) =
        acceptor::accept_deployment(Socket::new(socket).map_err(HandshakeError::Io)?, options).await?;
    Ok(start(io, established, dispatch))
}

/// The user code's end of the inherited socket.
///
/// # Errors
/// When the Runner does not answer in time, or not in the protocol.
pub async fn dial_runner(
    socket: UnixStream,
    schema: Digest,
    dispatch: Arc<dyn Dispatch>,
    options: &Options,
) -> Result<Connection, HandshakeError> {
    let dialling = dialler::introduce_deployment(Socket::new(socket).map_err(HandshakeError::Io)?, schema);
    let (io, established) =
        timeout(options.handshake, dialling).await.unwrap_or(Err(HandshakeError::Timeout))?;
    Ok(start(io, established, dispatch))
}

/// Gives an open connection its task.
fn start<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    io: S,
    established: Established,
    dispatch: Arc<dyn Dispatch>,
) -> Connection {
    let shared = Shared::new(established);
    // The task ends with its peer, by CLOSE, or with its runtime; whoever holds the connection can end it.
    tokio::spawn(Task::new(io, shared.clone(), dispatch));
    Connection::new(shared)
}

/// 32 bytes that nobody can guess and that never come again.
fn nonce() -> Result<[u8; 32], HandshakeError> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| HandshakeError::Io(io::Error::other(error)))?;
    Ok(nonce)
}

/// What a dialler makes of a refusal that comes after the Controller has proved itself.
fn after_proof(error: HandshakeError) -> DialError {
    match error {
        HandshakeError::Refused(Closed { reason: CloseReason::Gone, .. }) => DialError::Gone,
        other => other.into(),
    }
}
