//! The suite's side of the probes' connections: it plays the Controller that they dial.
//!
//! Every process that says hello is kept, so starts are counted by what really ran and not by what a platform tells.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ftl_core::key::RunnerKey;
use tokio::io::BufStream;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::probe::{Answer, Hello, Lines, Order, Wire, hear, nonce, say};

/// How long a process may take from its connection to its first line.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a probe may take to do what it is told: what it writes goes through the backend.
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);
/// Processes that one check may start; more are not listened to.
const PROBES_MAX: usize = 1 << 10;

/// Where probes call in.
#[derive(Debug)]
pub(crate) struct Controller {
    listening: Vec<String>,
    directory: PathBuf,
    probes: Probes,
    /// Ends with this value.
    accepting: Mutex<JoinSet<()>>,
}

/// Every process that said hello, in order.
type Probes = Arc<Mutex<Vec<Arc<Probe>>>>;

/// A process that said hello.
pub(crate) struct Probe {
    pub(crate) hello: Hello,
    lines: tokio::sync::Mutex<Lines>,
}

/// A probe did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// It is gone.
    #[error("the probe is gone")]
    Gone(#[source] io::Error),
    /// It says nothing.
    #[error("the probe said nothing within {ORDER_TIMEOUT:?}")]
    Silent,
    /// It cannot.
    #[error("the probe cannot do it: {0}")]
    Cannot(String),
}

impl Controller {
    /// Listens at a Unix socket in a directory of its own, and at a free TCP port of this machine.
    pub(crate) async fn listen() -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("ftl-verify-{}", nonce()?));
        std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let probes = Probes::default();
        let mut controller =
            Self { listening: Vec::new(), directory, probes, accepting: Mutex::new(JoinSet::new()) };
        let path = controller.directory.join("s");
        let listener = UnixListener::bind(&path)?;
        controller.listening.push(format!("unix:{}", path.display()));
        controller.accept(Listener::Unix(listener));
        let tcp = controller.listen_also(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        controller.listening.push(format!("tcp:{tcp}"));
        Ok(controller)
    }

    /// Listens there besides.
    pub(crate) async fn listen_also(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        self.accept(Listener::Tcp(listener));
        Ok(bound)
    }

    /// Where it listens, as a boot document writes it.
    pub(crate) fn listening(&self) -> &[String] {
        &self.listening
    }

    /// A directory that goes with this value.
    pub(crate) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// The processes that said hello under this key, oldest first; children apart.
    pub(crate) fn probes(&self, runner: RunnerKey) -> Vec<Arc<Probe>> {
        self.of(runner, false)
    }

    /// The processes that probes of this key started.
    pub(crate) fn children(&self, runner: RunnerKey) -> Vec<Arc<Probe>> {
        self.of(runner, true)
    }

    fn of(&self, runner: RunnerKey, child: bool) -> Vec<Arc<Probe>> {
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = probes.iter().filter(|probe| probe.hello.runner == runner && probe.hello.child == child);
        ours.cloned().collect()
    }

    fn accept(&self, listener: Listener) {
        let probes = self.probes.clone();
        let mut accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        accepting.spawn(accept_all(listener, probes));
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Wire>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Lets processes say hello, each in its own time.
async fn accept_all(listener: Listener, probes: Probes) {
    let mut greeting = JoinSet::new();
    // An error ends the listening: what waits for a probe then says that it did not come.
    while let Ok(wire) = listener.accept().await {
        while greeting.try_join_next().is_some() {}
        if greeting.len() < PROBES_MAX {
            greeting.spawn(timeout(HELLO_TIMEOUT, greet(wire, probes.clone())));
        }
    }
}

/// Keeps a process that says hello; whoever says something else is no probe.
async fn greet(wire: Box<dyn Wire>, probes: Probes) {
    let mut lines = BufStream::new(wire);
    let mut line = String::new();
    if hear(&mut lines, &mut line).await.is_ok()
        && let Ok(hello) = serde_json::from_str(&line)
    {
        let mut probes = probes.lock().unwrap_or_else(PoisonError::into_inner);
        if probes.len() < PROBES_MAX {
            probes.push(Arc::new(Probe { hello, lines: tokio::sync::Mutex::new(lines) }));
        }
    }
}

impl Probe {
    /// Tells it to do something, and waits until it has.
    pub(crate) async fn order(&self, order: Order) -> Result<Answer, OrderError> {
        let mut lines = self.lines.lock().await;
        let talk = async {
            say(&mut lines, &order).await?;
            let mut line = String::new();
            match hear(&mut lines, &mut line).await? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(serde_json::from_str(&line)?),
            }
        };
        match timeout(ORDER_TIMEOUT, talk).await {
            Ok(Ok(Answer::Cannot { why })) => Err(OrderError::Cannot(why)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(OrderError::Gone(error)),
            Err(_) => Err(OrderError::Silent),
        }
    }

    /// Tells it to end; it says nothing any more.
    pub(crate) async fn end(&self, order: Order) -> Result<(), OrderError> {
        let mut lines = self.lines.lock().await;
        say(&mut lines, &order).await.map_err(OrderError::Gone)
    }

    /// Whether it answers.
    pub(crate) async fn serves(&self) -> bool {
        self.order(Order::Ping).await.is_ok()
    }

    /// Whether its process is no more; one that is silent may well be.
    pub(crate) async fn is_gone(&self) -> bool {
        matches!(self.order(Order::Ping).await, Err(OrderError::Gone(_)))
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the secret.
        write!(f, "Probe({} {})", self.hello.runner, self.hello.nonce)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // Nothing but the socket is in it, and what checks put there.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
