//! The ways into the system: as the Runner of one Deployment, and as a Runner of the Controller.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use echo::Payload;
use ftl_core::boot::Boot;
use ftl_core::key::{DeploymentId, Instance};
use ftl_core::name::{RequestId, VerbRef};
use ftl_core::remote::{RemoteSupervisor, serve_runner};
use ftl_core::runner::{Order, Registration, Report, Runner};
use ftl_core::{Body, Call, CallError, Code, Failure, Head, Reply, Supervisor, VerbService};
use ftl_wire::{Connection, Dispatch, HeadRef, Identity, Route};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How often the peer says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(25);

/// One call after another, over one connection: what a client of the SDK does, typed at both ends.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    connection: Connection,
    target: VerbRef,
    caller: Option<VerbRef>,
    request: RequestId,
    payload: Payload,
}

impl Caller {
    pub(crate) fn new(connection: Connection, target: &str, caller: Option<&str>) -> Self {
        let caller = caller.map(|caller| caller.parse().unwrap());
        let request = "0197f9a2-7f3a-7000-8000-000000000000".parse().unwrap();
        Self { connection, target: target.parse().unwrap(), caller, request, payload: payload() }
    }

    pub(crate) async fn call(&self) {
        let body = serde_json::to_vec(&self.payload).unwrap();
        let mut head = Head::new(self.target.clone(), self.request.clone(), Instant::now() + TIMEOUT);
        head.caller.clone_from(&self.caller);
        let reply = self.connection.call(Call::new(head, Body::once(body))).await.unwrap();
        let answered: Payload = serde_json::from_slice(reply.body.bytes()).unwrap();
        assert!(answered == self.payload);
    }
}

/// A request of 100 bytes.
pub(crate) fn payload() -> Payload {
    let payload = Payload {
        id: 1_234_567,
        from: "benchmark".to_owned(),
        text: "a text of a certain size.".to_owned(),
        numbers: vec![1, 22, 333, 4444, 55555],
    };
    assert_eq!(serde_json::to_vec(&payload).unwrap().len(), 100);
    payload
}

/// Takes no calls.
#[derive(Debug)]
struct Nobody;

impl Dispatch for Nobody {
    fn dispatch(&self, _head: &HeadRef<'_>) -> Route {
        Route::Refuse(Failure::new(Code::PermissionDenied, "nobody is called here").not_started(false))
    }
}

/// A Deployment of which the benchmark is the Runner: one socket between caller and verb.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) child: Child,
    pub(crate) connection: Connection,
}

impl Deployment {
    pub(crate) async fn start(program: &Path) -> Self {
        let (ours, theirs): (UnixStream, _) = ftl_wire::pair().unwrap();
        let child = Command::new(program)
            .env("FTL_DEPLOYMENT", ftl_core::deployment::SDK_PROTOCOL.to_string())
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let options = ftl_wire::Options::default();
        let connection = ftl_wire::accept_deployment(ours, Arc::new(Nobody), &options).await.unwrap();
        Self { child, connection }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers the Controller's orders by remembering what was ordered.
#[derive(Debug)]
struct Orders(watch::Sender<Option<DeploymentId>>);

#[async_trait]
impl VerbService for Orders {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, _call: Call) -> Result<Reply, CallError> {
        Err(Failure::new(Code::Unavailable, "nobody is called here").not_started(true).into())
    }
}

#[async_trait]
impl Runner for Orders {
    async fn deploy(&self, _order: Order, id: &DeploymentId) -> Result<(), Failure> {
        self.0.send_replace(Some(id.clone()));
        Ok(())
    }

    async fn drain(&self, _order: Order, _grace: Duration) -> Result<(), Failure> {
        Ok(())
    }
}

/// Control messages only.
#[derive(Debug)]
struct Control(Arc<dyn VerbService>);

impl Dispatch for Control {
    fn dispatch(&self, head: &HeadRef<'_>) -> Route {
        if head.target().starts_with("ftl.") { Route::Serve(self.0.clone()) } else { Nobody.dispatch(head) }
    }
}

/// Registers as the Runner that a boot document is for, says that it is deployed, and stays.
pub(crate) async fn register(boot: &Path) -> Connection {
    let boot = Boot::from_document(&std::fs::read(boot).unwrap()).unwrap();
    let instance = Instance([7; 16]);
    let (ordered, mut order) = watch::channel(None);
    let control = Arc::new(Control(serve_runner(Arc::new(Orders(ordered)))));
    let identity = Identity::new(boot.runner, instance, boot.secret.clone());
    let address = boot.controller[0].parse().unwrap();
    let options = ftl_wire::Options::default();
    let connection = ftl_wire::dial(&address, &identity, control, &options).await.unwrap();
    let supervisor = RemoteSupervisor::new(Arc::new(connection.clone()));
    let registration = Registration::new(boot.language, instance, Report::Starting);
    let registered = supervisor.register(&registration).await.unwrap();
    let id = order.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    supervisor.deployed(registered.order, &id).await.unwrap();
    // Ends with the runtime of the benchmark.
    tokio::spawn(async move {
        loop {
            sleep(HEARTBEAT).await;
            let _ = supervisor.report(registered.order, Report::Ready).await;
        }
    });
    connection
}
