//! The executable contract, held against a real engine.
//!
//! All of it takes minutes, so here it is a selection; `FTL_CONFORMANCE` names another one, `all` for everything:
//! `FTL_CONFORMANCE="stop lost" cargo test -p ftl-platform-docker --test conformance`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what is wrong by failing")]

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::query_parameters::{InspectContainerOptions, RemoveImageOptions};
use ftl_core::Platform;
use ftl_core::name::ClusterId;
use ftl_core::platform::{ErrorKind, Health, InstanceRef, PlatformError, Probe, ProgramSource};
use ftl_platform_conformance::{Conclusion, Finding, Fixture, Selection, probe, run};
use ftl_platform_docker::{Docker, Options};

/// Names other checks.
const SELECTION: &str = "FTL_CONFORMANCE";
/// One of each kind that Docker has trouble with.
const USUAL: &str = "create::registers idem::eight_parallel stop::graceful exit::codes exit::signal secret";
/// Asks for a failure where there is no engine.
const REQUIRED: &str = "FTL_REQUIRE_DOCKER";
/// The argument with which this binary is a probe.
const PROBE: &str = "probe";

/// A real engine.
#[derive(Debug)]
struct Engine(bollard::Docker);

fn docker() -> Docker {
    Docker::new(Options::new("docker".parse().unwrap(), "x86_64-unknown-linux-gnu".parse().unwrap()))
}

#[async_trait]
impl Fixture for Engine {
    async fn platform(&self) -> Result<Arc<dyn Platform>, PlatformError> {
        Ok(Arc::new(docker()))
    }

    fn program(&self) -> Vec<ProgramSource> {
        let path = std::env::current_exe().unwrap();
        vec![ProgramSource::Binary { path, args: vec![PROBE.to_owned()] }]
    }

    async fn leftovers(&self, cluster: &ClusterId) -> Result<Option<Vec<String>>, PlatformError> {
        let mine = docker().leftovers().await?.into_iter().filter(|left| left.cluster == *cluster);
        Ok(Some(mine.flat_map(|left| [left.containers, left.networks, left.volumes].concat()).collect()))
    }

    async fn raw(&self, instance: &InstanceRef) -> Result<Option<String>, PlatformError> {
        match self.0.inspect_container(&instance.native, None::<InspectContainerOptions>).await {
            Ok(found) => Ok(Some(format!("{found:?}"))),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(Some(String::new())),
            Err(error) => {
                let message = "the engine cannot be looked at";
                Err(PlatformError::new(ErrorKind::Unavailable, message).with_source(error))
            }
        }
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == PROBE) {
        return probe::main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(verify())
}

async fn verify() -> ExitCode {
    if let Health::Down { why } = docker().probe(Probe::Ping).await.unwrap() {
        println!("skipped: {why}");
        return if std::env::var_os(REQUIRED).is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let named = std::env::var(SELECTION).unwrap_or_else(|_| USUAL.to_owned());
    // Of each run another one, so that what a killed one left is in nobody's way.
    let mut selection = Selection::all(std::process::id().into());
    if named != "all" {
        selection.only = named.split_whitespace().map(str::to_owned).collect();
    }
    let engine = Arc::new(Engine(bollard::Docker::connect_with_defaults().unwrap()));
    let before = docker().unused_images().await.unwrap();
    let tell = |finding: &Finding| {
        println!("{:>6} ms  {}", finding.took_ms, finding.in_words("verify", selection.seed));
    };
    let report = run(engine.clone(), &selection, tell).await.unwrap();
    println!("{} ms in all, starts take {} ms: {}", report.took_ms, report.start_ms, report.summary(&[]));
    for image in docker().unused_images().await.unwrap() {
        if !before.contains(&image) {
            // Others may use it in this moment, or have removed it.
            let _ = engine.0.remove_image(&image, None::<RemoveImageOptions>, None).await;
        }
    }
    if report.conclusion(&[]) == Conclusion::Conformant { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
