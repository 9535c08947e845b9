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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::{Artefact, Mode};
    use crate::digest::Digest;
    use crate::platform::Limits;
    use crate::schema::{Definition, Field, Fields, Shape, Type, Variant, Verb, Visibility};

    fn file(path: &str, content: &str, mode: Mode) -> Artefact {
        let (digest, size) = (Digest::of(content.as_bytes()), content.len() as u64);
        Artefact { path: path.parse().unwrap(), digest, size, mode }
    }

    fn manifest(files: &[Artefact]) -> Manifest {
        Manifest::new(files.to_vec()).unwrap()
    }

    fn files() -> [Artefact; 2] {
        [file("bin/clock", "code", Mode::Executable), file("zones", "UTC", Mode::Data)]
    }

    /// A deployment in which nothing is left out, with this for every piece of documentation.
    fn clock(doc: &str) -> DeploymentSpec {
        let mut field = Field::new("time", Type::Text);
        let mut verb = Verb::new("now".parse().unwrap());
        (field.doc, verb.doc) = (doc.to_owned(), doc.to_owned());
        verb.calls = vec!["zones.of".parse().unwrap()];
        let mut schema = Module::new("clock".parse().unwrap());
        schema.doc = doc.to_owned();
        schema.verbs = vec![verb];
        let reply = Definition::new(doc, Shape::Struct(Fields::Named(vec![field])));
        let variants = vec![Variant::new("Late", doc, Fields::Unit)];
        let error = Definition::new(doc, Shape::Enum { tagging: crate::schema::Tagging::External, variants });
        schema
            .types
            .extend([("clock.Reply".parse().unwrap(), reply), ("clock.Error".parse().unwrap(), error)]);
        let (language, target) = ("rust".parse().unwrap(), "x86_64-unknown-linux-gnu".parse().unwrap());
        DeploymentSpec::new(schema, language, target, manifest(&files()))
    }

    #[test]
    fn every_field_is_part_of_the_identity() {
        type Edit = fn(&mut DeploymentSpec);
        let verb: [Edit; 7] = [
            |spec| spec.schema.verbs[0].name = "then".parse().unwrap(),
            |spec| spec.schema.verbs[0].visibility = Visibility::Public,
            |spec| spec.schema.verbs[0].idempotent = true,
            |spec| spec.schema.verbs[0].request = Type::Text,
            |spec| spec.schema.verbs[0].reply = Type::Text,
            |spec| spec.schema.verbs[0].error = Some(Type::Text),
            |spec| spec.schema.verbs[0].calls.clear(),
        ];
        let artefacts: [Edit; 5] = [
            |spec| spec.artefacts = manifest(&[file("bin/clock", "code", Mode::Data), files()[1].clone()]),
            |spec| {
                spec.artefacts =
                    manifest(&[file("bin/clock", "edited", Mode::Executable), files()[1].clone()])
            },
            |spec| {
                spec.artefacts = manifest(&[file("bin/other", "code", Mode::Executable), files()[1].clone()])
            },
            |spec| spec.artefacts = manifest(&files()[..1]),
            // What was at one path is at the other one, and the other way round.
            |spec| {
                spec.artefacts =
                    manifest(&[file("bin/clock", "UTC", Mode::Executable), file("zones", "code", Mode::Data)])
            },
        ];
        let needs: [Edit; 5] = [
            |spec| spec.needs.limits = Limits { memory_bytes: Some(0), ..Limits::default() },
            |spec| spec.needs.limits = Limits { cpu_millis: Some(0), ..Limits::default() },
            |spec| spec.needs.limits = Limits { pids: Some(0), ..Limits::default() },
            |spec| spec.needs.networks = vec!["backend".parse().unwrap()],
            |spec| spec.needs.best_effort = true,
        ];
        let rest: [Edit; 5] = [
            |spec| spec.schema.name = "watch".parse().unwrap(),
            |spec| spec.schema.types.clear(),
            |spec| spec.language = "python".parse().unwrap(),
            |spec| spec.target = "aarch64-unknown-linux-gnu".parse().unwrap(),
            |spec| spec.sdk_protocol += 1,
        ];
        let mut ids = vec![clock("Tells the time.").id()];
        for edit in verb.iter().chain(&artefacts).chain(&needs).chain(&rest) {
            let mut edited = clock("Tells the time.");
            edit(&mut edited);
            assert!(!ids.contains(&edited.id()), "this edit changes nothing: {edited:#?}");
            ids.push(edited.id());
        }
    }

    #[test]
    fn documentation_and_order_are_no_part_of_the_identity() {
        let mut reversed = files();
        reversed.reverse();
        let mut other = clock("Says how late it is.");
        assert_ne!(other, clock("Tells the time."));
        other.artefacts = manifest(&reversed);
        assert_eq!(other.id(), clock("Tells the time.").id());
    }

    #[test]
    fn equal_files_under_another_name_are_another_deployment() {
        let mut other = clock("");
        other.schema.name = "watch".parse().unwrap();
        assert_eq!((clock("").id().module().as_str(), other.id().module().as_str()), ("clock", "watch"));
        assert_ne!(clock("").id().digest(), other.id().digest());
    }
}
