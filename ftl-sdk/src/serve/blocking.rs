//! Finds verbs that block the thread on which all others wait.
//!
//! User code runs on the thread that also reads and writes the connection, because that is twice as fast as handing
//! every call over. The price: a verb that computes or waits without `await` delays everybody. A second thread looks
//! whether the same poll is still running after a while, and names its verb.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use ftl_core::name::{RequestId, VerbRef};
use tracing::warn;

/// How long a verb may keep the thread before it is named.
const BLOCKING_MAX: Duration = Duration::from_millis(100);
/// How often the watching thread looks.
const LOOK: Duration = Duration::from_millis(25);

/// Which verb is being polled now.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<Polling>);

#[derive(Debug, Default)]
struct Polling {
    /// Grows with every poll, so that two looks can tell whether they saw the same one.
    number: u64,
    verb: Option<(VerbRef, RequestId)>,
}

impl Watched {
    /// Starts the watching thread; it ends with the last user of what it returns.
    pub(super) fn start() -> std::io::Result<Arc<Self>> {
        let watched = Arc::new(Self::default());
        let weak = Arc::downgrade(&watched);
        thread::Builder::new().name("ftl-watchdog".to_owned()).spawn(move || watch(&weak, name_it))?;
        Ok(watched)
    }

    fn polling(&self) -> MutexGuard<'_, Polling> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a verb's future under watch.
    pub(super) fn watch<F>(self: &Arc<Self>, verb: VerbRef, request: RequestId, future: F) -> Watching<F> {
        Watching { watched: self.clone(), verb: (verb, request), future }
    }
}

/// A future under watch.
pub(super) struct Watching<F> {
    watched: Arc<Watched>,
    verb: (VerbRef, RequestId),
    future: F,
}

impl<F: Future + Unpin> Future for Watching<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        {
            let mut polling = self.watched.polling();
            polling.number += 1;
            polling.verb = Some(self.verb.clone());
        }
        let polled = Pin::new(&mut self.future).poll(context);
        self.watched.polling().verb = None;
        polled
    }
}

/// Looks again and again, and tells once of each poll that takes too long.
fn watch(watched: &Weak<Watched>, tell: impl Fn(&VerbRef, &RequestId)) {
    let mut seen: Option<(u64, Instant)> = None;
    let mut told = 0;
    while let Some(watched) = watched.upgrade() {
        let (number, verb) = {
            let polling = watched.polling();
            (polling.number, polling.verb.clone())
        };
        drop(watched);
        let Some((verb, request)) = verb else {
            seen = None;
            thread::sleep(LOOK);
            continue;
        };
        match seen {
            Some((same, since)) if same == number => {
                if since.elapsed() >= BLOCKING_MAX && told != number {
                    told = number;
                    tell(&verb, &request);
                }
            }
            _ => seen = Some((number, Instant::now())),
        }
        thread::sleep(LOOK);
    }
}

fn name_it(verb: &VerbRef, request: &RequestId) {
    warn!(
        %request,
        "the verb `{verb}` has blocked its thread for more than {BLOCKING_MAX:?}, and every other call with it: \
         `await` instead, or mark it `#[ftl::verb(blocking)]`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[tokio::test]
    async fn a_verb_that_blocks_is_named_once_and_one_that_waits_is_not() {
        let watched = Arc::new(Watched::default());
        let (tell, told) = sync_channel(16);
        let weak = Arc::downgrade(&watched);
        let watcher = thread::spawn(move || watch(&weak, |verb, _| tell.send(verb.to_string()).unwrap()));
        let run = |verb: &str, future: Pin<Box<dyn Future<Output = ()>>>| {
            watched.watch(verb.parse().unwrap(), "r-1".parse().unwrap(), future)
        };
        run("a.waits", Box::pin(tokio::time::sleep(BLOCKING_MAX * 2))).await;
        run("a.blocks", Box::pin(async { thread::sleep(BLOCKING_MAX * 4) })).await;
        assert_eq!(told.recv_timeout(Duration::from_secs(5)).unwrap(), "a.blocks");
        drop(watched);
        watcher.join().unwrap();
        assert!(told.try_recv().is_err(), "once for each block");
    }
}
