//! Instances, found again by the labels of their containers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum as Summary};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
};
use ftl_core::key::RunnerKey;
use ftl_core::name::ClusterId;
use ftl_core::platform::{ErrorKind, Exit, InstanceRef, InstanceState, InstanceStatus, PlatformError};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep};

use crate::connect::Engine;
use crate::container::ASKED_FILE;
use crate::error::is_unanswered;
use crate::image::DIRECTORY;
use crate::marks::{self, Labels, Marks};
use crate::{logs, state};

/// How many containers are inspected at once; the engine answers each in about a millisecond.
const INSPECTS_PARALLEL: usize = 8;

/// Of how many instances is remembered what was seen.
const SEEN_MAX: usize = 1 << 10;
/// How long a container may be listed that cannot be looked at. While the engine makes or removes one, its name is taken
/// and it is listed, and yet it "does not exist".
pub(crate) const SETTLE_TIME: Duration = Duration::from_secs(3);
/// How often is looked whether it can be.
pub(crate) const SETTLE_LOOK: Duration = Duration::from_millis(25);

/// A container of ours.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    pub(crate) marks: Marks,
    /// Who asked for it, if it says so.
    pub(crate) owner: Option<String>,
    /// Whether its program was running when it was listed.
    pub(crate) running: bool,
}

impl Container {
    /// Reads what a list says; `None` when it is no instance of ours.
    fn of(summary: ContainerSummary) -> Option<Self> {
        let labels = summary.labels?;
        let marks = Marks::of(&labels)?;
        let owner = marks::owner(&labels).map(str::to_owned);
        let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        let running = matches!(summary.state, Some(Summary::RUNNING | Summary::PAUSED | Summary::RESTARTING));
        Some(Self { id: summary.id?, name: plain(&name).to_owned(), marks, owner, running })
    }

    pub(crate) fn instance(&self) -> InstanceRef {
        InstanceRef::new(self.marks.cluster.clone(), self.marks.runner, self.id.clone())
    }

    fn status(&self, state: InstanceState) -> InstanceStatus {
        InstanceStatus::new(self.instance(), self.marks.digest, self.marks.generation, state).at(&self.name)
    }
}

/// What was seen of instances before. Only spares work: all of it can be seen again.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<String, Last>>);

/// What was seen of an instance.
#[derive(Clone, Debug)]
enum Last {
    /// It runs, and was asked to end or not. Whoever asks goes through this value, or had asked before it was made.
    Running { asked: bool },
    /// It ended, and stays so.
    Ended(Exit),
}

impl Seen {
    fn get(&self, id: &str) -> Option<Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn note(&self, id: &str, last: Last) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert(id.to_owned(), last);
    }

    /// An instance was asked to end.
    pub(crate) fn note_asked(&self, id: &str) {
        self.note(id, Last::Running { asked: true });
    }
}

/// A name as people write it; the engine puts a slash before.
pub(crate) fn plain(name: &str) -> &str {
    name.trim_start_matches('/')
}

/// The containers of instances that these filters find, ended ones too.
pub(crate) async fn list(engine: &Engine, filters: &marks::Filters) -> Result<Vec<Container>, PlatformError> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(filters).build();
    let list = |client: Docker| {
        let options = Some(options.clone());
        async move { client.list_containers(options).await }
    };
    let listed = engine.read("list containers", list).await?;
    Ok(listed.into_iter().filter_map(Container::of).collect())
}

/// The container of an instance.
pub(crate) async fn find(
    engine: &Engine,
    cluster: &ClusterId,
    runner: RunnerKey,
) -> Result<Option<Container>, PlatformError> {
    Ok(list(engine, &marks::instance(cluster, runner)).await?.into_iter().next())
}

