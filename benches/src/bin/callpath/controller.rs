//! A Controller in a process of its own, with one platform besides `local`: there, the benchmark is the Runner.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ftl_controller::{Options, Service};
use ftl_core::controller::BoxStream;
use ftl_core::key::RunnerKey;
use ftl_core::name::{ClusterId, TargetTriple};
use ftl_core::platform::{
    Capability, ClusterAccess, ClusterSpec, Created, Description, ErrorKind, Exit, Health, InstanceRef,
    InstanceSpec, InstanceState, InstanceStatus, LogOptions, Platform, PlatformError, Probe, ProgramSource,
    ReleaseOptions, Released, RemoveOptions, Wake,
};
use ftl_core::runner::OutputLine;
use ftl_platform_local::Local;

/// The name of the platform on which the benchmark is the Runner.
pub(crate) const BENCH: &str = "bench";

/// Serves until standard input closes.
pub(crate) fn serve(data: &str, boot: &str, ftl: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let target: TargetTriple = target().parse().unwrap();
        let instances = PathBuf::from(data).join("instances");
        let local = ftl_platform_local::Options::new("local".parse().unwrap(), instances, target.clone());
        let options = Options::new(data)
            .with_platform(Arc::new(Local::new(local).unwrap()))
            .with_platform(Arc::new(Bench::new(target, boot.into())))
            .with_runner(ProgramSource::Binary { path: ftl.into(), args: vec!["runner".to_owned()] })
            .with_admin("127.0.0.1:0".parse().unwrap());
        let service = Service::open(options).await.unwrap();
        let handle = service.handle();
        println!("http://{} {}", handle.admin(), handle.token_path().display());
        let closed = handle.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            closed.shutdown();
        });
        service.run().await.unwrap();
    });
}

fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Hands the boot document of its one instance to whoever waits for a file.
#[derive(Debug)]
struct Bench {
    description: Description,
    boot: PathBuf,
    instances: Mutex<BTreeMap<RunnerKey, InstanceStatus>>,
}

impl Bench {
    fn new(target: TargetTriple, boot: PathBuf) -> Self {
        let description = Description::new(BENCH.parse().unwrap(), vec![target])
            .with_capabilities([Capability::ProgramBinary, Capability::Kill]);
        Self { description, boot, instances: Mutex::default() }
    }
}

#[async_trait]
impl Platform for Bench {
    fn describe(&self) -> &Description {
        &self.description
    }

    async fn probe(&self, _: Probe) -> Result<Health, PlatformError> {
        Ok(Health::Ok)
    }

    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        Ok(ClusterAccess::new(cluster.listening.clone()))
    }

    async fn watch(&self, _: &ClusterId) -> Result<BoxStream<Wake>, PlatformError> {
        Err(PlatformError::new(ErrorKind::Unsupported, "the benchmark wakes nobody"))
    }

    async fn release(&self, _: &ClusterId, _: ReleaseOptions) -> Result<Released, PlatformError> {
        Ok(Released::nothing())
    }

    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        let instance = InstanceRef::new(spec.cluster.clone(), spec.runner, spec.runner.to_string());
        let status =
            InstanceStatus::new(instance.clone(), spec.digest(), spec.generation, InstanceState::Running);
        let existed = self.instances.lock().unwrap().insert(spec.runner, status).is_some();
        let part = self.boot.with_extension("part");
        std::fs::write(&part, spec.boot.expose()).unwrap();
        std::fs::rename(part, &self.boot).unwrap();
        Ok(Created::new(instance, existed))
    }

    async fn observe(&self, _cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        Ok(self.instances.lock().unwrap().values().cloned().collect())
    }

    async fn logs(
        &self,
        _instance: &InstanceRef,
        _options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
        Err(PlatformError::new(ErrorKind::Unsupported, "the benchmark writes for itself"))
    }

    async fn stop_instance(&self, instance: &InstanceRef, _grace: Duration) -> Result<(), PlatformError> {
        if let Some(status) = self.instances.lock().unwrap().get_mut(&instance.runner) {
            status.state = InstanceState::Ended(Exit::new(true));
        }
        Ok(())
    }

    async fn remove_instance(&self, instance: &InstanceRef, _: RemoveOptions) -> Result<(), PlatformError> {
        self.instances.lock().unwrap().remove(&instance.runner);
        Ok(())
    }
}
