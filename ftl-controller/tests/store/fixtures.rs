//! Deployments, changes and stores to test with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ftl_controller::desired::{NewChange, Startup, Target};
use ftl_controller::store::{Opened, Store};
use ftl_controller::time::Time;
use ftl_core::artefact::Manifest;
use ftl_core::controller::{ChangeSpec, Wanted};
use ftl_core::deployment::DeploymentSpec;
use ftl_core::schema::Module;

pub(crate) const NOW: Time = Time::from_micros(1_700_000_000_000_000);

pub(crate) fn spec(module: &str, version: u8) -> DeploymentSpec {
    let schema = Module::new(module.parse().unwrap());
    let mut spec = DeploymentSpec::new(
        schema,
        "rust".parse().unwrap(),
        "x86_64-unknown-linux-gnu".parse().unwrap(),
        Manifest::new(Vec::new()).unwrap(),
    );
    spec.sdk_protocol = u16::from(version);
    spec
}

pub(crate) fn target(module: &str, version: u8, platform: &str) -> Target {
    Target { deployment: spec(module, version).id(), platform: platform.parse().unwrap() }
}

pub(crate) fn change(request: &str, wanted: &[(&Target, u16)], at: Time) -> NewChange {
    let wanted = wanted.iter().map(|(target, replicas)| Wanted {
        deployment: target.deployment.clone(),
        platform: target.platform.clone(),
        replicas: *replicas,
    });
    let spec = ChangeSpec::new(request.parse().unwrap(), wanted.collect());
    NewChange::of_spec(&spec, Duration::from_secs(300), at).unwrap()
}

pub(crate) fn startup(adopting: &[&str]) -> Startup {
    Startup { adopting: adopting.iter().map(|name| name.parse().unwrap()).collect(), at: NOW }
}

pub(crate) async fn open(file: &Path) -> Opened {
    Store::open(file, None, &startup(&["a"])).await.unwrap()
}

/// A store that knows versions 0 to 2 of the modules `m` and `n`.
pub(crate) async fn with_deployments(file: &Path) -> Opened {
    let opened = open(file).await;
    for module in ["m", "n"] {
        for version in 0..3 {
            opened.store.create_deployment(&spec(module, version), NOW).await.unwrap();
        }
    }
    opened
}

pub(crate) fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ftl.db");
    (directory, file)
}

pub(crate) async fn raw(file: &Path, sql: &'static str) {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query(sql).execute(&pool).await.unwrap();
    pool.close().await;
}
