//! Faults that happen at the same place every time: [`Faulty`] loses a request, an answer, or gives up at a poll.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::Platform;
use ftl_core::controller::BoxStream;
use ftl_core::name::ClusterId;
use ftl_core::platform::{
    ClusterAccess, ClusterSpec, Created, Description, ErrorKind, Health, InstanceRef, InstanceSpec,
    InstanceStatus, LogOptions, PlatformError, Probe, ReleaseOptions, Released, RemoveOptions, Wake,
};
use ftl_core::runner::OutputLine;

/// What goes wrong with each create, stop and remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The backend never gets it.
    Request,
    /// The backend does it, and the answer is lost.
    Reply,
    /// Whoever asks is gone after so many polls.
    DroppedAt(usize),
}

/// A platform whose changes go wrong, always in the same way.
pub(crate) struct Faulty {
    inner: Arc<dyn Platform>,
    fault: Fault,
    /// Whether it did go wrong: a call that ends in fewer polls is not dropped.
    hit: AtomicBool,
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Platform>, fault: Fault) -> Self {
        Self { inner, fault, hit: AtomicBool::new(false) }
    }

    /// Whether something went wrong.
    pub(crate) fn hit(&self) -> bool {
        self.hit.load(Ordering::Relaxed)
    }

    async fn spoil<T>(
        &self,
        call: impl Future<Output = Result<T, PlatformError>> + Send,
    ) -> Result<T, PlatformError> {
        let lost = |what: &str| {
            self.hit.store(true, Ordering::Relaxed);
            let message = format!("the suite lost the {what}");
            Err(PlatformError::new(ErrorKind::Unavailable, message).with_unknown_effect())
        };
        match self.fault {
            Fault::Request => lost("request"),
            Fault::Reply => {
                call.await?;
                lost("answer")
            }
            Fault::DroppedAt(polls) => match at_most(polls, Box::pin(call)).await {
                Some(done) => done,
                None => lost("caller"),
            },
        }
    }
}

/// Polls a future at most so often, and drops it then.
async fn at_most<F: Future>(polls: usize, mut future: Pin<Box<F>>) -> Option<F::Output> {
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            // The next poll is the one that does not come.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Faulty {
    fn describe(&self) -> &Description {
        self.inner.describe()
    }

    async fn probe(&self, probe: Probe) -> Result<Health, PlatformError> {
        self.inner.probe(probe).await
    }

    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        self.inner.prepare(cluster).await
    }

    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        self.spoil(self.inner.create_instance(spec)).await
    }

    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        self.inner.observe(cluster).await
    }

    async fn watch(&self, cluster: &ClusterId) -> Result<BoxStream<Wake>, PlatformError> {
        self.inner.watch(cluster).await
    }

    async fn logs(
        &self,
        instance: &InstanceRef,
        options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
        self.inner.logs(instance, options).await
    }

    async fn stop_instance(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError> {
        self.spoil(self.inner.stop_instance(instance, grace)).await
    }

    async fn remove_instance(
        &self,
        instance: &InstanceRef,
        options: RemoveOptions,
    ) -> Result<(), PlatformError> {
        self.spoil(self.inner.remove_instance(instance, options)).await
    }

    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError> {
        self.inner.release(cluster, options).await
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).field("fault", &self.fault).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_future_is_dropped_at_the_poll_that_was_named() {
        let three = || {
            Box::pin(async {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                7
            })
        };
        for (polls, found) in [(0, None), (1, None), (2, None), (3, Some(7)), (9, Some(7))] {
            assert_eq!(at_most(polls, three()).await, found, "{polls}");
        }
    }
}
