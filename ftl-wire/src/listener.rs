//! Where a Controller waits for its Runners.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ftl_core::Secret;
use ftl_core::key::{Instance, RunnerKey};
use rustix::process::geteuid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::address::Address;
use crate::connection::Connection;
use crate::dispatch::Dispatch;
use crate::frame::CloseCode;
use crate::handshake::accept_runner;
use crate::limits::{HANDSHAKES_MAX, HANDSHAKES_PER_PEER_MAX, SOCKET_PATH_BYTES_MAX};
use crate::options::Options;
use crate::private_dir::PrivateDir;
use crate::shared::Shared;
use crate::task::Task;

/// Pause before the next try, when the process has no descriptors or memory left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Knows which Runners there are. Called in the listener's tasks: it must not block.
pub trait Authority: fmt::Debug + Send + Sync + 'static {
    /// The secret of any key, wanted or not: derived, never looked up.
    fn secret(&self, runner: RunnerKey) -> Secret;

    /// Whether the slot of a Runner that proved itself exists; otherwise it is told that it is gone.
    fn wanted(&self, runner: RunnerKey, instance: Instance) -> bool;

    /// A Runner is connected. Answers who takes its calls; the connection is already open, and is the way back.
    fn connected(&self, connection: &Connection) -> Arc<dyn Dispatch>;
}

#[derive(Debug)]
enum Socket {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

/// What is removed with the listener.
#[derive(Debug)]
enum Place {
    Directory(#[expect(dead_code, reason = "held for its Drop")] PrivateDir),
    File(PathBuf),
    Nothing,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::File(path) = self {
            let _ = fs::remove_file(path);
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    socket: Socket,
    place: Place,
}

impl Listener {
    /// Listens on a Unix socket in a private (0700) directory made for it, whose path is at most 90 bytes long
    /// whatever the temporary directory is. The directory is removed with the listener; one that a killed process
    /// left is removed by the next.
    ///
    /// # Errors
    /// When no directory or socket can be made.
    pub fn bind_private(cluster: &str) -> io::Result<Self> {
        Self::bind_in(PrivateDir::new(cluster)?)
    }

    /// Listens again at a path that [`Listener::bind_private`] chose in a former process, so that whoever was told to
    /// dial it finds this one.
    ///
    /// # Errors
    /// When somebody listens there, or the place cannot be made again.
    pub fn bind_private_again(path: &Path) -> io::Result<Self> {
        Self::bind_in(PrivateDir::again(path.parent().unwrap_or(path))?)
    }

    fn bind_in(directory: PrivateDir) -> io::Result<Self> {
        let path = directory.path().join("wire");
        let socket = listen_unix(&path)?;
        Ok(Self { address: Address::Unix(path), socket, place: Place::Directory(directory) })
    }

    /// Listens on a Unix socket at this path; what a former process left there is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there; otherwise when the path is longer than 90 bytes, something else than a
    /// socket is in its place, or the socket cannot be made.
    pub fn bind_unix(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
            let message = format!(
                "the path of a socket may have at most {SOCKET_PATH_BYTES_MAX} bytes: {}",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        remove_dead(path)?;
        let socket = listen_unix(path)?;
        let (address, place) = (Address::Unix(path.to_owned()), Place::File(path.to_owned()));
        Ok(Self { address, socket, place })
    }

    /// Listens on 127.0.0.1; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn bind_tcp(port: u16) -> io::Result<Self> {
        Self::bind_tcp_at((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Listens on this address of the machine. Everybody who reaches it may knock: only Runners that prove themselves
    /// are let in, but what they say can be read on the way, so it is for networks within the machine.
    ///
    /// # Errors
    /// When the port is taken, or the machine has no such address.
    pub fn bind_tcp_at(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = Address::Tcp(socket.local_addr()?);
        Ok(Self { address, socket: Socket::Tcp(socket), place: Place::Nothing })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Lets Runners in until it is dropped; its connections end with it. Returns only if the socket fails.
    pub async fn serve(self, authority: Arc<dyn Authority>, options: Options) -> io::Error {
        let Self { socket, place: _place, .. } = self;
        let doorman = Doorman { authority, options, pending: Arc::default() };
        match socket {
            Socket::Unix(socket) => match tokio::net::UnixListener::from_std(socket) {
                Ok(socket) => doorman.serve_unix(&socket).await,
                Err(error) => error,
            },
            Socket::Tcp(socket) => match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => doorman.serve_tcp(&socket).await,
                Err(error) => error,
            },
        }
    }
}

fn listen_unix(path: &Path) -> io::Result<Socket> {
    let socket = std::os::unix::net::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(Socket::Unix(socket))
}

/// Removes a socket that nobody listens on.
fn remove_dead(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let message = format!("{} is there, and is no socket", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            let message = format!("another process listens on {}", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
        Ok(_) => fs::remove_file(path),
    }
}

/// Who knocks, as far as that can be seen before the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Knocker {
    Ip(IpAddr),
    /// A process behind a Unix socket, if the kernel says which.
    Process(Option<i32>),
}

/// How many handshakes are under way, and with whom.
#[derive(Debug, Default)]
struct Pending(Mutex<HashMap<Knocker, usize>>);

/// One handshake that is under way.
#[derive(Debug)]
struct Knock {
    pending: Arc<Pending>,
    by: Knocker,
}

impl Pending {
    fn admit(self: &Arc<Self>, by: Knocker) -> Option<Knock> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.values().sum::<usize>() >= HANDSHAKES_MAX {
            return None;
        }
        let count = pending.entry(by).or_default();
        if *count >= HANDSHAKES_PER_PEER_MAX {
            return None;
        }
        *count += 1;
        Some(Knock { pending: self.clone(), by })
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        let mut pending = self.pending.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pending.get_mut(&self.by) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.by);
            }
        }
    }
}

#[derive(Debug)]
struct Doorman {
    authority: Arc<dyn Authority>,
    options: Options,
    pending: Arc<Pending>,
}

impl Doorman {
    async fn serve_unix(&self, listener: &tokio::net::UnixListener) -> io::Error {
        let mut tasks = JoinSet::new();
        loop {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => match pause_after(error).await {
                    Some(error) => return error,
                    None => continue,
                },
            };
            // The directory keeps others out; this holds even where somebody has opened it.
            let Ok(peer) = socket.peer_cred() else { continue };
            if peer.uid() != geteuid().as_raw() {
                continue;
            }
            match self.pending.admit(Knocker::Process(peer.pid())) {
                Some(knock) => {
                    let Ok(socket) = socket.into_std().and_then(crate::socket::Socket::new) else { continue };
                    self.let_in(&mut tasks, socket, knock);
                }
                None => turn_away(|bytes| socket.try_write(bytes)),
            }
        }
    }

