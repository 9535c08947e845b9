//! Starts a Controller in this process, with the platforms that this binary knows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ftl_client::Client;
use ftl_controller::{Handle, Options, PlatformEnded, Service};
use ftl_core::name::{ClusterId, PlatformName};
use ftl_core::platform::ProgramSource;
use ftl_platform_docker::Docker;
use ftl_platform_local::{Local, Mode};
use tokio::task::JoinHandle;

use crate::compile::target;
use crate::error::CliError;
use crate::exit::Exit;
use crate::logging::{FILE_VARIABLE, LEVEL_VARIABLE};

/// The platform that every Controller has.
const LOCAL: &str = "local";
/// Its counterpart in containers.
pub(crate) const DOCKER: &str = "docker";
/// Names the engine, before `DOCKER_HOST` and Docker's own contexts.
pub(crate) const DOCKER_HOST_VARIABLE: &str = "FTL_DOCKER_HOST";
/// Names the address at which containers reach this machine, where it does not follow from the engine.
const ADVERTISE_VARIABLE: &str = "FTL_DOCKER_ADVERTISE";
/// Where the instances of the local platform have their directories, below the data directory.
const INSTANCES: &str = "instances";

/// What becomes of the processes on this machine when their Controller ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instances {
    /// They end with it.
    Tied,
    /// They go on, and the next one adopts them.
    Detached,
}

/// A Controller that runs in this process.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) handle: Handle,
    running: JoinHandle<Result<(), ftl_controller::ServiceError>>,
}

/// Where a Controller listens.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// What the cluster is called, if it is new.
    pub(crate) cluster: Option<ClusterId>,
    /// For the CLI.
    pub(crate) admin: SocketAddr,
    /// Whether a free port will do when that one is taken.
    pub(crate) or_free: bool,
    /// For outsiders.
    pub(crate) ingress: Option<SocketAddr>,
}

impl Serving {
    /// Starts a Controller over a data directory.
    pub(crate) async fn start(data: &Path, listen: Listen, instances: Instances) -> Result<Self, CliError> {
        let mut options = options(data, instances)?.with_admin(listen.admin);
        options.admin_fallback = listen.or_free;
        options.ingress = listen.ingress;
        options.cluster = listen.cluster;
        options.outlived = instances == Instances::Detached;
        options.runner_env = logging_environment();
        let service = Service::open(options).await.map_err(|error| {
            CliError::new(Exit::Failed, "start_failed", "the Controller cannot be started").because(error)
        })?;
        if instances == Instances::Tied {
            // Only now is it sure that no other Controller works here. What a former one left has ended with it, and
            // nothing new is there before this one runs.
            remove_all_in(&data.join(INSTANCES)).map_err(|error| {
                CliError::failed("the directories of former instances cannot be removed").because(error)
            })?;
        }
        let handle = service.handle();
        Ok(Self { handle, running: tokio::spawn(service.run()) })
    }

    /// Where it answers the CLI.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.handle.admin())
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let token = std::fs::read_to_string(self.handle.token_path())
            .map_err(|error| CliError::failed("the token cannot be read").because(error))?;
        Client::new(&self.url(), token.trim()).map_err(CliError::from)
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> CliError {
        match (&mut self.running).await {
            Ok(Ok(())) => CliError::failed("the Controller ended"),
            Ok(Err(error)) => CliError::failed("the Controller failed").because(error),
            Err(error) => CliError::failed("the Controller failed").because(error),
        }
    }

    /// Ends it and everything that does not outlive it; answers how many instances do.
    pub(crate) async fn stop(mut self) -> Result<usize, CliError> {
        self.handle.shutdown();
        match (&mut self.running).await {
            Ok(Ok(())) => Ok(self.handle.outliving().await),
            Ok(Err(error)) => Err(CliError::failed("the Controller did not end in order").because(error)),
            Err(error) => Err(CliError::failed("the Controller did not end in order").because(error)),
        }
    }
}

/// Ends everything that outlived the Controllers of a data directory.
pub(crate) async fn end_instances(data: &Path) -> Result<Vec<PlatformEnded>, CliError> {
    if !ftl_controller::keeps_state(data) {
        let message = format!("no Controller has kept its state in {}", data.display());
        return Err(CliError::failed(message).hint("name the folder of `ftl serve` with --data"));
    }
    let ended = ftl_controller::end_instances(&options(data, Instances::Detached)?).await;
    ended.map_err(|error| CliError::failed("nothing was ended").because(error))
}

/// The mode of the local platform, with this binary as the shim.
pub(crate) fn local_mode(instances: Instances) -> Result<Mode, CliError> {
    Ok(match instances {
        Instances::Tied => Mode::Tied,
        Instances::Detached => Mode::Detached { program: this_program()?, args: vec!["shim".to_owned()] },
    })
}

/// Where this binary is.
pub(crate) fn this_program() -> Result<PathBuf, CliError> {
    std::env::current_exe()
        .map_err(|error| CliError::failed("this program does not know where it is").because(error))
}

/// The platforms that this binary knows, and itself as the Runner's program.
fn options(data: &Path, instances: Instances) -> Result<Options, CliError> {
    let directory = data.join(INSTANCES);
    let name = platform_name(LOCAL)?;
    let local = ftl_platform_local::Options::new(name, directory.clone(), target()?);
    let local = local.with_mode(local_mode(instances)?);
    let local = Local::new(local).map_err(|error| {
        CliError::failed(format!("the local platform cannot use {}", directory.display())).because(error)
    })?;
    let runner = ProgramSource::Binary { path: this_program()?, args: vec!["runner".to_owned()] };
    let mut options = Options::new(data)
        .with_platform(Arc::new(local))
        .with_platform(Arc::new(docker()?))
        .with_runner(runner);
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    options.owner = format!("{}:{}", host_name(), data.display());
    Ok(options)
}

/// Containers, on the engine that is found; it need not be there before something is to run on it.
pub(crate) fn docker() -> Result<Docker, CliError> {
    let name = platform_name(DOCKER)?;
    let mut options = ftl_platform_docker::Options::new(name, target()?);
    options.host = std::env::var(DOCKER_HOST_VARIABLE).ok();
    options.advertise = std::env::var(ADVERTISE_VARIABLE).ok();
    Ok(Docker::new(options))
}

pub(crate) fn platform_name(name: &str) -> Result<PlatformName, CliError> {
    name.parse().map_err(|error| CliError::failed("the platform has no name").because(error))
}

/// The name of this machine, as its kernel has it.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn remove_all_in(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        std::fs::remove_dir_all(entry?.path())?;
    }
    Ok(())
}

/// Every process of a run records what this one records.
fn logging_environment() -> BTreeMap<String, String> {
    let set = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
    [LEVEL_VARIABLE, FILE_VARIABLE].into_iter().filter_map(set).collect()
}
