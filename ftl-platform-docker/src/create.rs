//! How an instance is made: create, hand over the boot document, start. Each step may be entered again.

use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptions, RemoveContainerOptionsBuilder,
    StartContainerOptions, UploadToContainerOptionsBuilder,
};
use ftl_core::name::NetworkName;
use ftl_core::platform::{Created, ErrorKind, InstanceRef, InstanceSpec, InstanceState, PlatformError};
use ftl_core::sequence::{Actor, Event};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::backend::Backend;
use crate::connect::Engine;
use crate::container;
use crate::error::{Doing, is_unanswered};
use crate::image::DIRECTORY;
use crate::instances::{self, SETTLE_LOOK, SETTLE_TIME, unsettled};
use crate::marks::Marks;
use crate::network;

/// How long a half-made instance is left to whoever is making it; it takes about 0.4 s.
const HALF_MADE_TIME: Duration = Duration::from_secs(3);

impl Backend {
    /// Makes an instance, or finds it.
    pub(crate) async fn create(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        let Some((program, args)) = spec.binary() else {
            let message = "docker runs executable files, and the runner has none".to_owned();
            return Err(PlatformError::new(ErrorKind::Unsupported, message));
        };
        let until = Instant::now() + SETTLE_TIME;
        loop {
            if let Some(created) = self.make_or_find(spec, program, args).await? {
                return Ok(created);
            }
            if Instant::now() > until {
                return Err(unsettled(&container::name(spec)));
            }
            sleep(SETTLE_LOOK).await;
        }
    }