    async fn serve_tcp(&self, listener: &tokio::net::TcpListener) -> io::Error {
        let mut tasks = JoinSet::new();
        loop {
            let (socket, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => match pause_after(error).await {
                    Some(error) => return error,
                    None => continue,
                },
            };
            if socket.set_nodelay(true).is_err() {
                continue;
            }
            match self.pending.admit(Knocker::Ip(peer.ip())) {
                Some(knock) => self.let_in(&mut tasks, socket, knock),
                None => turn_away(|bytes| socket.try_write(bytes)),
            }
        }
    }

    fn let_in<S>(&self, tasks: &mut JoinSet<()>, socket: S, knock: Knock)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        while tasks.try_join_next().is_some() {}
        let (authority, options) = (self.authority.clone(), self.options.clone());
        tasks.spawn(async move {
            let accepted = accept_runner(socket, &*authority, &options).await;
            drop(knock);
            match accepted {
                Ok((io, established)) => {
                    let shared = Shared::new(established);
                    let dispatch = authority.connected(&Connection::new(shared.clone()));
                    Task::new(io, shared, dispatch).await;
                }
                Err(error) => tracing::debug!("not let in: {error}"),
            }
        });
    }
}

/// Waits where a later try can help; otherwise gives the error back.
async fn pause_after(error: io::Error) -> Option<io::Error> {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::CONNABORTED | Errno::INTR | Errno::PERM | Errno::PROTO) => None,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
            tracing::warn!("no connection can be accepted: {error}");
            sleep(ACCEPT_PAUSE).await;
            None
        }
        _ => Some(error),
    }
}

/// Too many handshakes are under way.
fn turn_away(write: impl FnOnce(&[u8]) -> io::Result<usize>) {
    let mut close = Vec::new();
    CloseCode::Overloaded.write(&mut close, "too many handshakes are under way");
    // A socket that has sent nothing yet takes so little at once; if not, the peer sees the end alone.
    let _ = write(&close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_handshakes_are_bounded_by_peer_and_in_all() {
        let pending = Arc::new(Pending::default());
        let process = |pid| Knocker::Process(Some(pid));
        let mut knocks = Vec::new();
        for _ in 0..HANDSHAKES_PER_PEER_MAX {
            knocks.push(pending.admit(process(1)).unwrap());
        }
        assert!(pending.admit(process(1)).is_none());
        knocks.pop();
        knocks.push(pending.admit(process(1)).unwrap());
        for pid in 2..=HANDSHAKES_MAX / HANDSHAKES_PER_PEER_MAX {
            for _ in 0..HANDSHAKES_PER_PEER_MAX {
                knocks.push(pending.admit(process(pid as i32)).unwrap());
            }
        }
        assert_eq!(knocks.len(), HANDSHAKES_MAX);
        assert!(pending.admit(process(99)).is_none());
        knocks.clear();
        assert!(pending.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_socket_is_replaced_only_if_nobody_listens_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let first = Listener::bind_unix(&path).unwrap();
        assert_eq!(Listener::bind_unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // A killed process leaves its socket behind.
        let Listener { socket, place, .. } = first;
        drop(socket);
        std::mem::forget(place);
        assert!(path.exists());
        drop(Listener::bind_unix(&path).unwrap());
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert_eq!(Listener::bind_unix(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_path_may_have_90_bytes() {
        let directory = tempfile::Builder::new().prefix("w").tempdir_in("/tmp").unwrap();
        let longest = SOCKET_PATH_BYTES_MAX - directory.path().as_os_str().len() - 1;
        assert!(Listener::bind_unix(&directory.path().join("s".repeat(longest))).is_ok());
        let error = Listener::bind_unix(&directory.path().join("s".repeat(longest + 1))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
