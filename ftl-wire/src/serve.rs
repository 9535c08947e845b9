//! One call that is served in this process: it always leaves an end behind.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ftl_core::{Call, Code, Failure, VerbService};
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::frame::{Outcome, StreamId};
use crate::shared::{Queued, Shared};
use crate::state::{End, Ending};

/// The target of the span around a call that is served, so that the lines of a call name it. Whoever names it in another
/// way turns this target off: a span costs more than a call.
pub const CALL_SPAN_TARGET: &str = "ftl::call";

/// Lets a service begin, here and now. Most calls end at once; one that has to wait gets a task of its own, which is
/// answered. Aborting the task drops the service's future, and then ends the call.
pub(crate) fn start(
    shared: Arc<Shared>,
    id: StreamId,
    service: Arc<dyn VerbService>,
    call: Call,
) -> Option<AbortHandle> {
    // At the level of errors, so that it is there whenever anything is logged at all: every line of a call names it.
    let span = tracing::error_span!(
        target: CALL_SPAN_TARGET,
        "call",
        request = %call.head.request,
        verb = %call.head.target,
    );
    let serving = Serving { shared, id, ended: false };
    let mut running = Box::pin(serve(serving, service, call).instrument(span));
    // Nobody needs to be woken: a task polls again as soon as it is spawned.
    let mut context = Context::from_waker(Waker::noop());
    match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut context))) {
        Ok(Poll::Pending) => Some(tokio::spawn(running).abort_handle()),
        // A panic has been told by its hook, and has ended the call while it unwound.
        Ok(Poll::Ready(())) | Err(_) => None,
    }
}

async fn serve(mut serving: Serving, service: Arc<dyn VerbService>, call: Call) {
    let outcome = service.call(call).await;
    if let Some(outcome) = serving.end(outcome) {
        serving.end_with_room(&outcome).await;
    }
}

/// The duty to end a call, kept by whoever holds it: also when the verb panics, or its task is aborted.
#[derive(Debug)]
struct Serving {
    shared: Arc<Shared>,
    id: StreamId,
    ended: bool,
}

impl Serving {
    /// Ends the call; gives the outcome back if too much waits to be sent.
    fn end(&mut self, outcome: Outcome) -> Option<Box<Outcome>> {
        match self.shared.answer(self.id, &outcome) {
            Queued::Done => {
                self.ended = true;
                None
            }
            // In a box: every call would carry the space for what few need.
            Queued::NoRoom => Some(Box::new(outcome)),
        }
    }

    async fn end_with_room(&mut self, outcome: &Outcome) {
        let shared = self.shared.clone();
        loop {
            let room = shared.queue_room.notified();
            tokio::pin!(room);
            // Before the look, so that no room that comes between is missed.
            room.as_mut().enable();
            if shared.answer(self.id, outcome) == Queued::Done {
                self.ended = true;
                return;
            }
            room.await;
        }
    }
}

/// How a call ended that had begun, and of which only the future's end is known.
fn broken_off(ending: Option<Ending>) -> End {
    let failure = match ending {
        Some(Ending::Cancelled) => Failure::new(Code::Cancelled, "cancelled by its caller"),
        Some(Ending::Deadline) => Failure::new(Code::DeadlineExceeded, "the deadline passed while it ran"),
        None if std::thread::panicking() => Failure::new(Code::Internal, "the verb panicked").passed_on(),
        None => Failure::new(Code::Unavailable, "the process is ending"),
    };
    End { reason: None, failure }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.broke_off(self.id, broken_off);
        }
    }
}
