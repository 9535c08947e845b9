//! What both modes answer alike.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ftl_core::key::RunnerKey;
use ftl_core::name::ClusterId;
use ftl_core::platform::{ErrorKind, Health, InstanceRef, InstanceSpec, PlatformError};
use ftl_core::sequence::{Actor, Event};
use tokio::sync::mpsc;

/// How long a forced removal waits for a killed instance: the kernel ends it at once unless it hangs in a driver.
pub(crate) const KILL_WAIT: Duration = Duration::from_secs(5);
/// Lines that wait for a reader of logs; a slower reader slows down nobody but itself.
pub(crate) const LOG_QUEUE: usize = 64;

/// Tells who records sequences that an instance is made.
pub(crate) fn record_create(spec: &InstanceSpec) {
    Event::new(Actor::Platform, Actor::Runner, "CreateInstance", "ack", &spec.about()).record();
}

/// The key of the instance of this cluster whose directory this is. The name of a cluster may be the beginning of another
/// one's.
pub(crate) fn key_of(directory: &Path, cluster: &ClusterId) -> Option<RunnerKey> {
    directory.file_name()?.to_str()?.strip_prefix(cluster.as_str())?.strip_prefix('-')?.parse().ok()
}

/// Whether the platform's directory is there.
pub(crate) async fn probe(directory: &Path) -> Health {
    match tokio::fs::metadata(directory).await {
        Ok(_) => Health::Ok,
        Err(error) => Health::Down { why: format!("{} cannot be used: {error}", directory.display()) },
    }
}

/// There is no such instance.
pub(crate) fn missing(instance: &InstanceRef) -> PlatformError {
    PlatformError::new(ErrorKind::Missing, format!("there is no instance of runner {}", instance.runner))
}

pub(crate) fn still_running(instance: &InstanceRef) -> PlatformError {
    let message = format!("the instance of runner {} is still running", instance.runner);
    PlatformError::new(ErrorKind::Conflict, message).with_hint("stop it first")
}

pub(crate) fn did_not_end(instance: &InstanceRef) -> PlatformError {
    let message = format!("runner {} did not end within {KILL_WAIT:?} of being killed", instance.runner);
    PlatformError::new(ErrorKind::Unavailable, message).with_unknown_effect()
}

pub(crate) fn not_removed(instance: &InstanceRef, error: io::Error) -> PlatformError {
    let message = format!("the directory of runner {} cannot be removed", instance.runner);
    PlatformError::new(ErrorKind::Unavailable, message).with_source(error)
}

/// A receiver as a stream.
pub(crate) struct Received<T>(pub(crate) mpsc::Receiver<T>);

impl<T> futures_core::Stream for Received<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_it_is() {
        let cluster: ClusterId = "c".parse().unwrap();
        assert_eq!(key_of(Path::new("/x/c-41"), &cluster), Some(RunnerKey(41)));
        for other in ["d-41", "c41", "c-", "c-x", "c-1-1", ".gone-41", ""] {
            assert_eq!(key_of(Path::new(other), &cluster), None, "{other}");
        }
    }
}
