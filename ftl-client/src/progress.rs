//! Notices when an upload does not move any more: it may take long, and it may not stand still.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ftl_core::ControllerError;
use ftl_core::controller::BoxStream;
use futures_util::StreamExt;
use tokio::time::sleep;

use crate::client::{ANSWER_TIMEOUT, overdue};

/// How many pieces of an upload were taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// The same body, each of its pieces counted when it is taken.
    pub(crate) fn watch(&self, body: BoxStream<io::Result<Bytes>>) -> BoxStream<io::Result<Bytes>> {
        let taken = self.0.clone();
        Box::pin(body.inspect(move |_| {
            taken.fetch_add(1, Ordering::Relaxed);
        }))
    }

    /// The outcome of an upload, unless nothing of it is taken for [`ANSWER_TIMEOUT`] and no answer comes.
    pub(crate) async fn unless_stalled<T>(
        &self,
        uploading: impl Future<Output = Result<T, ControllerError>>,
    ) -> Result<T, ControllerError> {
        let stalled = async {
            let mut before = 0;
            loop {
                sleep(ANSWER_TIMEOUT).await;
                let now = self.0.load(Ordering::Relaxed);
                if now == before {
                    return;
                }
                before = now;
            }
        };
        tokio::select! {
            outcome = uploading => outcome,
            () = stalled => Err(overdue().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::time::Duration;

    fn pieces(pause: Duration) -> BoxStream<io::Result<Bytes>> {
        Box::pin(stream::iter(0..100).then(move |_| async move {
            sleep(pause).await;
            Ok(Bytes::from_static(b"x"))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_upload_is_waited_for_and_one_that_stands_still_is_not() {
        for (pause, well) in [(ANSWER_TIMEOUT / 2, true), (ANSWER_TIMEOUT * 3, false)] {
            let progress = Progress::default();
            let body = progress.watch(pieces(pause));
            let uploading = async { Ok(body.count().await) };
            assert_eq!(progress.unless_stalled(uploading).await.is_ok(), well, "{pause:?}");
        }
    }
}
