//! What a connection's task, its handles, the tasks that serve its calls and other connections share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use ftl_core::{Call, Code, Failure};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::connection::{Closed, Peer};
use crate::frame::{Frame, Outcome, Reason, Refused, StreamId, Terms, retarget, write_call, write_failure};
use crate::limits::{BODY_BYTES_MAX, FRAME_BYTES_MAX, OPEN_CALLS_MAX};
use crate::state::{Effects, End, Ending, Leg, Phase, State, Ticket};

/// Room for the metadata beside a body: what separates the largest body from the largest frame.
const BESIDE_BODY: usize = FRAME_BYTES_MAX - BODY_BYTES_MAX;

/// What is known of a connection when its handshake is done.
#[derive(Clone, Debug)]
pub(crate) struct Established {
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// How this process names itself in answers of its own.
    pub(crate) origin: String,
    /// Whether this end accepted the connection.
    pub(crate) acceptor: bool,
    /// What the peer can receive.
    pub(crate) terms: Terms,
}

/// One connection, as everybody but its task sees it.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) peer: Peer,
    /// Largest `len` of a frame that the peer reads.
    pub(crate) frame_bytes_max: usize,
    /// Copies of what routing asks for at every call; it must not have to lock.
    open_calls: AtomicUsize,
    callable: AtomicBool,
    /// When the peer was last heard, in ms since `since`.
    heard: AtomicU64,
    since: Instant,
    pub(crate) slot_free: Notify,
    pub(crate) queue_room: Notify,
    pub(crate) ponged: watch::Sender<u64>,
    pub(crate) closed: watch::Sender<Option<Closed>>,
}

/// Why a call was not opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// All slots are taken.
    NoSlot,
    /// Too much waits to be sent.
    NoRoom,
    /// It never will be.
    Refused(Failure),
}

/// Whether the end of a call was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It was, or there is nobody to tell.
    Done,
    /// Too much waits to be sent.
    NoRoom,
}

