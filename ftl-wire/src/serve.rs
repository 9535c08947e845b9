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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Peer;
    use crate::dispatch::{Dispatch, HeadRef, Route};
    use crate::engine::Engine;
    use crate::frame::{Kind, Terms, Writer, decode, read_outcome, write_call};
    use crate::shared::Established;
    use async_trait::async_trait;
    use ftl_core::{Body, CallError, Fate, Head, Reply};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::Instant;

    /// Answers at once, or breaks, as the body says. Counts.
    #[derive(Debug, Default)]
    struct AtOnce(AtomicUsize);

    #[async_trait]
    impl VerbService for AtOnce {
        async fn ping(&self, _: Instant) -> Result<(), Failure> {
            Ok(())
        }

        async fn call(&self, call: Call) -> Result<Reply, CallError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert!(call.body.bytes() != "break", "on purpose");
            Ok(Reply::new(call.body))
        }
    }

    #[derive(Debug)]
    struct To(Arc<AtOnce>);

    impl Dispatch for To {
        fn dispatch(&self, _: &HeadRef<'_>) -> Route {
            Route::Serve(self.0.clone())
        }
    }

    fn call(out: &mut Vec<u8>, slot: usize, body: &'static str) -> StreamId {
        let id = StreamId::new(false, 1, slot);
        let head = Head::new("a.b".parse().unwrap(), "r".parse().unwrap(), Instant::now());
        write_call(out, id, &head, 5000, Body::once(body).bytes());
        id
    }

    /// What is answered to these bytes. There is no runtime here, so nothing can be given a task.
    fn answered(bytes: &[u8]) -> (Vec<(StreamId, Option<Kind>, Outcome)>, usize) {
        let (peer, terms) = (Peer::Controller, Terms::default());
        let shared = Shared::new(Established { peer, origin: "test".to_owned(), acceptor: true, terms });
        let service = Arc::new(AtOnce::default());
        let mut engine = Engine::new(shared.clone(), Arc::new(To(service.clone())));
        assert_eq!(engine.receive(bytes, Instant::now()).unwrap().bytes, bytes.len());
        let mut out = Vec::new();
        shared.with(|state| state.take_out(0, &mut out));
        let (mut left, mut answers) = (&out[..], Vec::new());
        while let Some(frame) = decode(left).unwrap() {
            answers.push((frame.header.id, frame.kind(), read_outcome(&frame).unwrap()));
            left = &left[frame.header.frame_len()..];
        }
        (answers, service.0.load(Ordering::Relaxed))
    }

    #[test]
    fn a_call_that_ends_at_once_needs_no_task() {
        let mut bytes = Vec::new();
        let id = call(&mut bytes, 3, "{}");
        let (answers, _) = answered(&bytes);
        assert_eq!(answers, [(id, Some(Kind::Reply), Ok(Reply::new(Body::once("{}"))))]);
    }

    #[test]
    fn a_panic_ends_its_own_call_and_nothing_else() {
        let mut bytes = Vec::new();
        call(&mut bytes, 0, "break");
        let id = call(&mut bytes, 1, "{}");
        let (answers, ran) = answered(&bytes);
        let (_, kind, Err(CallError::Failed(failure))) = &answers[0] else { panic!("{answers:?}") };
        assert_eq!((*kind, failure.code, failure.fate), (Some(Kind::Error), Code::Internal, Fate::Ran));
        assert_eq!(answers[1], (id, Some(Kind::Reply), Ok(Reply::new(Body::once("{}")))));
        assert_eq!((answers.len(), ran), (2, 2));
    }

    #[test]
    fn a_call_that_is_cancelled_as_it_arrives_does_not_start() {
        let mut bytes = Vec::new();
        let id = call(&mut bytes, 0, "{}");
        Writer::begin(&mut bytes, id, Kind::Cancel, 0).bytes(&[0; 4]).finish();
        let (answers, ran) = answered(&bytes);
        let [(_, Some(Kind::Reject), Err(CallError::Failed(failure)))] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(failure.code, Code::Cancelled);
        assert_eq!((failure.fate, ran), (Fate::NotStarted { elsewhere: false }, 0));
    }
}
