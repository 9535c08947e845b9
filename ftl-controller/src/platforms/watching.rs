//! Hears what a platform says by itself, so that nobody has to wait for the next listing.
//!
//! What is heard is a reason to list and nothing else: a lost event costs time, never truth.

use std::sync::Arc;
use std::time::Duration;

use ftl_core::name::ClusterId;
use ftl_core::platform::{ALIVE_EVERY, Platform, Wake};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::PlatformEvent;
use super::worker::in_time;
use crate::mailbox::{Mailbox, Message};

/// Pause before a platform is watched again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a watch may be silent: a little more than its promise.
const SILENCE_MAX: Duration = ALIVE_EVERY.saturating_add(Duration::from_secs(5));

/// Watches a platform as long as the Controller runs.
pub(super) async fn run(platform: Arc<dyn Platform>, cluster: ClusterId, mailbox: Mailbox) {
    let name = platform.describe().name.clone();
    let wake = || mailbox.send(Message::Platform(PlatformEvent::Woken { platform: name.clone() }));
    loop {
        match in_time("watch", platform.watch(&cluster)).await {
            Ok(mut wakes) => {
                while let Ok(Some(heard)) = timeout(SILENCE_MAX, wakes.next()).await {
                    if heard != Wake::Alive {
                        wake().await;
                    }
                }
                tracing::debug!(platform = %name, "the watch ended");
                // Whatever happened since the last word of it was not heard.
                wake().await;
            }
            Err(error) => tracing::debug!(platform = %name, %error, "cannot be watched"),
        }
        sleep(AGAIN_AFTER).await;
    }
}
