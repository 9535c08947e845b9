//! Finds verbs that block the thread on which all others wait.
//!
//! User code runs on the thread that also reads and writes the connection, because that is twice as fast as handing
//! every call over. The price: a verb that computes or waits without `await` delays everybody. A second thread looks
//! whether the same poll is still running after a while, and names its verb.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

use super::current::{Work, Worker};
use crate::context::Context;

/// How long a verb may keep the thread before it is named.
const BLOCKING_MAX: Duration = Duration::from_millis(100);
/// How often the watching thread looks.
const LOOK: Duration = Duration::from_millis(25);

/// Starts to watch this thread, until it ends.
pub(super) fn watch_this_thread() -> std::io::Result<()> {
    let worker = Arc::downgrade(&Worker::here());
    thread::Builder::new().name("ftl-watchdog".to_owned()).spawn(move || watch(&worker, name_it))?;
    Ok(())
}

/// Looks again and again, and tells once of each poll that takes too long.
fn watch(worker: &Weak<Worker>, tell: impl Fn(&Context)) {
    let mut seen: Option<(u64, Instant)> = None;
    let mut told = 0;
    while let Some(worker) = worker.upgrade() {
        let Work { number, call } = worker.look();
        drop(worker);
        seen = match (call, seen) {
            (None, _) => None,
            (Some(call), Some((same, since))) if same == number => {
                if since.elapsed() >= BLOCKING_MAX && told != number {
                    told = number;
                    tell(&call);
                }
                seen
            }
            (Some(_), _) => Some((number, Instant::now())),
        };
        thread::sleep(LOOK);
    }
}

fn name_it(call: &Context) {
    warn!(
        request = %call.request_id(),
        "the verb `{}` has blocked its thread for more than {BLOCKING_MAX:?}, and every other call with it: \
         `await` instead, or mark it `#[ftl::verb(blocking)]`",
        call.verb()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::current::During;
    use ftl_core::Head;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::mpsc::sync_channel;

    /// How long anything may take here: far more than it ever takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// The thread is this test's own, as each test's is.
    #[test]
    fn a_verb_that_blocks_is_named_once_and_one_that_waits_is_not() {
        let (tell, told) = sync_channel(16);
        let (named, is_named) = sync_channel(1);
        let serving = thread::spawn(move || {
            let weak = Arc::downgrade(&Worker::here());
            let tell = move |call: &Context| {
                tell.send(call.verb().to_string()).unwrap();
                let _ = named.try_send(());
            };
            let watching = thread::spawn(move || watch(&weak, tell));
            let run = |verb: &str, future: Pin<Box<dyn Future<Output = ()>>>| {
                let deadline = tokio::time::Instant::now();
                let head = Head::new(verb.parse().unwrap(), "r-1".parse().unwrap(), deadline);
                During::new(Context::of(head), future)
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                run("a.waits", Box::pin(tokio::time::sleep(BLOCKING_MAX * 2))).await;
                // Until it is named, and then for some looks more.
                let blocks = async move {
                    is_named.recv_timeout(PATIENCE).unwrap();
                    thread::sleep(BLOCKING_MAX * 2);
                };
                run("a.blocks", Box::pin(blocks)).await;
            });
            watching
        });
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "a.blocks");
        serving.join().unwrap().join().unwrap();
        assert!(told.try_recv().is_err(), "once for each block");
    }
}