/// All that the engine knows of a container, by id or by name.
pub(crate) async fn inspect(
    engine: &Engine,
    container: &str,
) -> Result<Option<ContainerInspectResponse>, PlatformError> {
    let inspect = |client: Docker| async move {
        client.inspect_container(container, None::<InspectContainerOptions>).await
    };
    match engine.read("inspect a container", inspect).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == ErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// The labels of an inspected container.
pub(crate) fn labels(found: &ContainerInspectResponse) -> Labels {
    found.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default()
}

/// Whether an instance was asked to end: its directory says so.
pub(crate) async fn asked(engine: &Engine, id: &str) -> Result<bool, PlatformError> {
    let path = format!("{DIRECTORY}/{ASKED_FILE}");
    let options = ContainerArchiveInfoOptionsBuilder::new().path(&path).build();
    let look = |client: Docker| {
        let options = Some(options.clone());
        async move { client.get_container_archive_info(id, options).await }
    };
    match engine.read("look into a container", look).await {
        Ok(_) => Ok(true),
        // It is not there, or the container is just being removed: nobody knows.
        Err(error) if !is_unanswered(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What an instance is doing; `None` when its container is gone.
pub(crate) async fn state(engine: &Engine, id: &str) -> Result<Option<InstanceState>, PlatformError> {
    let Some(found) = inspect(engine, id).await? else { return Ok(None) };
    let found = found.state.unwrap_or_default();
    let seen = state::of(&found, false);
    if matches!(seen, InstanceState::Running | InstanceState::Unknown { .. }) {
        return Ok(Some(seen));
    }
    match state::of(&found, asked(engine, id).await?) {
        InstanceState::Ended(exit) if exit.signal.is_some() && exit.oom != Some(true) => {
            let code = match logs::exit_code(engine, id).await {
                // It is just being removed: nobody is told of it.
                Err(error) if error.kind == ErrorKind::Conflict => return Ok(None),
                answered => answered?,
            };
            Ok(Some(InstanceState::Ended(match code {
                Some(code) => state::with_code(exit, code),
                None => exit,
            })))
        }
        state => Ok(Some(state)),
    }
}

/// The container of an instance, and what the instance is doing.
pub(crate) async fn settled(
    engine: &Engine,
    instance: &InstanceRef,
) -> Result<Option<(Container, InstanceState)>, PlatformError> {
    let until = Instant::now() + SETTLE_TIME;
    loop {
        let Some(found) = find(engine, &instance.cluster, instance.runner).await? else { return Ok(None) };
        if let Some(state) = state(engine, &found.id).await? {
            return Ok(Some((found, state)));
        }
        if Instant::now() > until {
            return Err(unsettled(&found.name));
        }
        sleep(SETTLE_LOOK).await;
    }
}

/// The engine is not done with a container.
pub(crate) fn unsettled(name: &str) -> PlatformError {
    let message = format!("docker is still making or removing the container {name} after {SETTLE_TIME:?}");
    let mut error = PlatformError::new(ErrorKind::Busy, message);
    error.retry_after = Some(SETTLE_TIME);
    error
}

/// What all instances of a cluster are doing.
pub(crate) async fn observe(
    engine: &Engine,
    cluster: &ClusterId,
    seen: &Seen,
) -> Result<Vec<InstanceStatus>, PlatformError> {
    let containers = list(engine, &marks::all_of(cluster)).await?;
    let looked = futures_util::stream::iter(containers).map(|container| async move {
        let state = if container.running {
            Some(running(engine, &container.id, seen).await?)
        } else {
            not_running(engine, &container.id, seen).await?
        };
        Ok::<_, PlatformError>(state.map(|state| container.status(state)))
    });
    // One that was removed meanwhile is none.
    looked.buffered(INSPECTS_PARALLEL).try_filter_map(async |status| Ok(status)).try_collect().await
}

async fn running(engine: &Engine, id: &str, seen: &Seen) -> Result<InstanceState, PlatformError> {
    let asked = match seen.get(id) {
        Some(Last::Running { asked }) => asked,
        _ => {
            let asked = asked(engine, id).await?;
            seen.note(id, Last::Running { asked });
            asked
        }
    };
    Ok(if asked { InstanceState::Stopping } else { InstanceState::Running })
}

async fn not_running(engine: &Engine, id: &str, seen: &Seen) -> Result<Option<InstanceState>, PlatformError> {
    if let Some(Last::Ended(exit)) = seen.get(id) {
        return Ok(Some(InstanceState::Ended(exit)));
    }
    let state = state(engine, id).await?;
    match &state {
        // One that never started may yet be started by whoever is just making it, and then it has another end.
        Some(InstanceState::Ended(exit)) if !exit.never_started => seen.note(id, Last::Ended(exit.clone())),
        _ => {}
    }
    Ok(state)
}
