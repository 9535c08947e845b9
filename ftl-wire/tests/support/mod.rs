//! What the tests of whole connections share: services, dispatchers, and ways to connect them.
#![allow(dead_code, reason = "each test uses its part of it")]

pub(crate) mod raw;

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::key::{Instance, RunnerKey};
use ftl_core::{Body, Call, CallError, Code, Digest, Failure, Fate, Head, Reply, Secret, VerbService};
use ftl_wire::{
    Address, Authority, Connection, Dispatch, HeadRef, Identity, Listener, Options, Route, Stamp,
    accept_deployment, dial, dial_runner,
};
use tokio::time::Instant;

/// A verb service made of a function.
pub(crate) struct Verb<F>(pub(crate) F);

impl<F> std::fmt::Debug for Verb<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verb")
    }
}

#[async_trait]
impl<F, R> VerbService for Verb<F>
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reply, CallError>> + Send,
{
    async fn ping(&self, _: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        (self.0)(call).await
    }
}

/// Serves everything with one service.
#[derive(Debug)]
pub(crate) struct ServeAll(pub(crate) Arc<dyn VerbService>);

impl Dispatch for ServeAll {
    fn dispatch(&self, _: &HeadRef<'_>) -> Route {
        Route::Serve(self.0.clone())
    }
}

pub(crate) fn serve<F, R>(verb: F) -> Arc<dyn Dispatch>
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reply, CallError>> + Send + 'static,
{
    Arc::new(ServeAll(Arc::new(Verb(verb))))
}

/// Replies with the request.
pub(crate) fn echo() -> Arc<dyn Dispatch> {
    serve(|call| async move { Ok(Reply::new(call.body)) })
}

/// Takes no calls.
pub(crate) fn nobody() -> Arc<dyn Dispatch> {
    serve(|_| async {
        Err(Failure::new(Code::Unimplemented, "nobody serves here").not_started(false).into())
    })
}

/// Relays everything to a connection that is set later.
#[derive(Debug, Default)]
pub(crate) struct RelayAll {
    pub(crate) to: Mutex<Option<Connection>>,
    pub(crate) stamp: Stamp,
}

impl RelayAll {
    pub(crate) fn to(connection: Connection) -> Arc<Self> {
        Arc::new(Self { to: Mutex::new(Some(connection)), stamp: Stamp::default() })
    }
}

impl Dispatch for RelayAll {
    fn dispatch(&self, _: &HeadRef<'_>) -> Route {
        match &*self.to.lock().unwrap() {
            Some(to) => Route::Relay { to: to.clone(), stamp: self.stamp },
            None => Route::Refuse(Failure::new(Code::Unavailable, "no way").not_started(true)),
        }
    }
}

pub(crate) fn schema() -> Digest {
    Digest::of(b"schema")
}

/// A Runner's end and user code's end of one socket.
pub(crate) async fn joined(runner: Arc<dyn Dispatch>, code: Arc<dyn Dispatch>) -> (Connection, Connection) {
    let (left, right) = UnixStream::pair().unwrap();
    joined_by(left, right, runner, code).await
}

/// The same over two sockets that somebody else joins.
pub(crate) async fn joined_by(
    left: UnixStream,
    right: UnixStream,
    runner: Arc<dyn Dispatch>,
    code: Arc<dyn Dispatch>,
) -> (Connection, Connection) {
    let options = Options::default();
    let (accepted, dialled) =
        tokio::join!(accept_deployment(left, runner, &options), dial_runner(right, schema(), code, &options));
    (accepted.unwrap(), dialled.unwrap())
}

/// How long anything may take before a test gives up: far more than it ever takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn head(target: &str) -> Head {
    Head::new(target.parse().unwrap(), "r-1".parse().unwrap(), Instant::now() + PATIENCE)
}

pub(crate) fn call(target: &str, body: impl Into<bytes::Bytes>) -> Call {
    Call::new(head(target), Body::once(body))
}

pub(crate) fn failed(outcome: Result<Reply, CallError>) -> Failure {
    match outcome {
        Err(CallError::Failed(failure)) => failure,
        other => panic!("not a failure: {other:?}"),
    }
}

pub(crate) fn bytes(outcome: Result<Reply, CallError>) -> bytes::Bytes {
    outcome.unwrap().body.bytes().clone()
}

pub(crate) const ELSEWHERE: Fate = Fate::NotStarted { elsewhere: true };
pub(crate) const NOWHERE: Fate = Fate::NotStarted { elsewhere: false };

/// Waits until something is true. By the real clock: a paused one runs while a test waits for others.
pub(crate) async fn until(mut predicate: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !predicate() {
        assert!(std::time::Instant::now() < deadline, "it never became true");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) const CLUSTER_KEY: [u8; 32] = [7; 32];

pub(crate) fn secret_of(runner: u64) -> Secret {
    ftl_wire::runner_secret(&Secret::new(CLUSTER_KEY), &"c1".parse().unwrap(), RunnerKey(runner))
}

pub(crate) fn identity(runner: u64) -> Identity {
    Identity::new(RunnerKey(runner), Instance([runner as u8; 16]), secret_of(runner))
}

/// Knows the runners below 100, and keeps their connections.
#[derive(Debug)]
pub(crate) struct Runners {
    pub(crate) dispatch: Arc<dyn Dispatch>,
    pub(crate) connections: Mutex<Vec<Connection>>,
    pub(crate) asked: AtomicUsize,
}

impl Runners {
    pub(crate) fn new(dispatch: Arc<dyn Dispatch>) -> Arc<Self> {
        Arc::new(Self { dispatch, connections: Mutex::default(), asked: AtomicUsize::new(0) })
    }

    pub(crate) fn count(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    pub(crate) async fn first(&self) -> Connection {
        until(|| self.count() > 0).await;
        self.connections.lock().unwrap()[0].clone()
    }
}

impl Authority for Runners {
    fn secret(&self, runner: RunnerKey) -> Secret {
        self.asked.fetch_add(1, Ordering::Relaxed);
        secret_of(runner.0)
    }

    fn wanted(&self, runner: RunnerKey, _: Instance) -> bool {
        runner.0 < 100
    }

    fn connected(&self, connection: &Connection) -> Arc<dyn Dispatch> {
        self.connections.lock().unwrap().push(connection.clone());
        self.dispatch.clone()
    }
}

/// Serves a listener in a task that ends with the test's runtime.
pub(crate) fn listen(listener: Listener, runners: &Arc<Runners>, options: Options) -> Address {
    let address = listener.address().clone();
    tokio::spawn(listener.serve(runners.clone(), options));
    address
}

pub(crate) async fn dial_as(runner: u64, address: &Address, dispatch: Arc<dyn Dispatch>) -> Connection {
    dial(address, &identity(runner), dispatch, &Options::default()).await.unwrap()
}