    /// `None`: there is one that cannot be looked at.
    async fn make_or_find(
        &self,
        spec: &InstanceSpec,
        program: &Path,
        args: &[String],
    ) -> Result<Option<Created>, PlatformError> {
        // By its labels: its name says nothing of an instance of the same key for another module.
        if let Some(found) = instances::find(&self.engine, &spec.cluster, spec.runner).await? {
            return self.again(spec, &found.id, &found.marks).await;
        }
        let image = self.images.tag(program).await?;
        let network = network::find(&self.engine, &spec.cluster).await?.ok_or_else(|| no_network(spec))?;
        let joined = network::existing(&self.engine, &spec.needs.networks).await?;
        let shared =
            container::Shared { image: &image, network: &network.id, owner: network.owner.as_deref() };
        let body = container::body(spec, args, shared, &self.options);
        match self.make_or_load(&container::name(spec), program, &body).await {
            Ok(id) => {
                Event::new(Actor::Platform, Actor::Runner, "CreateInstance", "ack", &spec.about()).record();
                self.finish(spec, &id, &joined).await?;
                Ok(Some(created(spec, &id, false)))
            }
            Err(error) if error.kind == ErrorKind::Conflict => {
                match instances::inspect(&self.engine, &container::name(spec)).await? {
                    Some(found) => self.taken(spec, &found).await,
                    None => Ok(None),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Creates a container of this name from the image of a program.
    pub(crate) async fn make_or_load(
        &self,
        name: &str,
        program: &Path,
        body: &ContainerCreateBody,
    ) -> Result<String, PlatformError> {
        match make(&self.engine, name, body).await {
            // The image is not there: somebody removed those that no container used.
            Err(error) if error.kind == ErrorKind::Missing => {
                self.images.ensure(&self.engine, program).await?;
                make(&self.engine, name, body).await
            }
            made => made,
        }
    }

    /// The name is in use: by the same instance, which somebody makes at the same time, or by somebody else's container.
    async fn taken(
        &self,
        spec: &InstanceSpec,
        found: &ContainerInspectResponse,
    ) -> Result<Option<Created>, PlatformError> {
        let id = found.id.clone().unwrap_or_default();
        match Marks::of(&instances::labels(found)) {
            Some(marks) if marks.cluster == spec.cluster && marks.runner == spec.runner => {
                self.again(spec, &id, &marks).await
            }
            _ => {
                let (name, id) = (container::name(spec), network::short(&id));
                let message = format!("the docker container {name} ({id}) is no instance of this cluster");
                Err(PlatformError::new(ErrorKind::Conflict, message)
                    .with_hint("it was left alone: rename or remove it"))
            }
        }
    }

    /// An instance of this key is there: it is the same, or it is none of this specification.
    async fn again(
        &self,
        spec: &InstanceSpec,
        id: &str,
        marks: &Marks,
    ) -> Result<Option<Created>, PlatformError> {
        spec.check_again(marks.generation, marks.digest)?;
        let until = Instant::now() + HALF_MADE_TIME;
        loop {
            match instances::state(&self.engine, id).await? {
                None => return Ok(None),
                Some(InstanceState::Pending) if Instant::now() < until => sleep(SETTLE_LOOK).await,
                Some(InstanceState::Pending) => break,
                Some(_) => return Ok(Some(created(spec, id, true))),
            }
        }
        debug!(runner = %spec.runner, "completing a half-made instance");
        let joined = network::existing(&self.engine, &spec.needs.networks).await?;
        self.finish(spec, id, &joined).await?;
        Ok(Some(created(spec, id, true)))
    }

    /// From a container that was created to one that runs.
    async fn finish(
        &self,
        spec: &InstanceSpec,
        id: &str,
        joined: &[(NetworkName, String)],
    ) -> Result<(), PlatformError> {
        self.join(id, joined).await?;
        let boot = container::boot_archive(&spec.boot).map_err(|error| {
            PlatformError::new(ErrorKind::Internal, "the boot document cannot be packed").with_source(error)
        })?;
        upload(&self.engine, id, "hand an instance its boot document", boot).await?;
        self.start(spec, id).await?;
        // Whoever asked it to end meanwhile found nothing running, and left word.
        if instances::asked(&self.engine, id).await? {
            kill(&self.engine, id).await?;
        }
        Ok(())
    }

    async fn join(&self, id: &str, joined: &[(NetworkName, String)]) -> Result<(), PlatformError> {
        if joined.is_empty() {
            return Ok(());
        }
        let found = instances::inspect(&self.engine, id).await?;
        let already = found.and_then(|found| found.network_settings?.networks).unwrap_or_default();
        for network in joined.iter().filter(|(name, _)| !already.contains_key(name.as_str())) {
            network::join(&self.engine, id, network).await?;
        }
        Ok(())
    }

    async fn start(&self, spec: &InstanceSpec, id: &str) -> Result<(), PlatformError> {
        let start =
            |client: Docker| async move { client.start_container(id, None::<StartContainerOptions>).await };
        let what = format!("start the container {}", container::name(spec));
        let started = self.engine.call(&what, Doing::Changing, self.engine.timings.start, start).await;
        let Err(error) = started else { return Ok(()) };
        if error.kind == ErrorKind::Missing {
            // A network that it was made for is gone; a new one has another id, so this container never starts.
            discard(&self.engine, id).await?;
            return Err(error.with_hint("a network was removed: prepare the platform again"));
        }
        if is_unanswered(&error) {
            return Err(error);
        }
        // The engine keeps why it could not be started, and so the instance is an ended one.
        match instances::state(&self.engine, id).await? {
            Some(InstanceState::Ended(_)) => Ok(()),
            _ => Err(error),
        }
    }
}

fn no_network(spec: &InstanceSpec) -> PlatformError {
    let message = format!("there is no docker network {}", network::name(&spec.cluster));
    PlatformError::new(ErrorKind::Missing, message).with_hint("prepare the platform again")
}

fn created(spec: &InstanceSpec, id: &str, existed: bool) -> Created {
    Created::new(InstanceRef::new(spec.cluster.clone(), spec.runner, id), existed)
}

async fn make(engine: &Engine, name: &str, body: &ContainerCreateBody) -> Result<String, PlatformError> {
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let create = |client: Docker| {
        let (options, body) = (Some(options.clone()), body.clone());
        async move { client.create_container(options, body).await }
    };
    Ok(engine.change(&format!("create the container {name}"), create).await?.id)
}

/// Puts an archive into an instance's directory.
pub(crate) async fn upload(
    engine: &Engine,
    id: &str,
    what: &str,
    archive: Vec<u8>,
) -> Result<(), PlatformError> {
    let options = UploadToContainerOptionsBuilder::new().path(DIRECTORY).build();
    let upload = |client: Docker| {
        let (options, archive) = (Some(options.clone()), archive.clone());
        // As a stream: the driver writes any other body into its trace.
        let body = bollard::body_stream(futures_util::stream::once(async move { archive.into() }));
        async move { client.upload_to_container(id, options, body).await }
    };
    engine.change(what, upload).await
}

/// Kills an instance now. One that does not run is as good.
pub(crate) async fn kill(engine: &Engine, id: &str) -> Result<(), PlatformError> {
    let kill = |client: Docker| async move { client.kill_container(id, None::<KillContainerOptions>).await };
    match engine.change("kill a container", kill).await {
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::Missing) => Ok(()),
        killed => killed,
    }
}

/// Removes a container that runs or not, and its volume.
pub(crate) async fn discard(engine: &Engine, id: &str) -> Result<(), PlatformError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let remove = |client: Docker| {
        let options = Some(options.clone());
        async move { client.remove_container(id, options).await }
    };
    match engine.change("remove a container", remove).await {
        Err(error) if error.kind == ErrorKind::Missing => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::Secret;
    use ftl_core::key::{Epoch, RunnerKey};

    #[test]
    fn a_key_is_one_specification() {
        let (cluster, language) = ("c".parse().unwrap(), "rust".parse().unwrap());
        let mut spec =
            InstanceSpec::new(cluster, RunnerKey(1), language, Epoch(5), Vec::new(), Secret::new(*b"x"));
        let marks = Marks::of(&crate::marks::of_instance(&spec, None)).unwrap();
        let same = |spec: &InstanceSpec, marks: &Marks| spec.check_again(marks.generation, marks.digest);
        assert!(same(&spec, &marks).is_ok());
        spec.boot = Secret::new(*b"other");
        spec.generation = Epoch(6);
        assert!(same(&spec, &marks).is_ok(), "a retry is the same");
        spec.generation = Epoch(4);
        assert_eq!(same(&spec, &marks).unwrap_err().kind, ErrorKind::Stale);
        spec.generation = Epoch(5);
        spec.env.insert("a".into(), "b".into());
        assert_eq!(same(&spec, &marks).unwrap_err().kind, ErrorKind::Conflict);
    }
}
