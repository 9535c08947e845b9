//! A whole system in one process.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::controller::request_id;
use super::supervisor::MemorySupervisor;
use super::{Launch, Library, MemoryController, MemoryPlatform, MemoryRunner, Program, Start, UserCode};
use crate::artefact::{Artefact, Manifest, Mode};
use crate::call::{Body, Call, Head, VerbService};
use crate::controller::{ChangeSpec, ChangeState, Controller, ControllerError, Operator, Wanted};
use crate::deployment::{Deployment, DeploymentSpec};
use crate::digest::Digest;
use crate::failure::{CallError, Code, Failure};
use crate::key::{DeploymentId, Instance};
use crate::runner::{Registration, Report, Supervisor};

/// The name of the Runner's program, and of the platform.
const PROGRAM: &str = "memory-runner";
const PLATFORM: &str = "memory";
/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);

/// A Controller, a platform, and as many Runners and Deployments as are deployed: all in this process.
#[derive(Debug)]
pub struct System {
    controller: Arc<MemoryController>,
    library: Library,
}

impl System {
    /// A system in which nothing is deployed.
    ///
    /// # Errors
    /// Never with the names that stand here; the type says that names are parsed.
    pub fn new() -> Result<Self, crate::name::NameError> {
        let (cluster, platform) = ("memory".parse()?, PLATFORM.parse()?);
        let library = Library::default();
        let controller = Arc::new_cyclic(|controller| {
            let launch = Arc::new(Launcher { controller: controller.clone(), library: library.clone() });
            let platform = Arc::new(MemoryPlatform::new(platform, PROGRAM, launch));
            MemoryController::new(cluster, PROGRAM, vec![platform])
        });
        Ok(Self { controller, library })
    }

    /// The Controller: to ask it what any Controller can be asked.
    #[must_use]
    pub fn controller(&self) -> &Arc<MemoryController> {
        &self.controller
    }

    /// Installs user code and deploys it together, as `ftl deploy` does: diffs, uploads, deployments, one change.
    ///
    /// # Errors
    /// Those of the Controller; and [`ControllerError::Denied`] with the reason when the change failed.
    pub async fn deploy(
        &self,
        request: &str,
        modules: impl IntoIterator<Item = UserCode>,
    ) -> Result<Vec<DeploymentId>, ControllerError> {
        let invalid =
            |field: &str, message: String| ControllerError::Invalid { field: field.to_owned(), message };
        let platform = |error: crate::name::NameError| invalid("platform", error.to_string());
        let mut wanted = Vec::new();
        for code in modules {
            let (spec, content) = describe(&code).map_err(|why| invalid("module", why))?;
            self.library.install(code);
            for digest in self.controller.get_artefact_diffs(&spec.artefacts.digests()).await? {
                let body = Box::pin(Once(Some(content.clone())));
                self.controller.upload_artefact(digest, content.len() as u64, body).await?;
            }
            let deployment = self.controller.create_deployment(spec).await?;
            wanted.push(Wanted { deployment, platform: PLATFORM.parse().map_err(platform)?, replicas: 1 });
        }
        let ids = wanted.iter().map(|wanted| wanted.deployment.clone()).collect();
        let request = request.parse().map_err(|error| invalid("request", format!("{error}")))?;
        let change = self.controller.apply(ChangeSpec::new(request, wanted)).await?;
        match self.controller.change_status(change, 0).await?.state {
            ChangeState::Failed { reason } => Err(ControllerError::Denied(reason)),
            _ => Ok(ids),
        }
    }

    /// Calls a verb with a JSON text, and answers with the reply's.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn call(&self, target: &str, request: &'static str) -> Result<Bytes, CallError> {
        let wrong = |error: String| Failure::new(Code::InvalidArgument, error).not_started(false);
        let target = target.parse().map_err(|error| wrong(format!("{error}")))?;
        let id = request_id().map_err(|error| wrong(error.to_string()))?;
        let head = Head::new(target, id, Instant::now() + CALL_TIMEOUT);
        let reply = self.controller.call(Call::new(head, Body::once(request))).await?;
        Ok(reply.body.bytes().clone())
    }
}

/// What a module is deployed as: its one artefact stands for the code that is installed.
fn describe(code: &UserCode) -> Result<(DeploymentSpec, Bytes), String> {
    let schema = code.schema().clone();
    let content = Bytes::from(format!("{} {}", schema.name, schema.hash()));
    let path = format!("bin/{}", schema.name).parse().map_err(|error| format!("{error}"))?;
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    let artefact = Artefact { path, digest, size, mode: Mode::Executable };
    let manifest = Manifest::new(vec![artefact]).map_err(|error| error.to_string())?;
    let language = "rust".parse().map_err(|error| format!("{error}"))?;
    let target = "memory".parse().map_err(|error| format!("{error}"))?;
    Ok((DeploymentSpec::new(schema, language, target, manifest), content))
}

/// A stream of one piece.
struct Once(Option<Bytes>);

