//! One call that is served in this process: a task of its own, which always leaves an end behind.

use std::sync::Arc;

use ftl_core::{Call, Code, Failure, VerbService};
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::frame::{Outcome, Reason, Refused, StreamId};
use crate::shared::{Queued, Shared};
use crate::state::{End, Ending};

/// The target of the span around a call that is served, so that the lines of a call name it. Whoever names it in another
/// way turns this target off: a span costs more than a call.
pub const CALL_SPAN_TARGET: &str = "ftl::call";

/// Runs the service's future in a task. Aborting the task drops the future, and then ends the call.
pub(crate) fn spawn(
    shared: Arc<Shared>,
    id: StreamId,
    service: Arc<dyn VerbService>,
    call: Box<Call>,
) -> AbortHandle {
    // At the level of errors, so that it is there whenever anything is logged at all: every line of a call names it.
    let span = tracing::error_span!(target: CALL_SPAN_TARGET, "call", request = %call.head.request, verb = %call.head.target);
    let mut serving = Serving { shared, id, stage: Stage::Spawned };
    let run = async move {
        serving.stage = Stage::Running;
        let outcome = service.call(*call).await;
        if let Some(outcome) = serving.end(outcome) {
            serving.end_with_room(&outcome).await;
        }
    };
    tokio::spawn(run.instrument(span)).abort_handle()
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Spawned,
    Running,
    Ended,
}

/// The duty to end a call, kept by whoever holds it: also when the verb panics, or its task is aborted.
#[derive(Debug)]
struct Serving {
    shared: Arc<Shared>,
    id: StreamId,
    stage: Stage,
}

impl Serving {
    /// Ends the call; gives the outcome back if too much waits to be sent.
    fn end(&mut self, outcome: Outcome) -> Option<Box<Outcome>> {
        match self.shared.answer(self.id, &outcome) {
            Queued::Done => {
                self.stage = Stage::Ended;
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
                self.stage = Stage::Ended;
                return;
            }
            room.await;
        }
    }

    /// How the call ended, of which only the future's end is known.
    fn broken_off(&self, ending: Option<Ending>) -> End {
        let ran = |code, message: &str| End { reason: None, failure: Failure::new(code, message) };
        match (&self.stage, ending) {
            (Stage::Spawned, Some(Ending::Cancelled)) => {
                Refused::new(Reason::CANCELLED, Code::Cancelled, "cancelled before it started").into()
            }
            (Stage::Spawned, Some(Ending::Deadline)) => {
                let message = "the deadline passed before it started";
                Refused::new(Reason::DEADLINE, Code::DeadlineExceeded, message).into()
            }
            (Stage::Spawned, None) => {
                Refused::new(Reason::DRAINING, Code::Unavailable, "the process is ending").into()
            }
            (_, Some(Ending::Cancelled)) => ran(Code::Cancelled, "cancelled by its caller"),
            (_, Some(Ending::Deadline)) => ran(Code::DeadlineExceeded, "the deadline passed while it ran"),
            (_, None) if std::thread::panicking() => {
                let mut panicked = ran(Code::Internal, "the verb panicked");
                panicked.failure = panicked.failure.passed_on();
                panicked
            }
            (_, None) => ran(Code::Unavailable, "the process is ending"),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.stage != Stage::Ended {
            self.shared.broke_off(self.id, |ending| self.broken_off(ending));
        }
    }
}
