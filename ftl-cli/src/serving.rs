//! Starts a Controller in this process, with the platforms that this binary knows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ftl_client::Client;
use ftl_controller::{Handle, Options, Service};
use ftl_core::name::ClusterId;
use ftl_core::platform::ProgramSource;
use ftl_platform_docker::Docker;
use ftl_platform_local::Local;
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
    pub(crate) async fn start(data: &Path, listen: Listen) -> Result<Self, CliError> {
        let cannot = |what: &'static str| move |error| CliError::failed(what).because(error);
        let instances = data.join(INSTANCES);
        let name =
            LOCAL.parse().map_err(|error| CliError::failed("the platform has no name").because(error))?;
        let local = Local::new(ftl_platform_local::Options::new(name, instances.clone(), target()?));
        let local = local.map_err(|error| {
            CliError::failed(format!("the local platform cannot use {}", instances.display())).because(error)
        })?;
        let program = std::env::current_exe().map_err(cannot("this program does not know where it is"))?;
        let mut options = Options::new(data)
            .with_platform(Arc::new(local))
            .with_platform(Arc::new(docker()?))
            .with_runner(ProgramSource::Binary { path: program, args: vec!["runner".to_owned()] })
            .with_admin(listen.admin);
        options.owner =
            format!("{}:{}", host_name(), data.canonicalize().unwrap_or_else(|_| data.to_owned()).display());
        options.admin_fallback = listen.or_free;
        options.ingress = listen.ingress;
        options.cluster = listen.cluster;
        options.outlived = !listen.or_free;
        options.runner_env = logging_environment();
        let service = Service::open(options).await.map_err(|error| {
            CliError::new(Exit::Failed, "start_failed", "the Controller cannot be started").because(error)
        })?;
        // Only now is it sure that no other Controller works here. What a former one left has ended with it, because
        // the local platform is tied; nothing new is there before this one runs.
        remove_all_in(&instances).map_err(cannot("the directories of former instances cannot be removed"))?;
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

    /// Ends it and everything that it runs.
    pub(crate) async fn stop(mut self) -> Result<(), CliError> {
        self.handle.shutdown();
        match (&mut self.running).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(CliError::failed("the Controller did not end in order").because(error)),
            Err(error) => Err(CliError::failed("the Controller did not end in order").because(error)),
        }
    }
}

/// Containers, on the engine that is found; it need not be there before something is to run on it.
pub(crate) fn docker() -> Result<Docker, CliError> {
    let name = DOCKER.parse().map_err(|error| CliError::failed("the platform has no name").because(error))?;
    let mut options = ftl_platform_docker::Options::new(name, target()?);
    options.host = std::env::var(DOCKER_HOST_VARIABLE).ok();
    options.advertise = std::env::var(ADVERTISE_VARIABLE).ok();
    Ok(Docker::new(options))
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
