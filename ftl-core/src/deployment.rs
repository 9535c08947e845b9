//! A deployment: one immutable version of a module, and the user code that serves it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::artefact::Manifest;
use crate::call::VerbService;
use crate::digest::Hasher;
use crate::failure::Failure;
use crate::key::DeploymentId;
use crate::name::{Language, ModuleName, TargetTriple};
use crate::platform::Needs;
use crate::schema::Module;

/// The protocol between a Runner and the user code that it starts.
pub const SDK_PROTOCOL: u16 = 1;

/// Everything that a deployment is; its identity is the digest of all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeploymentSpec {
    /// What it offers.
    pub schema: Module,
    /// What it is written in.
    pub language: Language,
    /// What it was built for.
    pub target: TargetTriple,
    /// Its files.
    pub artefacts: Manifest,
    /// What it speaks with its Runner.
    pub sdk_protocol: u16,
    /// What it asks of the machine.
    #[serde(default, skip_serializing_if = "Needs::is_nothing")]
    pub needs: Needs,
}

impl DeploymentSpec {
    /// A deployment that speaks the current [`SDK_PROTOCOL`].
    #[must_use]
    pub fn new(schema: Module, language: Language, target: TargetTriple, artefacts: Manifest) -> Self {
        Self { schema, language, target, artefacts, sdk_protocol: SDK_PROTOCOL, needs: Needs::default() }
    }

    /// The same with these needs.
    #[must_use]
    pub fn with_needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// The identity: equal content, equal id; documentation is no content.
    ///
    /// Paths and modes count beside digests, so two modules with equal files stay two deployments.
    #[must_use]
    pub fn id(&self) -> DeploymentId {
        let mut hasher = Hasher::default();
        hasher.field(b"ftl deployment 1");
        hasher.field(self.schema.hash().as_bytes());
        hasher.field(self.schema.name.as_str().as_bytes());
        hasher.field(self.language.as_str().as_bytes());
        hasher.field(self.target.as_str().as_bytes());
        hasher.field(&self.sdk_protocol.to_le_bytes());
        for artefact in self.artefacts.artefacts() {
            hasher.field(artefact.path.as_str().as_bytes());
            hasher.field(artefact.digest.as_bytes());
            hasher.field(&artefact.mode.bits().to_le_bytes());
        }
        self.needs.hash(&mut hasher);
        DeploymentId::new(self.schema.name.clone(), hasher.finish())
    }
}

/// What **GetDeployment** answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeploymentInfo {
    /// Which deployment.
    pub id: DeploymentId,
    /// What it offers.
    pub schema: Module,
    /// What it is written in.
    pub language: Language,
}

impl DeploymentInfo {
    /// What is told about a deployment of this content.
    #[must_use]
    pub fn of(spec: &DeploymentSpec) -> Self {
        Self { id: spec.id(), schema: spec.schema.clone(), language: spec.language.clone() }
    }

    /// The module.
    #[must_use]
    pub fn module(&self) -> &ModuleName {
        self.id.module()
    }
}

/// User code of one module, running.
#[async_trait]
pub trait Deployment: VerbService {
    /// What it really serves; compared with what **GetDeployment** promised before **Deployed** is said.
    fn schema(&self) -> &Module;

    /// Takes no new calls and finishes the running ones.
    ///
    /// # Errors
    /// `deadline_exceeded` when calls were still running at the deadline.
    async fn drain(&self, deadline: Instant) -> Result<(), Failure>;
}
