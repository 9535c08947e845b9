//! Reasons to observe again: the engine's events, and the certainty that it would have told.
//!
//! Events are hints: their order differs between versions, and those of a broken connection are lost. A frozen engine
//! tells nothing, without an error, so it is asked now and then.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use ftl_core::controller::BoxStream;
use ftl_core::name::ClusterId;
use ftl_core::platform::{PlatformError, Wake};
use futures_util::StreamExt;
use tokio::time::timeout;
use tracing::debug;

use crate::connect::Engine;
use crate::{instances, marks};

/// What changes an instance.
const EVENTS: [&str; 8] = ["create", "start", DIE, "oom", "kill", "stop", "destroy", "pause"];
/// The end of a container.
const DIE: &str = "die";
/// Events from a little earlier are told again: the clock of the engine may be a little behind, and a repeated hint
/// costs one look.
const OVERLAP_S: u64 = 2;

/// Watches the instances of a cluster.
pub(crate) async fn watch(
    engine: Arc<Engine>,
    cluster: &ClusterId,
) -> Result<BoxStream<Wake>, PlatformError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut filters = marks::all_of(cluster);
    filters.insert("type", vec!["container".to_owned()]);
    filters.insert("event", EVENTS.map(str::to_owned).to_vec());
    let options = EventsOptionsBuilder::new()
        .since(&(since.saturating_sub(OVERLAP_S)).to_string())
        .filters(&filters)
        .build();
    engine.ping().await?;
    let events = Box::pin(engine.client().await?.events(Some(options)));
    let watch = Watch { events, engine, subscribed: false };
    Ok(Box::pin(futures_util::stream::unfold(watch, |mut watch| async {
        let wake = watch.next().await?;
        Some((wake, watch))
    })))
}

struct Watch {
    events: Pin<Box<dyn futures_util::Stream<Item = Result<EventMessage, Error>> + Send>>,
    engine: Arc<Engine>,
    subscribed: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Wake> {
        if !self.subscribed {
            // What happens before the engine has the request is told afterwards: it was asked for by its time.
            self.subscribed = true;
            return Some(Wake::Subscribed);
        }
        match timeout(self.engine.timings.silence, self.events.next()).await {
            Ok(Some(Ok(event))) => Some(changed(&self.engine, event).await),
            Ok(Some(Err(error))) => {
                debug!(%error, "the docker engine stopped telling events");
                None
            }
            Ok(None) => None,
            Err(_) => match self.engine.ping().await {
                Ok(()) => Some(Wake::Alive),
                Err(error) => {
                    debug!(%error, "the docker engine is silent");
                    None
                }
            },
        }
    }
}

async fn changed(engine: &Engine, event: EventMessage) -> Wake {
    let actor = event.actor.unwrap_or_default();
    if event.action.as_deref() == Some(DIE)
        && let Some(id) = &actor.id
    {
        // Told while the engine still lists it as running. It holds the container meanwhile, so whoever inspects it
        // waits for the end of that; what he finds does not matter here.
        let _ = instances::inspect(engine, id).await;
    }
    Wake::Changed(marks::runner(&actor.attributes.unwrap_or_default()))
}
