//! Puts a Controller together, and runs it.
//!
//! Three kinds of work, apart: the *data path* has a thread and a current-thread runtime of its own, because such a
//! runtime carries calls twice as fast as a work-stealing one and because nothing else may delay it; the reconciler and
//! the HTTP API share the runtime that [`Service::run`] is called on.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use ftl_core::Router;
use ftl_core::platform::Capability;
use ftl_wire::Listener;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Token};
use crate::artefacts::Artefacts;
use crate::data::DataDirectory;
use crate::desired::Startup;
use crate::error::ServiceError;
use crate::handle::{Handle, Inner};
use crate::holder;
use crate::logs::Logs;
use crate::mailbox::{Mailbox, Message};
use crate::options::Options;
use crate::platforms::Doors;
use crate::reconciler::{Beginning, Reconciler};
use crate::runners::DataPath;
use crate::specs::Specs;
use crate::store::Store;
use crate::time::Clock;

/// How long answers that are under way may take when the Controller ends.
const ANSWERS_MAX: Duration = Duration::from_secs(2);

/// Listeners that may wait for the data path's thread: one for each platform that needs its own.
const LISTENERS_MAX: usize = 16;

/// Pieces of news in one life of a Controller, as a power of two: one a millisecond, for fifty days.
const NEWS_BITS: u32 = 32;

/// A Controller that is ready to run.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
    reconciler: Reconciler,
    inbox: mpsc::Receiver<Message>,
    admin: TcpListener,
    ingress: Option<TcpListener>,
    token: Token,
    /// Ends the data path; the last thing that ends.
    wire: Wire,
    /// Held as long as the Controller may write.
    _data: DataDirectory,
}

impl Service {
    /// Takes the data directory, begins a new epoch, and listens; nobody is answered before [`Service::run`].
    ///
    /// # Errors
    /// When the directory is in use or cannot be used, an address is taken, or the options contradict each other.
    pub async fn open(options: Options) -> Result<Self, ServiceError> {
        check(&options)?;
        let data = DataDirectory::open(&options.data)?;
        // Before anything else is written: every Runner's secret comes from it.
        let cluster_key = data.cluster_key()?;
        let token = Token(data.token()?);
        let admin = listen(options.admin, options.admin_fallback).await?;
        let ingress = match options.ingress {
            Some(address) => Some(listen(address, false).await?),
            None => None,
        };
        let clock = Clock::start();
        let opened =
            Store::open(&data.database(), options.cluster.as_ref(), &startup(&options, &clock)).await?;
        let cannot = |source| ServiceError::Data { path: data.artefacts(), source };
        let artefacts = Artefacts::open(data.artefacts()).await.map_err(cannot)?;
        data.sync()?;
        let (mailbox, inbox) = Mailbox::new();
        let mut specs = Specs::default();
        specs.read(&opened.store, &opened.desired).await?;
        // Known before anybody can knock: a Runner whose slot is unknown is sent away for good.
        let slots = Arc::new(ArcSwap::from_pointee(specs.of_slots(&opened.desired)));
        let path = DataPath {
            cluster: opened.cluster,
            cluster_key,
            epoch: opened.desired.epoch,
            slots,
            router: Arc::new(Router::new()),
            artefacts,
            logs: Logs::new(options.log_bytes_kept),
            mailbox: mailbox.clone(),
            sessions: Arc::default(),
        };
        let bound = |listener: &TcpListener| listener.local_addr().map_err(ServiceError::Wire);
        let wire = Wire::start(&path, bound(&admin)?, &opened.addresses)?;
        if wire.addresses != opened.addresses {
            opened.store.keep_addresses(&wire.addresses).await?;
        }
        let options = Arc::new(options);
        // Newer than all news of former lives: a client may wait across a restart.
        let (news, seen) = watch::channel(opened.desired.epoch.0 << NEWS_BITS);
        let beginning = Beginning {
            options: options.clone(),
            clock,
            store: opened.store.clone(),
            desired: opened.desired,
            specs,
            path: path.clone(),
            addresses: wire.addresses.clone(),
            doors: Doors::new(wire.listeners.clone(), opened.store.clone(), opened.doors),
            mailbox: mailbox.clone(),
            news,
        };
        let reconciler = Reconciler::begin(beginning);
        let handle = Handle::new(Inner {
            admin: bound(&admin)?,
            ingress: ingress.as_ref().map(bound).transpose()?,
            token_path: data.token_path(),
            options,
            clock,
            store: opened.store,
            path,
            addresses: wire.addresses.clone(),
            mailbox,
            news: seen,
            ending: CancellationToken::new(),
        });
        Ok(Self { handle, reconciler, inbox, admin, ingress, token, wire, _data: data })
    }

    /// The running Controller, for others.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until [`Handle::shutdown`], or until it must end.
    ///
    /// # Errors
    /// When the store fails, or a newer Controller has taken over.
    pub async fn run(self) -> Result<(), ServiceError> {
        let Self { handle, reconciler, inbox, admin, ingress, token, mut wire, _data } = self;
        let ending = handle.ending();
        let answered = CancellationToken::new();
        let mut apis = JoinSet::new();
        apis.spawn(api::serve(admin, api::admin(Arc::new(handle.clone()), token), answered.clone()));
        if let Some(ingress) = ingress {
            apis.spawn(api::serve(ingress, api::ingress(handle.public()), answered.clone()));
        }
        let reconciling = reconciler.run(inbox, ending.clone());
        tokio::pin!(reconciling);
        let outcome = tokio::select! {
            outcome = &mut reconciling => outcome,
            error = Wire::failure(wire.failed.take()) => {
                ending.cancel();
                reconciling.await.and(Err(error))
            }
        };
        // What waits for news or follows logs ends with it, also when nobody asked for the end.
        ending.cancel();
        answered.cancel();
        let _ = timeout(ANSWERS_MAX, async { while apis.join_next().await.is_some() {} }).await;
        wire.end();
        outcome
    }
}

