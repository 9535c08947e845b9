//! Whether the engine really starts something: engines were seen that answer, and start nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, StartContainerOptions, WaitContainerOptionsBuilder,
};
use ftl_core::platform::{ErrorKind, Health, PlatformError};
use futures_util::StreamExt;

use crate::backend::Backend;
use crate::container;
use crate::create::discard;
use crate::error::Doing;
use crate::marks::{self, Labels};

/// How long a program may take that says its version.
const RUN_TIME: Duration = Duration::from_secs(20);
/// An older canary is nobody's any more, in seconds.
const AGE_MAX_S: i64 = 600;
/// What the canary is asked. How it answers does not matter, but that it ends.
const QUESTION: &str = "--version";

impl Backend {
    pub(crate) async fn ping(&self) -> Health {
        match self.engine.ping().await {
            Ok(()) => Health::Ok,
            Err(error) => Health::Down { why: error.advice() },
        }
    }

    /// Starts the runner's program in a container, reads its exit, and removes it.
    pub(crate) async fn canary(&self) -> Health {
        match self.try_canary().await {
            Ok(()) => Health::Ok,
            Err(error) => match self.ping().await {
                Health::Ok => Health::Degraded { why: format!("it answers, and yet {}", error.advice()) },
                down => down,
            },
        }
    }

    async fn try_canary(&self) -> Result<(), PlatformError> {
        let program =
            self.images.any_program().map_or_else(std::env::current_exe, Ok::<PathBuf, _>).map_err(
                |error| {
                    PlatformError::new(ErrorKind::Internal, "this program does not know where it is")
                        .with_source(error)
                },
            )?;
        let image = self.images.tag(&program).await?;
        let body = ContainerCreateBody {
            image: Some(image),
            cmd: Some(vec![QUESTION.to_owned()]),
            labels: Some(Labels::from(
                [marks::MANAGED_BY, marks::CANARY].map(|label| (label.to_owned(), marks::US.to_owned())),
            )),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                ..container::hardened(&self.options)
            }),
            ..ContainerCreateBody::default()
        };
        self.remove_old_canaries().await?;
        let id = self.make_or_load(&name(), &program, &body).await?;
        let ran = self.run(&id).await;
        // In any case: it is nobody's instance, and nobody else removes it.
        discard(&self.engine, &id).await?;
        ran
    }

    /// Those of processes that ended before they could.
    async fn remove_old_canaries(&self) -> Result<(), PlatformError> {
        let filters = HashMap::from([("label", vec![format!("{}={}", marks::CANARY, marks::US)])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let list = |client: Docker| {
            let options = Some(options.clone());
            async move { client.list_containers(options).await }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        for canary in self.engine.read("list canaries", list).await? {
            let age = now.saturating_sub(canary.created.unwrap_or(now));
            if let Some(id) = canary.id.filter(|_| age > AGE_MAX_S) {
                discard(&self.engine, &id).await?;
            }
        }
        Ok(())
    }

    async fn run(&self, id: &str) -> Result<(), PlatformError> {
        let start =
            |client: Docker| async move { client.start_container(id, None::<StartContainerOptions>).await };
        self.engine.call("start a canary", Doing::Changing, self.engine.timings.start, start).await?;
        let wait = |client: Docker| async move {
            let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
            match client.wait_container(id, Some(options)).next().await {
                // The driver takes every code but 0 for an error.
                None | Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => Ok(()),
                Some(Err(error)) => Err(error),
            }
        };
        self.engine.call("see a canary end", Doing::Reading, RUN_TIME, wait).await
    }
}

/// A name that no other canary has.
fn name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("ftl-canary-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
