//! Control messages as calls: both directions, through nothing but a `VerbService`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ftl_core::artefact::{Artefact, Manifest, Mode};
use ftl_core::key::{DeploymentId, Epoch, Instance, Session};
use ftl_core::remote::{RemoteRunner, RemoteSupervisor, serve_runner, serve_supervisor};
use ftl_core::runner::{
    Crash, Order, OutputLine, Registered, Registration, Report, Runner, Stream, Supervisor,
};
use ftl_core::schema::Module;
use ftl_core::{
    Body, Call, CallError, Code, ControllerError, DeploymentInfo, DeploymentSpec, Digest, Failure, Fate,
    Head, Reply, VerbService,
};
use tokio::time::Instant;

const ORDER: Order = Order { epoch: Epoch(7), session: Session(3) };

/// Writes down what it is told, and answers as a Controller with one deployment.
#[derive(Debug)]
struct Told {
    spec: DeploymentSpec,
    said: Mutex<Vec<String>>,
}

impl Told {
    fn new() -> Arc<Self> {
        let artefact = Artefact {
            path: "bin/clock".parse().unwrap(),
            digest: Digest::of(b"program"),
            size: 7,
            mode: Mode::Executable,
        };
        let manifest = Manifest::new(vec![artefact]).unwrap();
        let (schema, language) = (Module::new("clock".parse().unwrap()), "rust".parse().unwrap());
        let spec = DeploymentSpec::new(schema, language, "x-y-z".parse().unwrap(), manifest);
        Arc::new(Self { spec, said: Mutex::default() })
    }

    fn say(&self, text: String) {
        self.said.lock().unwrap().push(text);
    }
}

#[async_trait]
impl VerbService for Told {
    async fn ping(&self, _: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        panic!("{:?} must not arrive here", call.head.target)
    }
}

#[async_trait]
impl Supervisor for Told {
    async fn register_runner(
        &self,
        registration: Registration,
        runner: Arc<dyn Runner>,
    ) -> Result<Registered, ControllerError> {
        self.say(format!("registered {} {:?}", registration.language, registration.report));
        runner.deploy(ORDER, &self.spec.id()).await?;
        Ok(Registered::new(ORDER))
    }

    async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError> {
        if *id != self.spec.id() {
            return Err(ControllerError::Denied(format!("{} is not yours", id.short())));
        }
        Ok(DeploymentInfo::of(&self.spec))
    }

    async fn get_deployment_artefacts(&self, _: &DeploymentId) -> Result<Manifest, ControllerError> {
        Ok(self.spec.artefacts.clone())
    }

    async fn read_artefact(&self, _: Digest, offset: u64) -> Result<Bytes, ControllerError> {
        Ok(Bytes::from_static(&b"program"[offset as usize..]))
    }

    async fn deployed(&self, order: Order, _: &DeploymentId) -> Result<(), ControllerError> {
        if order != ORDER {
            return Err(ControllerError::Stale);
        }
        self.say("deployed".to_owned());
        Ok(())
    }

    async fn report(&self, _: Order, report: Report) -> Result<(), ControllerError> {
        self.say(format!("{report:?}"));
        Err(ControllerError::Gone)
    }

    async fn append_logs(&self, _: Order, lines: Vec<OutputLine>) -> Result<(), ControllerError> {
        lines.into_iter().for_each(|line| self.say(line.text));
        Ok(())
    }
}

#[async_trait]
impl Runner for Told {
    async fn deploy(&self, order: Order, id: &DeploymentId) -> Result<(), Failure> {
        self.say(format!("deploy {} {}", order.session, id.module()));
        Ok(())
    }

    async fn drain(&self, _: Order, grace: Duration) -> Result<(), Failure> {
        self.say(format!("drain {grace:?}"));
        Err(Failure::new(Code::Aborted, "too late").not_started(false))
    }
}

#[tokio::test]
async fn every_message_of_a_runner_arrives_and_is_answered() {
    let (controller, runner) = (Told::new(), Told::new());
    let way_back = Arc::new(RemoteRunner::new(serve_runner(runner.clone())));
    let remote = RemoteSupervisor::new(serve_supervisor(controller.clone(), way_back));
    let id = controller.spec.id();

    let registration = Registration::new("rust".parse().unwrap(), Instance([1; 16]), Report::Starting);
    assert_eq!(remote.register(&registration).await.unwrap().order, ORDER);
    assert_eq!(runner.said.lock().unwrap().as_slice(), ["deploy 3 clock"], "by the way back");
    assert_eq!(remote.get_deployment(&id).await.unwrap(), DeploymentInfo::of(&controller.spec));
    assert_eq!(remote.get_deployment_artefacts(&id).await.unwrap(), controller.spec.artefacts);
    assert_eq!(remote.read_artefact(Digest::of(b"program"), 3).await.unwrap(), "gram");
    remote.deployed(ORDER, &id).await.unwrap();
    let line = OutputLine::new(5, Stream::Stderr, "a line");
    remote.append_logs(ORDER, vec![line]).await.unwrap();
    let said = controller.said.lock().unwrap().clone();
    assert_eq!(said, ["registered rust Starting", "deployed", "a line"]);
}

#[tokio::test]
async fn errors_arrive_as_what_they_are() {
    let (controller, runner) = (Told::new(), Told::new());
    let remote = RemoteSupervisor::new(serve_supervisor(controller.clone(), runner.clone()));
    let other = DeploymentId::new("clock".parse().unwrap(), Digest::of(b"other"));
    assert!(matches!(remote.get_deployment(&other).await, Err(ControllerError::Denied(_))));
    let late = Order { epoch: Epoch(6), ..ORDER };
    assert!(matches!(remote.deployed(late, &other).await, Err(ControllerError::Stale)));
    let crash = Report::Crashed(Crash::new("exited with code 3"));
    assert!(matches!(remote.report(ORDER, crash).await, Err(ControllerError::Gone)));

    let remote = RemoteRunner::new(serve_runner(runner));
    let refused = remote.drain(ORDER, Duration::from_secs(3)).await.unwrap_err();
    assert_eq!((refused.code, refused.fate), (Code::Aborted, Fate::NotStarted { elsewhere: false }));
}

#[tokio::test]
async fn nothing_but_control_messages_is_answered() {
    let served = [serve_supervisor(Told::new(), Told::new()), serve_runner(Told::new())];
    for service in served {
        for (target, code) in [
            ("clock.now", Code::PermissionDenied),
            ("ftl.nonsense", Code::Unimplemented),
            ("ftl.deploy", Code::Unknown),
        ] {
            let target = ftl_core::name::VerbRef::from_target(target).unwrap();
            let head = Head::new(target, "r".parse().unwrap(), Instant::now() + Duration::from_secs(5));
            match service.call(Call::new(head, Body::once("garbage"))).await {
                Err(CallError::Failed(failure)) if code == Code::Unknown => {
                    assert!(
                        [Code::InvalidArgument, Code::Unimplemented].contains(&failure.code),
                        "{failure}"
                    );
                }
                Err(CallError::Failed(failure)) => assert_eq!(failure.code, code),
                other => panic!("{other:?}"),
            }
        }
    }
}
