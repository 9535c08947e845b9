//! A change replaces a version without a failed call, or leaves the old one serving and says why.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fs;

use ftl_client::Client;
use ftl_core::artefact::{Artefact, Manifest, Mode};
use ftl_core::controller::{ChangeState, Wanted};
use ftl_core::key::DeploymentId;
use ftl_core::name::TargetTriple;
use ftl_core::schema::Module;
use ftl_core::{Controller, DeploymentSpec, Digest, Operator};
use rustix::process::Signal;
use tests::changes::change;
use tests::load::{noted, under_load};
use tests::{Sandbox, block_on};

/// Deployments of `counter` that differ in one file.
struct Versions {
    client: Client,
    schema: Module,
    target: TargetTriple,
    artefacts: Vec<Artefact>,
}

impl Versions {
    async fn upload(&self, path: &str, content: &str, mode: Mode) -> Artefact {
        let (digest, size) = (Digest::of(content.as_bytes()), content.len() as u64);
        let bytes = bytes::Bytes::from(content.to_owned());
        let body = Box::pin(futures_util::stream::iter([Ok(bytes)]));
        self.client.upload_artefact(digest, size, body).await.unwrap();
        Artefact { path: path.parse().unwrap(), digest, size, mode }
    }

    async fn create(&self, artefacts: Vec<Artefact>) -> DeploymentId {
        let manifest = Manifest::new(artefacts).unwrap();
        let language = "rust".parse().unwrap();
        let spec = DeploymentSpec::new(self.schema.clone(), language, self.target.clone(), manifest);
        self.client.create_deployment(spec).await.unwrap()
    }

    /// One that serves like every other.
    async fn version(&self, text: &str) -> DeploymentId {
        let file = self.upload("version", text, Mode::Data).await;
        self.create([&self.artefacts[..], &[file]].concat()).await
    }

    /// One that ends at its start.
    async fn broken(&self) -> DeploymentId {
        let script = "#!/bin/sh\necho out of luck >&2\nexit 3\n";
        self.create(vec![self.upload("bin/counter", script, Mode::Executable).await]).await
    }
}

fn wanted(deployment: DeploymentId) -> Wanted {
    Wanted { deployment, platform: "local".parse().unwrap(), replicas: 2 }
}

#[test]
fn no_call_fails_while_versions_replace_each_other() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "tests/modules/counter"]).expect(0);
    let built =
        sandbox.run_at(&serve, &["build", "tests/modules/counter", "--format", "json"]).expect(0).json();
    let manifest: Manifest = serde_json::from_value(built["modules"][0]["artefacts"].clone()).unwrap();
    let file = sandbox.path("noted");
    fs::write(&file, "").unwrap();

    let tally = under_load(&serve, &file, 50, || {
        // On this thread a client of its own: connections belong to a runtime.
        block_on(async {
            let client = serve.client();
            let schema = client.schemas().await.unwrap().remove(0);
            let (target, artefacts) = (sandbox.target(), manifest.artefacts().to_vec());
            let versions = Versions { client, schema, target, artefacts };
            for round in 0..4 {
                let version = versions.version(&format!("version {}", round % 3)).await;
                let status =
                    change(&versions.client, &format!("change-{round}"), wanted(version.clone())).await;
                assert_eq!(status.state, ChangeState::Committed, "{status:?}");
                assert_eq!(versions.client.status().await.unwrap()[0].deployment, version);
                serve.look();
            }
            let before = versions.client.status().await.unwrap()[0].deployment.clone();
            let status = change(&versions.client, "broken", wanted(versions.broken().await)).await;
            assert_eq!(status.state, ChangeState::Failed { reason: "crash loop".to_owned() });
            let error = status.modules[0].last_error.as_ref().unwrap();
            assert!(error.contains("exited with code 3") && error.contains("out of luck"), "{error}");
            let after = versions.client.status().await.unwrap();
            assert_eq!(
                (&after[0].deployment, after[0].ready),
                (&before, 2),
                "the old one serves on: {after:?}"
            );
        });
    });
    assert!(tally.not_started.is_empty() && tally.may_have_run.is_empty(), "{tally:#?}");
    assert!(tally.other.is_empty(), "{:?}", tally.other);
    let noted = noted(&file);
    assert_eq!(noted.len(), tally.ok.len(), "each ran");
    assert!(noted.values().all(|times| *times == 1), "ran twice: {noted:?}");
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}
