//! A cluster of its own for each test, of which nothing is left afterwards.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bollard::query_parameters::{InspectContainerOptions, RemoveImageOptions};
use ftl_core::Secret;
use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::name::ClusterId;
use ftl_core::platform::{
    ClusterAccess, ClusterSpec, Exit, Health, InstanceRef, InstanceSpec, InstanceState, InstanceStatus,
    Platform, PlatformExt, Probe, ProgramSource, RemoveOptions,
};
use ftl_platform_docker::{Docker, Options};
use futures_util::FutureExt;
use tokio::sync::{OnceCell, RwLock};
use tokio::time::{Instant, sleep};

/// How long anything may take on a busy machine.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// What must be seen nowhere.
pub(crate) const SECRET: &str = "the-very-secret-boot-document";
/// Who asks for the clusters; on no machine of this name is anything swept for being dead.
pub(crate) const OWNER: &str = "here:/tmp/nowhere";
/// Asks for a failure where there is no engine.
const REQUIRED: &str = "FTL_REQUIRE_DOCKER";

pub(crate) struct Bench {
    pub(crate) docker: Docker,
    pub(crate) cluster: ClusterId,
    /// The driver, to see what is really there.
    pub(crate) raw: bollard::Docker,
}

pub(crate) fn options() -> Options {
    Options::new("docker".parse().unwrap(), "x86_64-unknown-linux-gnu".parse().unwrap())
}

/// Runs a test in a cluster of its own, and looks that nothing is left of it. Without an engine it is skipped.
pub(crate) async fn bench(test: impl AsyncFnOnce(&Bench)) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Images that were there before: they are none of ours.
    static BEFORE: OnceCell<Vec<String>> = OnceCell::const_new();
    static TESTING: RwLock<()> = RwLock::const_new(());
    let docker = Docker::new(options());
    if let Health::Down { why } = docker.probe(Probe::Ping).await.unwrap() {
        assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set: {why}");
        println!("skipped: {why}");
        return;
    }
    let first = async || {
        sweep_dead(&docker).await;
        docker.unused_images().await.unwrap()
    };
    let before = BEFORE.get_or_init(first).await;
    let testing = TESTING.read().await;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let cluster = format!("test-{}-{number}", std::process::id()).parse().unwrap();
    let bench = Bench { docker, cluster, raw: bollard::Docker::connect_with_defaults().unwrap() };
    let outcome = AssertUnwindSafe(test(&bench)).catch_unwind().await;
    let released = bench.docker.sweep(&bench.cluster).await.unwrap();
    drop(testing);
    // The last one: a test may count on an image that no container uses in this moment.
    if let Ok(_alone) = TESTING.try_write() {
        for image in bench.docker.unused_images().await.unwrap() {
            if !before.contains(&image) {
                // Used by another process in this moment, or removed by it.
                let _ = bench.raw.remove_image(&image, None::<RemoveImageOptions>, None).await;
            }
        }
    }
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure);
    }
    assert_eq!(released.left, Vec::<String>::new());
    assert_eq!(bench.leftovers().await, Vec::<String>::new());
}

/// Removes what is left of tests whose process was killed.
async fn sweep_dead(docker: &Docker) {
    for left in docker.leftovers().await.unwrap() {
        let process = left.cluster.as_str().strip_prefix("test-").and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| {
            process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists()
        }) {
            // Another process may be at it, too.
            let _ = docker.sweep(&left.cluster).await;
        }
    }
}

/// The program that runs in the containers: this one, see `program`.
pub(crate) fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

impl Bench {
    pub(crate) fn cluster_spec(&self) -> ClusterSpec {
        let mut spec = ClusterSpec::new(self.cluster.clone(), Epoch(5), vec!["tcp:127.0.0.1:4711".into()]);
        spec.programs = vec![ProgramSource::Binary { path: program(), args: Vec::new() }];
        spec.owner = OWNER.into();
        spec
    }

    pub(crate) async fn prepare(&self) -> ClusterAccess {
        self.docker.prepare(&self.cluster_spec()).await.unwrap()
    }

