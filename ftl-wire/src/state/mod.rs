//! The state of one connection, without its I/O: what is queued, what is open, how it ends.
//!
//! Everything here runs under the connection's short lock and only decides. What a decision asks of others (wake a
//! caller, abort a task, speak on another connection) is collected in [`Effects`] and done after the lock is released,
//! so that no two connections are ever locked at once.

mod drain;
mod effects;
mod opened;
mod outgoing;
mod served;

use std::sync::Arc;
use std::task::Waker;

use ftl_core::{CallError, Code, Failure};
use tokio::time::Instant;

pub(crate) use drain::Drain;
pub(crate) use effects::{Effects, End};
pub(crate) use opened::{Ended, Found, Opened, Orphan, Ticket};
pub(crate) use outgoing::Outgoing;
pub(crate) use served::{Cancelled, Ending, Served, Worker};

use crate::connection::{CloseReason, Closed};
use crate::frame::{
    Goaway, Kind, Outcome, Reason, Refused, StreamId, Violation, Writer, flags, write_echo, write_failure,
};
use crate::limits::LINGER;
use crate::shared::Shared;

/// Another connection of this process.
pub(crate) type Leg = Arc<Shared>;

pub(crate) fn sooner(left: Option<Instant>, right: Option<Instant>) -> Option<Instant> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}

/// How far a connection has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Calls go both ways.
    Open,
    /// The last frame is queued; the connection ends when it has left, or then.
    Closing(Closed, Instant),
    /// There is no connection any more.
    Closed(Closed),
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) out: Outgoing,
    pub(crate) opened: Opened,
    pub(crate) served: Served,
    pub(crate) drain: Drain,
    /// What the peer's GOAWAY said it has read; `None` while there was none.
    pub(crate) peer_accepted: Option<u64>,
    /// The newest PING to send and the newest PONG: older ones need no answer.
    pings: Echoes,
    /// Callers that wait for a slot.
    pub(crate) waiting_for_slot: usize,
    /// Wakes the connection's task.
    pub(crate) waker: Option<Waker>,
    /// When [`State::tick`] is needed next.
    wake_at: Option<Instant>,
    /// How this process names the peer.
    peer_name: String,
    /// How this process names itself in answers of its own.
    origin: String,
}

#[derive(Debug, Default)]
struct Echoes {
    last: u64,
    ping: Option<u64>,
    pong: Option<u64>,
}

/// The peer does not end the calls that were cancelled.
#[derive(Debug)]
pub(crate) struct Stuck;

impl State {
    pub(crate) fn new(by_acceptor: bool, open_calls_max: usize, peer_name: String, origin: String) -> Self {
        Self {
            phase: Phase::Open,
            out: Outgoing::default(),
            opened: Opened::new(by_acceptor, open_calls_max),
            served: Served::new(!by_acceptor),
            drain: Drain::No,
            peer_accepted: None,
            pings: Echoes::default(),
            waiting_for_slot: 0,
            waker: None,
            wake_at: None,
            peer_name,
            origin,
        }
    }

    /// Asks for a [`State::tick`] at that time.
    pub(crate) fn wake_at(&mut self, at: Instant) {
        self.wake_at = sooner(self.wake_at, Some(at));
    }

    /// When [`State::tick`] is needed next.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Why no call can be opened now, if none can.
    pub(crate) fn refuses_calls(&self) -> Option<Refused> {
        let name = &self.peer_name;
        match (&self.phase, self.peer_accepted) {
            (Phase::Open, None) => None,
            (Phase::Open, Some(_)) => {
                Some(Refused::new(Reason::DRAINING, Code::Unavailable, format!("{name} is draining")))
            }
            (Phase::Closing(closed, _) | Phase::Closed(closed), _) => {
                let message = format!("the connection to {name} is closed: {closed}");
                Some(Refused::new(Reason::LEG_LOST, Code::Unavailable, message))
            }
        }
    }

    /// Why no PING can be sent now, if none can. A peer that drains still answers.
    pub(crate) fn refuses_pings(&self) -> Option<Refused> {
        if self.phase == Phase::Open { None } else { self.refuses_calls() }
    }

    /// Why calls that arrive are refused, if they are.
    pub(crate) fn refuses_peer(&self) -> Option<Refused> {
        let message = || format!("{} is draining", self.origin);
        self.drain.refuses().then(|| Refused::new(Reason::DRAINING, Code::Unavailable, message()))
    }

    /// Queues the end of a call that was refused here.
    pub(crate) fn reject(&mut self, id: StreamId, refused: &Refused) {
        let failure = refused.failure.clone().from_origin(self.origin.as_str());
        write_failure(self.out.queue(), id, &failure, Some(refused.reason));
    }

    /// Queues the end of a call that failed here.
    pub(crate) fn fail(&mut self, id: StreamId, failure: Failure) {
        write_failure(self.out.queue(), id, &failure.from_origin(self.origin.as_str()), None);
    }

    /// Queues the end of a call that was served here.
    pub(crate) fn answer(&mut self, id: StreamId, outcome: &Outcome, body_bytes_max: usize) {
        let (kind, body) = match outcome {
            Ok(reply) => (Kind::Reply, reply.body.bytes()),
            Err(CallError::Verb(error)) => (Kind::Fail, error.bytes()),
            Err(CallError::Failed(failure)) => return write_failure(self.out.queue(), id, failure, None),
        };
        if body.len() > body_bytes_max {
            let message = format!("the reply has {} bytes, the limit is {body_bytes_max}", body.len());
            return self.fail(id, Failure::new(Code::ResourceExhausted, message).passed_on());
        }
        Writer::begin(self.out.queue(), id, kind, flags::END).body(body);
    }