impl futures_core::Stream for Once {
    type Item = std::io::Result<Bytes>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

/// Starts Runners that register with the Controller of this process.
#[derive(Debug)]
struct Launcher {
    controller: Weak<MemoryController>,
    library: Library,
}

impl Launch for Launcher {
    fn launch(&self, start: Start) -> Pin<Box<dyn Future<Output = Result<Program, String>> + Send + '_>> {
        Box::pin(async move {
            let Start { boot, mut stop, .. } = start;
            let supervisor = Arc::new(MemorySupervisor::new(boot.runner, self.controller.clone()));
            let runner = Arc::new(MemoryRunner::new(boot.runner, self.library.clone(), supervisor.clone()));
            let mut instance = [0; 16];
            instance[..8].copy_from_slice(&boot.runner.0.to_le_bytes());
            let registration = Registration::new(boot.language, Instance(instance), Report::Starting);
            let registered = supervisor.register_runner(registration, runner).await;
            registered.map_err(|error| error.to_string())?;
            let serve: Program = Box::pin(async move {
                stop.asked().await;
                Ok(())
            });
            Ok(serve)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reply;
    use crate::failure::Fate;
    use crate::schema::Verb;

    fn clock(reply: &'static str) -> UserCode {
        let now = Verb::new("now".parse().unwrap());
        UserCode::new("clock")
            .unwrap()
            .with_verb(now, move |_, _| async move { Ok(Reply::new(Body::once(reply))) })
    }

    fn greeter(calls: &str) -> UserCode {
        let mut hello = Verb::new("hello".parse().unwrap());
        hello.calls = vec!["clock.now".parse().unwrap()];
        let target: crate::name::VerbRef = calls.parse().unwrap();
        UserCode::new("greeter").unwrap().with_verb(hello, move |call, up| {
            let mut head = call.head.clone();
            (head.caller, head.target) = (Some(call.head.target), target.clone());
            (head.replica, head.table) = (None, None);
            async move { up.call(Call::new(head, Body::once("null"))).await }
        })
    }

    fn failed(error: CallError) -> Failure {
        match error {
            CallError::Failed(failure) => failure,
            CallError::Verb(body) => panic!("{body:?}"),
        }
    }

    #[tokio::test]
    async fn a_nested_call_goes_through_all_actors() {
        let system = System::new().unwrap();
        let ids = system.deploy("d1", [clock("\"now\""), greeter("clock.now")]).await.unwrap();
        assert_eq!(system.call("greeter.hello", "null").await.unwrap(), "\"now\"");
        let again = system.deploy("d2", [clock("\"now\""), greeter("clock.now")]).await.unwrap();
        assert_eq!(again, ids, "equal content, equal id");
        let status = system.controller().status().await.unwrap();
        assert_eq!(
            status.iter().map(|module| (module.ready, module.desired)).collect::<Vec<_>>(),
            [(1, 1); 2]
        );
    }

    #[tokio::test]
    async fn what_is_not_declared_is_not_called() {
        let system = System::new().unwrap();
        system.deploy("d1", [clock("1"), greeter("clock.set")]).await.unwrap();
        let failure = failed(system.call("greeter.hello", "null").await.unwrap_err());
        assert_eq!(failure.code, Code::PermissionDenied);
        let reserved = failed(system.call("ftl.deploy", "null").await.unwrap_err());
        assert_eq!(reserved.fate, Fate::NotStarted { elsewhere: false });
    }

    #[tokio::test]
    async fn code_that_is_not_what_was_promised_leaves_the_old_version_serving() {
        let system = System::new().unwrap();
        let first = system.deploy("d1", [clock("1")]).await.unwrap();
        let other = clock("2")
            .with_verb(Verb::new("zone".parse().unwrap()), |_, _| async { Ok(Reply::new(Body::once("3"))) });
        // Described with one verb more than what a Runner finds when it starts it.
        let (spec, content) = describe(&other).unwrap();
        let digest = spec.artefacts.digests()[0];
        let body = Box::pin(Once(Some(content.clone())));
        system.controller().upload_artefact(digest, content.len() as u64, body).await.unwrap();
        let deployment = system.controller().create_deployment(spec).await.unwrap();
        let wanted = vec![Wanted { deployment, platform: PLATFORM.parse().unwrap(), replicas: 1 }];
        let change = system.controller().apply(ChangeSpec::new("d2".parse().unwrap(), wanted)).await.unwrap();
        match system.controller().change_status(change, 0).await.unwrap().state {
            ChangeState::Failed { reason } => assert!(reason.contains("promised was"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(system.call("clock.now", "null").await.unwrap(), "1");
        assert_eq!(system.controller().status().await.unwrap()[0].deployment, first[0]);
    }

    #[tokio::test]
    async fn a_request_id_is_one_change() {
        let system = System::new().unwrap();
        system.deploy("d1", [clock("1")]).await.unwrap();
        let error = system.deploy("d1", [greeter("clock.now")]).await.unwrap_err();
        assert!(matches!(error, ControllerError::Conflict(_)), "{error}");
    }
}