impl Shared {
    pub(crate) fn new(established: Established) -> Arc<Self> {
        let Established { peer, origin, acceptor, terms } = established;
        let open_calls_max = (terms.open_calls_max as usize).min(OPEN_CALLS_MAX);
        Arc::new(Self {
            state: Mutex::new(State::new(acceptor, open_calls_max, peer.to_string(), origin)),
            peer,
            frame_bytes_max: (terms.frame_bytes_max as usize).min(FRAME_BYTES_MAX),
            open_calls: AtomicUsize::new(0),
            callable: AtomicBool::new(true),
            heard: AtomicU64::new(0),
            since: Instant::now(),
            slot_free: Notify::new(),
            queue_room: Notify::new(),
            ponged: watch::Sender::new(0),
            closed: watch::Sender::new(None),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock is a defect; the state is still a state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, for the connection's own task.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state);
        self.open_calls.store(state.opened.taken(), Ordering::Relaxed);
        self.callable.store(state.phase == Phase::Open && state.peer_accepted.is_none(), Ordering::Relaxed);
        let slots = state.waiting_for_slot > 0 && !state.opened.is_full();
        drop(state);
        if slots {
            // One at a time: who takes the slot comes by here again, and wakes the next if there are more.
            self.slot_free.notify_one();
        }
        changed
    }

    /// Changes the state, for everybody else: wakes the task.
    pub(crate) fn wake_with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (changed, waker) = self.with(|state| (change(state), state.waker.take()));
        if let Some(waker) = waker {
            Waker::wake(waker);
        }
        changed
    }

    pub(crate) fn open_calls(&self) -> usize {
        self.open_calls.load(Ordering::Relaxed)
    }

    pub(crate) fn is_callable(&self) -> bool {
        self.callable.load(Ordering::Relaxed)
    }

    pub(crate) fn note_heard(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.since).as_millis();
        self.heard.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn silent_for(&self) -> Duration {
        let heard = self.since + Duration::from_millis(self.heard.load(Ordering::Relaxed));
        Instant::now().saturating_duration_since(heard)
    }

    /// Largest body that the peer reads.
    pub(crate) fn body_bytes_max(&self) -> usize {
        self.frame_bytes_max.saturating_sub(BESIDE_BODY)
    }

    /// Queues a call of this process.
    pub(crate) fn open(&self, call: &Call, deadline: Instant, timeout_ms: u32) -> Result<Ticket, NotOpened> {
        self.wake_with(|state| {
            if let Some(refused) = state.refuses_calls() {
                return Err(NotOpened::Refused(refused.failure));
            }
            if !state.out.has_room() {
                return Err(NotOpened::NoRoom);
            }
            let ticket = state.opened.open(deadline).ok_or(NotOpened::NoSlot)?;
            write_call(state.out.queue(), ticket.id, &call.head, timeout_ms, call.body.bytes());
            state.opened.queued(ticket.id, state.out.end());
            state.wake_at(deadline);
            Ok(ticket)
        })
    }

    /// The caller of a call of this process is gone.
    pub(crate) fn abandon(&self, ticket: Ticket) {
        let now = Instant::now();
        self.wake_with(|state| {
            if state.opened.abandon(ticket, now) {
                state.cancel(ticket.id, now);
            }
        });
    }

    /// Queues the end of a call that was served here, if nobody has ended it yet.
    pub(crate) fn answer(&self, id: StreamId, outcome: &Outcome) -> Queued {
        self.wake_with(|state| {
            if !state.out.has_room() && state.phase == Phase::Open {
                return Queued::NoRoom;
            }
            if state.ended_here(id).is_some() {
                state.answer(id, outcome, self.body_bytes_max());
            }
            Queued::Done
        })
    }

    /// A call that was served here ended without an outcome.
    pub(crate) fn broke_off(&self, id: StreamId, end: impl FnOnce(Option<Ending>) -> End) {
        self.wake_with(|state| {
            if let Some(ending) = state.ended_here(id) {
                let End { reason, failure } = end(ending);
                write_failure(state.out.queue(), id, &failure, reason);
            }
        });
    }

    /// The connection `from` has no answer to the call that is `id` here and `there` on `from`.
    pub(crate) fn end_relayed(&self, id: StreamId, from: &Leg, there: StreamId, end: &End) {
        self.wake_with(|state| {
            if state.served.end_there(id, from, Some(there)) {
                match end.reason {
                    Some(reason) => state.reject(id, &Refused { reason, failure: end.failure.clone() }),
                    None => state.fail(id, end.failure.clone()),
                }
            }
        });
    }

    /// The caller on the connection `from` wants its call to end, or is gone.
    pub(crate) fn cancel_relayed(&self, id: StreamId, from: &Leg, gone: bool) {
        let now = Instant::now();
        self.wake_with(|state| {
            if state.opened.cancel_relayed(id, from, gone, now) {
                state.cancel(id, now);
            }
        });
    }

    /// Hands on the end of a call that arrived on `from`, where the call is `there`.
    pub(crate) fn forward_end(
        &self,
        state: &mut State,
        frame: &Frame<'_>,
        id: StreamId,
        from: &Leg,
        there: StreamId,
    ) {
        if !state.served.end_there(id, from, Some(there)) {
            return;
        }
        if frame.header.len as usize > self.frame_bytes_max
            || !(frame.body.is_empty() || state.out.has_room())
        {
            let message =
                "the reply cannot be handed on: the caller reads too slowly, or no such large frames";
            state.fail(id, Failure::new(Code::ResourceExhausted, message).passed_on());
        } else {
            retarget(state.out.queue(), frame, id);
        }
    }

    /// There is no connection any more. Called by its task, as its last act.
    pub(crate) fn die(self: &Arc<Self>, closed: Closed, written: u64) {
        let mut effects = Effects::default();
        let closed = self.with(|state| {
            // What this end said about the end comes first.
            let closed = match &state.phase {
                Phase::Closing(said, _) => said.clone(),
                Phase::Open | Phase::Closed(_) => closed,
            };
            state.die(closed.clone(), written, &mut effects);
            closed
        });
        effects.run(self);
        self.slot_free.notify_waiters();
        self.queue_room.notify_waiters();
        tracing::debug!(peer = %self.peer, reason = ?closed.reason, "connection closed: {closed}");
        self.closed.send_replace(Some(closed));
        self.ponged.send_replace(u64::MAX);
    }

    /// The failure of a call for which there was no place until its deadline.
    pub(crate) fn no_place(&self, why: &NotOpened) -> Failure {
        let peer = &self.peer;
        let message = match why {
            NotOpened::NoSlot => {
                format!("as many calls as {peer} takes at once were open until the deadline")
            }
            NotOpened::NoRoom | NotOpened::Refused(_) => {
                format!("{peer} read too slowly: the call could not be sent before the deadline")
            }
        };
        Failure::new(Code::DeadlineExceeded, message).not_started(false)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("open", &self.is_callable())
            .field("open_calls", &self.open_calls())
            .finish_non_exhaustive()
    }
}

/// No relay hands this on.
pub(crate) fn reserved() -> Refused {
    let message = "the module `ftl` is reserved for control messages and cannot be called";
    Refused::new(Reason::DENIED, Code::PermissionDenied, message)
}
