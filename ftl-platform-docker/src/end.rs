//! How an instance ends and is forgotten.
//!
//! That it was asked to end is written into its directory first. So it is known afterwards, by whoever looks; and an
//! instance whose program does not run yet is seen as ended, and never starts.

use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::StopContainerOptionsBuilder;
use ftl_core::platform::{ErrorKind, InstanceRef, InstanceState, PlatformError, RemoveOptions};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::backend::Backend;
use crate::connect::Engine;
use crate::container;
use crate::create::{discard, kill, upload};
use crate::error::{Doing, is_unanswered};
use crate::instances;

/// For so long a request to end is watched; most instances have ended by then. Afterwards it is under way.
const UNDER_WAY_AFTER: Duration = Duration::from_secs(1);
/// How long a removal that somebody else began may take: the engine unmounts and deletes.
const REMOVAL_TIME: Duration = Duration::from_secs(20);
/// How often is looked whether it is done.
const REMOVAL_LOOK: Duration = Duration::from_millis(50);

impl Backend {
    /// Asks an instance to end, and has it killed after `grace`.
    pub(crate) async fn stop(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError> {
        let Some((found, state)) = instances::settled(&self.engine, instance).await? else { return Ok(()) };
        if state.is_ended() {
            return Ok(());
        }
        match mark_asked(&self.engine, &found.id).await {
            Ok(()) => self.seen.note_asked(&found.id),
            // An end must also be possible where nothing can be written any more.
            Err(error) if state != InstanceState::Pending && !is_unanswered(&error) => {
                debug!(%error, runner = %instance.runner, "nobody will know that it was asked to end");
            }
            Err(error) => return Err(error),
        }
        // One that does not run yet would start later. With the mark, whoever is about to start it ends it.
        if state == InstanceState::Pending
            && instances::state(&self.engine, &found.id).await? != Some(InstanceState::Running)
        {
            return Ok(());
        }
        if grace.is_zero() { kill(&self.engine, &found.id).await } else { self.ask(&found.id, grace).await }
    }

    /// The engine itself counts the time, so an instance ends even if this process does not live so long.
    async fn ask(&self, id: &str, grace: Duration) -> Result<(), PlatformError> {
        let (engine, id) = (self.engine.clone(), id.to_owned());
        let asking = tokio::spawn(async move {
            let stopped = stop(&engine, &id, grace).await;
            if let Err(error) = &stopped {
                warn!(%error, container = %id, "an instance may not have ended");
            }
            stopped
        });
        match timeout(UNDER_WAY_AFTER, asking).await {
            Ok(Ok(stopped)) => stopped,
            // It is under way, and ends in its own time.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Forgets an instance.
    pub(crate) async fn remove(
        &self,
        instance: &InstanceRef,
        options: RemoveOptions,
    ) -> Result<(), PlatformError> {
        let Some((found, state)) = instances::settled(&self.engine, instance).await? else { return Ok(()) };
        if !options.force && !state.is_ended() {
            let message = format!("the instance of runner {} is still running", instance.runner);
            return Err(PlatformError::new(ErrorKind::Conflict, message).with_hint("stop it first"));
        }
        match discard(&self.engine, &found.id).await {
            // Somebody else is removing it.
            Err(error) if error.kind == ErrorKind::Conflict => gone(&self.engine, &found.id).await,
            removed => removed,
        }
    }
}

async fn mark_asked(engine: &Engine, id: &str) -> Result<(), PlatformError> {
    let archive = container::asked_archive().map_err(|error| {
        PlatformError::new(ErrorKind::Internal, "an empty file cannot be packed").with_source(error)
    })?;
    upload(engine, id, "leave word that an instance was asked to end", archive).await
}

async fn stop(engine: &Engine, id: &str, grace: Duration) -> Result<(), PlatformError> {
    // In whole seconds, and never less than was asked for.
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    let options = StopContainerOptionsBuilder::new().t(i32::try_from(seconds).unwrap_or(i32::MAX)).build();
    let stop = |client: Docker| {
        let options = Some(options.clone());
        async move { client.stop_container(id, options).await }
    };
    let time = Duration::from_secs(seconds) + engine.timings.stop_slack;
    match engine.call("stop a container", Doing::Changing, time, stop).await {
        Err(error) if error.kind == ErrorKind::Missing => Ok(()),
        stopped => stopped,
    }
}

/// Waits until a container is gone that is being removed.
async fn gone(engine: &Engine, id: &str) -> Result<(), PlatformError> {
    let until = Instant::now() + REMOVAL_TIME;
    while instances::inspect(engine, id).await?.is_some() {
        if Instant::now() > until {
            let message = format!("docker is still removing a container after {REMOVAL_TIME:?}");
            return Err(PlatformError::new(ErrorKind::Unavailable, message).with_unknown_effect());
        }
        sleep(REMOVAL_LOOK).await;
    }
    Ok(())
}