    /// Queues CANCEL.
    pub(crate) fn cancel(&mut self, id: StreamId, now: Instant) {
        Writer::begin(self.out.queue(), id, Kind::Cancel, 0).bytes(&[0, 0, 0, 0]).finish();
        self.wake_at(now + crate::limits::CLOSING_MAX);
    }

    /// Asks for a PONG; answers the number that it will have.
    pub(crate) fn ping(&mut self) -> u64 {
        self.pings.last += 1;
        self.pings.ping = Some(self.pings.last);
        self.pings.last
    }

    /// The peer asks for a PONG.
    pub(crate) fn pong(&mut self, echo: u64) {
        self.pings.pong = Some(echo);
    }

    /// Hands everything that is queued to the task, and takes what it has written.
    pub(crate) fn take_out(&mut self, written: u64, buffer: &mut Vec<u8>) {
        if let Some(echo) = self.pings.pong.take() {
            write_echo(self.out.queue(), Kind::Pong, echo);
        }
        if let Some(echo) = self.pings.ping.take() {
            write_echo(self.out.queue(), Kind::Ping, echo);
        }
        self.out.take(written, buffer);
    }

    /// Begins to end the connection: queues the last frame. Answers whether it was open.
    pub(crate) fn close(&mut self, closed: Closed, now: Instant) -> bool {
        let open = self.phase == Phase::Open;
        if open {
            closed.reason.code().write(self.out.queue(), &closed.message);
            self.phase = Phase::Closing(closed, now + LINGER);
            self.wake_at(now + LINGER);
        }
        open
    }

    /// Takes GOAWAY: calls that the peer will not read are over.
    pub(crate) fn goaway(&mut self, goaway: Goaway, effects: &mut Effects) -> Result<(), Violation> {
        if self.peer_accepted.is_some_and(|known| goaway.accepted > known) {
            return Err(Violation::Malformed("GOAWAY that takes calls back in"));
        }
        self.peer_accepted = Some(goaway.accepted);
        let failure = Refused::new(
            Reason::DRAINING,
            Code::Unavailable,
            format!("{} drained before it read the call", self.peer_name),
        );
        self.opened
            .end_where(|orphan| (orphan.number > goaway.accepted).then(|| failure.clone().into()), effects);
        Ok(())
    }

    /// What time does: deadlines pass, drains end, peers turn out to be stuck.
    pub(crate) fn tick(&mut self, now: Instant, effects: &mut Effects) -> Result<(), Stuck> {
        if self.wake_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        let (expired, next_opened) = self.opened.expire(now);
        for (id, waker) in expired {
            self.cancel(id, now);
            effects.wakers.extend(waker);
        }
        let (aborts, next_served) = self.served.expire(now);
        effects.aborts.extend(aborts);
        self.advance_drain(now, effects);
        let (stuck, next_stuck) = self.opened.is_stuck(now);
        let next_phase = match &self.phase {
            Phase::Closing(_, by) => Some(*by),
            Phase::Open | Phase::Closed(_) => None,
        };
        self.wake_at = [next_opened, next_served, next_stuck, next_phase, self.drain.next()]
            .into_iter()
            .fold(None, sooner);
        if stuck { Err(Stuck) } else { Ok(()) }
    }

    /// There is no connection any more: every open call ends as far as is known of it.
    ///
    /// `written`: bytes that the kernel has accepted. What is not wholly accepted was never read by anybody.
    pub(crate) fn die(&mut self, closed: Closed, written: u64, effects: &mut Effects) {
        self.out.note_written(written);
        let name = self.peer_name.clone();
        self.opened.end_where(|orphan| Some(fate_of(orphan, written, &name, &closed)), effects);
        for (_, how) in self.served.end_all() {
            effects.cancelled(how, true);
        }
        effects.wakers.extend(self.waker.take());
        self.phase = Phase::Closed(closed);
        self.out = Outgoing::default();
    }

    /// Closes a call that is served here, if it is still open; answers why it was ended from outside, if it was.
    pub(crate) fn ended_here(&mut self, id: StreamId) -> Option<Option<Ending>> {
        self.served.end_here(id).ok()
    }
}

/// How a call ends whose connection died.
///
/// Calls that the peer will not read are not among them: its GOAWAY has ended those already.
fn fate_of(orphan: &Orphan, written: u64, peer: &str, closed: &Closed) -> End {
    if orphan.end > written {
        let message = format!("the connection to {peer} ended before the call was sent: {closed}");
        Refused::new(Reason::LEG_LOST, Code::Unavailable, message).into()
    } else {
        let message = format!("the connection to {peer} ended while the call was under way: {closed}");
        End { reason: None, failure: Failure::new(Code::Unavailable, message) }
    }
}

impl From<Violation> for Closed {
    fn from(violation: Violation) -> Self {
        let reason = match violation {
            Violation::FrameTooLarge(_) => CloseReason::FrameTooLarge,
            Violation::Malformed(_) => CloseReason::Protocol,
        };
        Self { reason, message: violation.to_string() }
    }
}
