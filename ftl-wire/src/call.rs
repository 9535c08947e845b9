//! One call of this process over a connection, from a free slot to its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ftl_core::{Call, CallError, Code, Failure};
use tokio::time::{Instant, timeout_at};

use crate::frame::Outcome;
use crate::limits::{CALL_TIMEOUT_MAX, DEPTH_MAX};
use crate::shared::{NotOpened, Shared};
use crate::state::{Found, Ticket};

/// Makes one call.
///
/// It borrows the call: a future that owns what it is given carries it twice, and every call is copied that often.
pub(crate) async fn call(shared: &Arc<Shared>, call: &Call) -> Outcome {
    let now = Instant::now();
    let deadline = call.head.deadline.min(now + CALL_TIMEOUT_MAX);
    let opened = match check(shared, call).and_then(|()| millis_left(deadline, now)) {
        Ok(millis) => match shared.open(call, deadline, millis) {
            Ok(ticket) => Ok(ticket),
            Err(NotOpened::Refused(failure)) => Err(failure),
            // In a box: every call would carry the space for what few need.
            Err(full) => Box::pin(wait_and_open(shared, call, deadline, full)).await,
        },
        Err(failure) => Err(failure),
    };
    let outcome = match opened {
        Ok(ticket) => Pending { shared, ticket: Some(ticket) }.await,
        Err(failure) => Err(CallError::Failed(failure)),
    };
    outcome.map_err(|error| match error {
        CallError::Failed(failure) => {
            CallError::Failed(failure.of_call(&call.head.target, &call.head.request))
        }
        CallError::Verb(body) => CallError::Verb(body),
    })
}

/// What no peer would take.
fn check(shared: &Shared, call: &Call) -> Result<(), Failure> {
    let limit = shared.body_bytes_max();
    let refused = if call.head.depth > DEPTH_MAX {
        format!("more than {DEPTH_MAX} calls led to this one: does a verb call itself?")
    } else if call.body.bytes().len() > limit {
        format!("the request has {} bytes, the limit is {limit}", call.body.bytes().len())
    } else {
        return Ok(());
    };
    Err(Failure::new(Code::ResourceExhausted, refused).not_started(false))
}

/// Begun milliseconds count: 0 means that no time is left.
fn millis_left(deadline: Instant, now: Instant) -> Result<u32, Failure> {
    let left = deadline.saturating_duration_since(now);
    if left.is_zero() {
        let message = "the deadline passed before the call was sent";
        return Err(Failure::new(Code::DeadlineExceeded, message).not_started(false));
    }
    Ok(u32::try_from((left + Duration::from_nanos(999_999)).as_millis()).unwrap_or(u32::MAX - 1))
}

async fn wait_and_open(
    shared: &Arc<Shared>,
    call: &Call,
    deadline: Instant,
    full: NotOpened,
) -> Result<Ticket, Failure> {
    let _waiting = Waiting::new(shared);
    let opening = async {
        loop {
            let (slot, room) = (shared.slot_free.notified(), shared.queue_room.notified());
            tokio::pin!(slot, room);
            // Before the look, so that nothing that comes between is missed.
            slot.as_mut().enable();
            room.as_mut().enable();
            match shared.open(call, deadline, millis_left(deadline, Instant::now())?) {
                Ok(ticket) => return Ok(ticket),
                Err(NotOpened::Refused(failure)) => return Err(failure),
                Err(NotOpened::NoSlot) => slot.await,
                Err(NotOpened::NoRoom) => room.await,
            }
        }
    };
    timeout_at(deadline, opening).await.unwrap_or_else(|_| Err(shared.no_place(&full)))
}

/// Counts a caller that waits for a slot.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.with(|state| state.waiting_for_slot += 1);
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.waiting_for_slot -= 1);
    }
}

/// Waits for the end of an open call; dropping it cancels the call.
struct Pending<'a> {
    shared: &'a Arc<Shared>,
    /// `None` once the end was seen.
    ticket: Option<Ticket>,
}

impl Future for Pending<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(ticket) = self.ticket else { return Poll::Pending };
        let found = std::task::ready!(self.shared.with(|state| state.opened.poll(ticket, cx)));
        self.ticket = None;
        Poll::Ready(match found {
            Found::Ended(terminal) => terminal.into(),
            Found::Expired => {
                let message = format!("no answer from {} before the deadline", self.shared.peer);
                Err(CallError::Failed(Failure::new(Code::DeadlineExceeded, message)))
            }
        })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.abandon(ticket);
        }
    }
}