    /// An instance that does what a line of `program` says.
    pub(crate) fn spec(&self, key: u64, script: &str) -> InstanceSpec {
        let source = crate::program::source(program());
        let boot = Secret::new(SECRET.as_bytes());
        let language = "rust".parse().unwrap();
        let mut spec =
            InstanceSpec::new(self.cluster.clone(), RunnerKey(key), language, Epoch(5), vec![source], boot);
        spec.env.insert(crate::program::SCRIPT.into(), script.into());
        spec
    }

    pub(crate) async fn create(&self, key: u64, script: &str) -> InstanceRef {
        self.docker.create_runner(&self.spec(key, script)).await.unwrap().instance
    }

    pub(crate) async fn status(&self, key: u64) -> Option<InstanceStatus> {
        let seen = self.docker.observe(&self.cluster).await.unwrap();
        seen.into_iter().find(|status| status.instance.runner == RunnerKey(key))
    }

    pub(crate) async fn end_of(&self, key: u64) -> Exit {
        let until = Instant::now() + WAIT;
        loop {
            match self.status(key).await.map(|status| status.state) {
                Some(InstanceState::Ended(exit)) => return exit,
                other => assert!(Instant::now() < until, "runner {key}: {other:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn lines(&self, instance: &InstanceRef) -> Vec<String> {
        self.docker.tail(instance, 1000).await.unwrap()
    }

    /// Waits until an instance has written a line that begins so, and gives the rest of it.
    pub(crate) async fn line(&self, instance: &InstanceRef, begin: &str) -> String {
        let until = Instant::now() + WAIT;
        loop {
            let lines = self.lines(instance).await;
            if let Some(rest) = lines.iter().find_map(|line| line.strip_prefix(begin)) {
                return rest.to_owned();
            }
            assert!(Instant::now() < until, "`{begin}` was never written: {lines:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the engine says of a container, as it says it.
    pub(crate) async fn inspect(&self, container: &str) -> serde_json::Value {
        let found = self.raw.inspect_container(container, None::<InspectContainerOptions>).await.unwrap();
        serde_json::to_value(found).unwrap()
    }

    /// All that the engine has with the label of the cluster.
    pub(crate) async fn leftovers(&self) -> Vec<String> {
        let all = self.docker.leftovers().await.unwrap();
        let mine = all.into_iter().filter(|left| left.cluster == self.cluster);
        mine.flat_map(|left| [left.containers, left.networks, left.volumes].concat()).collect()
    }
}

/// A program with bytes of its own, whose image no other test uses or removes.
pub(crate) struct Own {
    program: PathBuf,
    image: String,
}

impl Own {
    /// Has it loaded and run by a platform, and removed again but for its image.
    pub(crate) async fn of(bench: &Bench, docker: &Docker, directory: &Path) -> Self {
        let mut own = Self { program: crate::program::copy(directory), image: String::new() };
        own.prepare(bench, docker).await;
        let first = docker.create_runner(&own.spec(bench, 1, "exit 0")).await.unwrap().instance;
        bench.end_of(1).await;
        own.image = bench.inspect(&first.native).await["Config"]["Image"].as_str().unwrap().to_owned();
        bench.docker.remove_instance(&first, RemoveOptions::default()).await.unwrap();
        own
    }

    /// Makes a platform ready for it.
    pub(crate) async fn prepare(&self, bench: &Bench, docker: &Docker) {
        let mut spec = bench.cluster_spec();
        spec.programs = vec![crate::program::source(self.program.clone())];
        docker.prepare(&spec).await.unwrap();
    }

    /// An instance that runs it.
    pub(crate) fn spec(&self, bench: &Bench, key: u64, script: &str) -> InstanceSpec {
        let mut spec = bench.spec(key, script);
        spec.program = vec![crate::program::source(self.program.clone())];
        spec
    }

    /// Its tag.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// Removes its image, which no container uses.
    pub(crate) async fn remove_image(&self, bench: &Bench) {
        bench.raw.remove_image(&self.image, None::<RemoveImageOptions>, None).await.unwrap();
    }
}