fn startup(options: &Options, clock: &Clock) -> Startup {
    let adopting = options.platforms.iter().map(|platform| platform.describe());
    let adopting: BTreeSet<_> = adopting
        .filter(|description| description.can(Capability::Adopt))
        .map(|description| description.name.clone())
        .collect();
    Startup { adopting, at: clock.now() }
}

fn check(options: &Options) -> Result<(), ServiceError> {
    options.timings.check().map_err(|error| ServiceError::Options(error.to_string()))?;
    let mut names = BTreeSet::new();
    for platform in &options.platforms {
        let name = &platform.describe().name;
        if !names.insert(name.clone()) {
            return Err(ServiceError::Options(format!("two platforms are called `{name}`")));
        }
    }
    let addresses = std::iter::once(options.admin).chain(options.ingress);
    match addresses.into_iter().find(|address| !address.ip().is_loopback()) {
        Some(address) => Err(ServiceError::NotLoopback(address)),
        None => Ok(()),
    }
}

async fn listen(address: SocketAddr, or_free: bool) -> Result<TcpListener, ServiceError> {
    let cannot = |source| ServiceError::Listen { address, source };
    match TcpListener::bind(address).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(cannot(error)),
        Err(_) if or_free => TcpListener::bind((address.ip(), 0)).await.map_err(cannot),
        Err(_) => {
            let holder = holder::of(address)
                .map_or("another process".to_owned(), |holder| format!("process {holder}"));
            Err(ServiceError::Taken { address, holder })
        }
        Ok(listener) => Ok(listener),
    }
}

/// The Unix socket of a former Controller, or a new one.
fn bind_unix(cluster: &str, kept: &[String]) -> io::Result<Listener> {
    let former = kept.iter().find_map(|address| address.strip_prefix("unix:"));
    let again = former.and_then(|path| Listener::bind_private_again(Path::new(path)).ok());
    again.map_or_else(|| Listener::bind_private(cluster), Ok)
}

/// The port of a former Controller, or a new one.
fn bind_tcp(kept: &[String]) -> io::Result<Listener> {
    let former = kept.iter().filter_map(|address| address.strip_prefix("tcp:"));
    let mut port =
        former.filter_map(|address| address.parse().ok()).map(|address: SocketAddr| address.port());
    let again = port.next_back().and_then(|port| Listener::bind_tcp(port).ok());
    again.map_or_else(|| Listener::bind_tcp(0), Ok)
}

/// Lets Runners in at all doors; returns only if one of them fails.
async fn serve_runners(
    first: Vec<Listener>,
    mut further: mpsc::Receiver<Listener>,
    authority: Arc<DataPath>,
    options: ftl_wire::Options,
) -> io::Error {
    let mut serving = JoinSet::new();
    for listener in first {
        serving.spawn(listener.serve(authority.clone(), options.clone()));
    }
    loop {
        tokio::select! {
            Some(listener) = further.recv() => {
                serving.spawn(listener.serve(authority.clone(), options.clone()));
            }
            Some(ended) = serving.join_next() => {
                return ended.unwrap_or_else(io::Error::other);
            }
        }
    }
}

/// The data path's thread.
#[derive(Debug)]
struct Wire {
    addresses: Vec<String>,
    /// Takes further listeners.
    listeners: mpsc::Sender<Listener>,
    ending: CancellationToken,
    /// Says why Runners can no longer connect.
    failed: Option<oneshot::Receiver<io::Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Listens for Runners, on a Unix socket and on 127.0.0.1, and starts the thread that serves them.
    ///
    /// Where a former Controller listened, this one does too if it can: Runners that outlived it dial there.
    fn start(path: &DataPath, admin: SocketAddr, kept: &[String]) -> Result<Self, ServiceError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ServiceError::Wire)?;
        let first = [bind_unix(path.cluster.as_str(), kept), bind_tcp(kept)];
        let first = first.into_iter().collect::<io::Result<Vec<_>>>().map_err(ServiceError::Wire)?;
        let addresses = first.iter().map(|listener| listener.address().to_string()).collect();
        let (listeners, further) = mpsc::channel(LISTENERS_MAX);
        let (authority, ending) = (Arc::new(path.clone()), CancellationToken::new());
        let ended = ending.clone();
        let options = ftl_wire::Options::default().with_http_api(format!("http://{admin}"));
        let (fail, failed) = oneshot::channel();
        let thread = std::thread::Builder::new().name("ftl-data-path".into()).spawn(move || {
            let error = runtime.block_on(async {
                tokio::select! {
                    error = serve_runners(first, further, authority, options) => Some(error),
                    () = ended.cancelled() => None,
                }
            });
            if let Some(error) = error {
                // Whoever runs the service hears it; if nobody does, there is nobody to tell.
                let _ = fail.send(error);
            }
        });
        let thread = Some(thread.map_err(ServiceError::Wire)?);
        Ok(Self { addresses, listeners, ending, failed: Some(failed), thread })
    }

    /// Resolves when Runners can no longer connect; never, as long as all is well.
    async fn failure(failed: Option<oneshot::Receiver<io::Error>>) -> ServiceError {
        match failed {
            Some(failed) => failed.await.map_or_else(
                |_| ServiceError::Internal("the data path's thread ended".to_owned()),
                ServiceError::Wire,
            ),
            None => std::future::pending().await,
        }
    }

    /// Ends the thread and every connection, and waits for it: it does nothing that could take long.
    fn end(mut self) {
        self.ending.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the data path's thread panicked");
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}
