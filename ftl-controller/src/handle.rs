//! The running Controller, for everybody in its process: `Controller` and `Operator` without a socket between.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use ftl_core::controller::{
    BoxStream, ChangeSpec, ChangeStatus, LogLine, LogQuery, ModuleStatus, Operator, Wanted,
};
use ftl_core::key::{ChangeId, DeploymentId};
use ftl_core::name::Language;
use ftl_core::platform::{Capability, Description};
use ftl_core::schema::Module;
use ftl_core::{
    Call, CallError, Controller, ControllerError, DeploymentInfo, DeploymentSpec, Digest, Failure, Platform,
    Reply, VerbService,
};
use futures_util::{StreamExt, future};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::api::Public;
use crate::error::refusal;
use crate::mailbox::{Mailbox, Message};
use crate::options::Options;
use crate::placing::place;
use crate::runners::DataPath;
use crate::store::Store;
use crate::time::Clock;

/// How long a question for news waits before it is answered with what is known.
const NEWS_WAIT: Duration = Duration::from_secs(20);
/// How long platforms may take to tell what goes on.
const OUTLIVING_WAIT: Duration = Duration::from_secs(2);

/// A running Controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) admin: SocketAddr,
    pub(crate) ingress: Option<SocketAddr>,
    pub(crate) token_path: PathBuf,
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) path: DataPath,
    pub(crate) addresses: Vec<String>,
    pub(crate) mailbox: Mailbox,
    pub(crate) news: watch::Receiver<u64>,
    pub(crate) ending: CancellationToken,
}

impl Handle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Where the admin API answers.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.0.admin
    }

    /// Where calls of public verbs are answered, if they are.
    #[must_use]
    pub fn ingress(&self) -> Option<SocketAddr> {
        self.0.ingress
    }

    /// Where Runners dial, `unix:PATH` or `tcp:HOST:PORT`.
    #[must_use]
    pub fn runner_addresses(&self) -> &[String] {
        &self.0.addresses
    }

    /// The file with the token that clients of the admin API must show.
    #[must_use]
    pub fn token_path(&self) -> &Path {
        &self.0.token_path
    }

    /// Asks the Controller to end: it ends what it started on platforms whose instances do not outlive it.
    pub fn shutdown(&self) {
        self.0.ending.cancel();
    }

    /// How many instances go on without this Controller, where platforms keep them; of those that do not answer, none is
    /// counted.
    pub async fn outliving(&self) -> usize {
        let platforms = self.0.options.platforms.iter();
        let adopting = platforms.filter(|platform| platform.describe().can(Capability::Adopt));
        let asked = adopting.map(|platform| platform.observe(&self.0.path.cluster));
        let answers = timeout(OUTLIVING_WAIT, future::join_all(asked)).await.unwrap_or_default();
        answers.iter().flatten().flatten().filter(|status| !status.ended()).count()
    }

    /// What strangers may call.
    pub(crate) fn public(&self) -> Public {
        Public::new(self.0.path.router.clone())
    }

    pub(crate) fn ending(&self) -> CancellationToken {
        self.0.ending.clone()
    }

    async fn spec(&self, id: &DeploymentId) -> Result<DeploymentSpec, ControllerError> {
        let hint = Some("deploy it first".to_owned());
        let missing = || ControllerError::NotFound { what: "deployment".to_owned(), name: id.short(), hint };
        self.0.store.deployment(id).await.map_err(|error| refusal(&error))?.ok_or_else(missing)
    }

    /// The platform that a module is to run on, if it can run there.
    fn platform(&self, wanted: &Wanted, spec: &DeploymentSpec) -> Result<Arc<dyn Platform>, ControllerError> {
        let module = wanted.deployment.module();
        let platforms = &self.0.options.platforms;
        let described: Vec<&Description> = platforms.iter().map(|platform| platform.describe()).collect();
        let placed = place(module, spec, &wanted.platform, &described);
        let at =
            placed.map_err(|message| ControllerError::Invalid { field: "platform".to_owned(), message })?;
        Ok(platforms[at].clone())
    }

    /// How long a change may take that names no deadline: by the slowest of its platforms.
    async fn admit(&self, change: &ChangeSpec) -> Result<Duration, ControllerError> {
        let mut typical = Duration::ZERO;
        for wanted in &change.wanted {
            let spec = self.spec(&wanted.deployment).await?;
            typical = typical.max(self.platform(wanted, &spec)?.describe().facts.start_typical);
        }
        Ok(self.0.options.timings.default_deadline(typical))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Handle {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.0.path.router.call(call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Controller for Handle {
    async fn get_artefact_diffs(&self, digests: &[Digest]) -> Result<Vec<Digest>, ControllerError> {
        self.0.path.artefacts.missing(digests).await
    }

    async fn upload_artefact(
        &self,
        digest: Digest,
        size: u64,
        body: BoxStream<io::Result<Bytes>>,
    ) -> Result<Digest, ControllerError> {
        self.0.path.artefacts.put(digest, size, body).await?;
        Ok(digest)
    }

    async fn create_deployment(&self, spec: DeploymentSpec) -> Result<DeploymentId, ControllerError> {
        let languages = &self.0.options.languages;
        if !languages.contains(&spec.language) {
            let known: Vec<&str> = languages.iter().map(Language::as_str).collect();
            let message = format!("`{}` cannot be run; supported: {}", spec.language, known.join(", "));
            return Err(ControllerError::Invalid { field: "language".to_owned(), message });
        }
        if spec.artefacts.program().is_none() {
            let message = "no artefact is executable: nothing could be started".to_owned();
            return Err(ControllerError::Invalid { field: "artefacts".to_owned(), message });
        }
        let missing = self.0.path.artefacts.missing(&spec.artefacts.digests()).await?;
        if !missing.is_empty() {
            return Err(ControllerError::MissingArtefacts(missing));
        }
        let at = self.0.clock.now();
        self.0.store.create_deployment(&spec, at).await.map_err(|error| refusal(&error))
    }

    async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError> {
        Ok(DeploymentInfo::of(&self.spec(id).await?))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Operator for Handle {
    async fn apply(&self, change: ChangeSpec) -> Result<ChangeId, ControllerError> {
        let deadline = self.admit(&change).await?;
        self.0.mailbox.ask(|reply| Message::Apply { change, deadline, reply }).await
    }

    async fn change_status(&self, id: ChangeId, newer_than: u64) -> Result<ChangeStatus, ControllerError> {
        let mut news = self.0.news.clone();
        // What is known is answered however long nothing is new, and sooner when nothing will be.
        let newer = async { drop(news.wait_for(|seen| *seen > newer_than).await) };
        let ending = self.0.ending.cancelled();
        let _ = timeout_at(Instant::now() + NEWS_WAIT, future::select(pin!(newer), pin!(ending))).await;
        self.0.mailbox.ask(|reply| Message::ChangeStatus { id, reply }).await
    }

    async fn status(&self) -> Result<Vec<ModuleStatus>, ControllerError> {
        self.0.mailbox.ask(|reply| Message::Status { reply }).await
    }

    async fn schemas(&self) -> Result<Vec<Module>, ControllerError> {
        Ok(self.0.path.router.schemas().iter().map(|schema| Module::clone(schema)).collect())
    }

    async fn logs(
        &self,
        query: LogQuery,
    ) -> Result<BoxStream<Result<LogLine, ControllerError>>, ControllerError> {
        // Who follows would otherwise hold up the end.
        Ok(Box::pin(self.0.path.logs.query(query).take_until(self.0.ending.clone().cancelled_owned())))
    }
}
