//! What arrives on a connection: read in place, decided under one lock, handed on in batches.
//!
//! A batch is the whole frames of one read, at most [`BATCH_FRAMES_MAX`]. It goes through four steps:
//!
//! 1. **read**, without a lock: frames are cut, the heads of calls are read, and [`Dispatch`] says where each goes;
//! 2. **apply**, under the connection's own lock: slots are taken and freed, refusals queued, callers answered;
//! 3. **hand on**, with nothing locked: calls that are served here begin; what goes to another connection is copied there from the
//!    receive buffer, under that connection's lock, all of it at once;
//! 4. **settle**, under the connection's own lock again: which task, which id on the other connection.

use std::sync::Arc;

use bytes::Bytes;
use ftl_core::{Body, Call, Code, Failure, VerbService};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::connection::{Closed, Peer};
use crate::dispatch::{Dispatch, HeadRef, Route, Stamp};
use crate::frame::{
    CallHead, CloseCode, Frame, Goaway, Header, Kind, Names, Reason, Refused, STAMP_BYTES_MAX, StreamId,
    Violation, decode, flags, forward_call, owned_head, read_echo, write_unsupported,
};
use crate::limits::{BODY_BYTES_MAX, CALL_TIMEOUT_MAX, DEPTH_MAX, META_BYTES_MAX};
use crate::shared::{Shared, reserved};
use crate::state::{Cancelled, Effects, Ended, Leg, Phase, State, Worker};

/// Frames of one batch. What they lead to is on its way while the next batch is taken: were a whole read one batch, all
/// processes along a route would wait for each other in turn. Smaller batches cost more system calls than they gain.
const BATCH_FRAMES_MAX: usize = 32;

/// What was taken of the bytes that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// So many of them.
    pub(crate) bytes: usize,
    /// Whole frames may be left.
    pub(crate) rest: bool,
    /// Calls were served: the thread's other tasks have waited for that.
    pub(crate) served: bool,
}

/// What a peer's bytes lead to.
#[derive(Debug)]
pub(crate) enum Stop {
    /// They break the protocol.
    Violation(Violation),
    /// They end the connection.
    Closed(Closed),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// Takes what arrives on one connection. The vectors are kept for their capacity.
#[derive(Debug)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
    dispatch: Arc<dyn Dispatch>,
    names: Names,
    /// The frames of the current batch.
    arrived: Vec<Arrived>,
    /// Calls that this process is to serve.
    starting: Vec<Starting>,
    /// What is to be handed on, by connection.
    legs: Vec<(Leg, Vec<Hop>)>,
    spare_hops: Vec<Vec<Hop>>,
    settling: Settling,
    effects: Effects,
}

/// A frame of the current batch.
#[derive(Debug)]
struct Arrived {
    /// Where it begins in the receive buffer.
    at: usize,
    header: Header,
    verdict: Verdict,
}

/// Where a frame goes, as far as that can be said without the connection's state.
#[derive(Debug)]
enum Verdict {
    /// It is no call.
    NoCall,
    /// To this process: that one of those that are to start.
    Serve(usize),
    /// On, with so many ms left.
    Relay(Leg, Stamp, u32),
    Refuse(Box<Refused>),
}

/// A call that this process is to serve.
#[derive(Debug)]
struct Starting {
    id: StreamId,
    service: Arc<dyn VerbService>,
    call: Call,
    accepted: bool,
}

/// A frame to be handed on.
#[derive(Debug)]
struct Hop {
    at: usize,
    header: Header,
    what: Handed,
}

#[derive(Debug)]
enum Handed {
    /// A call, with so many ms left when it was read.
    Call(Stamp, u32),
    /// The end of the call that has this id on the other connection.
    End(StreamId),
}

/// What became of the calls that were handed on.
#[derive(Debug, Default)]
struct Settling {
    tasks: Vec<(StreamId, AbortHandle)>,
    relayed: Vec<(StreamId, StreamId)>,
    refused: Vec<(StreamId, Leg, Refused)>,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, dispatch: Arc<dyn Dispatch>) -> Self {
        Self {
            shared,
            dispatch,
            names: Names::default(),
            arrived: Vec::new(),
            starting: Vec::new(),
            legs: Vec::new(),
            spare_hops: Vec::new(),
            settling: Settling::default(),
            effects: Effects::default(),
        }
    }

    /// Takes the whole frames at the beginning of these bytes, as many as one batch may have.
    ///
    /// What stands before a violation is honoured.
    pub(crate) fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<Taken, Stop> {
        let (taken, read) = self.read(bytes, now);
        let rest = self.arrived.len() == BATCH_FRAMES_MAX;
        let mut arrived = std::mem::take(&mut self.arrived);
        let shared = self.shared.clone();
        let applied = shared.with(|state| {
            // The task is awake, and looks what is queued when this is done.
            state.waker = None;
            match state.phase {
                Phase::Open => arrived.drain(..).try_for_each(|arrived| self.apply(state, bytes, arrived)),
                // After the last frame nothing counts.
                Phase::Closing(..) | Phase::Closed(_) => Ok(()),
            }
        });
        arrived.clear();
        self.arrived = arrived;
        let served = !self.starting.is_empty();
        self.hand_on(bytes, now);
        self.effects.run(&shared);
        applied?;
        read?;
        Ok(Taken { bytes: taken, rest, served })
    }

    fn read(&mut self, bytes: &[u8], now: Instant) -> (usize, Result<(), Violation>) {
        let mut at = 0;
        while self.arrived.len() < BATCH_FRAMES_MAX {
            let frame = match decode(&bytes[at..]) {
                Ok(Some(frame)) => frame,
                Ok(None) => return (at, Ok(())),
                Err(violation) => return (at, Err(violation)),
            };
            let verdict = match self.judge(&frame, now) {
                Ok(verdict) => verdict,
                Err(violation) => return (at, Err(violation)),
            };
            self.arrived.push(Arrived { at, header: frame.header, verdict });
            at += frame.header.frame_len();
        }
        (at, Ok(()))
    }

    fn judge(&mut self, frame: &Frame<'_>, now: Instant) -> Result<Verdict, Violation> {
        if frame.kind() != Some(Kind::Call) {
            return Ok(Verdict::NoCall);
        }
        let head = CallHead::read(frame.meta)?;
        let verdict = match refuse(&head, frame) {
            Some(refused) => Err(refused),
            None => self.route(&head, frame, now),
        };
        Ok(verdict.unwrap_or_else(|refused| Verdict::Refuse(Box::new(refused))))
    }

    fn route(&mut self, head: &CallHead<'_>, frame: &Frame<'_>, now: Instant) -> Result<Verdict, Refused> {
        match self.dispatch.dispatch(&HeadRef::new(head)) {
            Route::Serve(service) => {
                let call = Call::new(owned_head(head, &mut self.names, now)?, body_of(frame));
                self.starting.push(Starting { id: frame.header.id, service, call, accepted: false });
                Ok(Verdict::Serve(self.starting.len() - 1))
            }
            Route::Relay { .. } if head.is_control() => Err(reserved()),
            Route::Relay { .. } if head.ttl == 0 => {
                let message = "the call was handed on too often: do two relays route it to each other?";
                Err(Refused::new(Reason::TTL, Code::Internal, message))
            }
            Route::Relay { to, stamp } => {
                let longest = u32::try_from(CALL_TIMEOUT_MAX.as_millis()).unwrap_or(u32::MAX);
                Ok(Verdict::Relay(to.into_shared(), stamp, head.timeout_ms.min(longest)))
            }
            Route::Refuse(failure) => Err(Refused::of(failure)),
        }
    }

    fn apply(&mut self, state: &mut State, bytes: &[u8], arrived: Arrived) -> Result<(), Stop> {
        let frame = Frame::at(arrived.header, &bytes[arrived.at..]);
        let id = frame.header.id;
        match frame.kind() {
            Some(Kind::Call) => self.apply_call(state, arrived)?,
            Some(Kind::Reply | Kind::Fail | Kind::Error | Kind::Reject) => {
                self.apply_end(state, &frame, arrived.at)?;
            }
            Some(Kind::Cancel) => self.apply_cancel(state, id)?,
            Some(Kind::Ping) => state.pong(read_echo(&frame)?),
            Some(Kind::Pong) => {
                let echo = read_echo(&frame)?;
                state.ponged(echo);
                self.shared
                    .ponged
                    .send_if_modified(|known| std::mem::replace(known, echo.max(*known)) < echo);
            }
            Some(Kind::Goaway) => {
                state.goaway(Goaway::read(frame.meta)?, &mut self.effects)?;
                // Who waits for a slot waits in vain.
                self.shared.slot_free.notify_waiters();
            }
            Some(Kind::Close) => return Err(Stop::Closed(closed_by_peer(&self.shared.peer, frame.meta)?)),
            Some(Kind::Unsupported) => {
                tracing::debug!(peer = %self.shared.peer, "a frame was not understood")
            }
            Some(Kind::Data | Kind::Credit) => check_stream(state, id)?,
            Some(Kind::Hello | Kind::Challenge | Kind::Proof | Kind::Welcome) => {
                return Err(Violation::Malformed("a frame of the handshake on an open connection").into());
            }
            None => self.apply_unknown(state, &frame),
        }
        Ok(())
    }

    fn apply_call(&mut self, state: &mut State, arrived: Arrived) -> Result<(), Violation> {
        let Arrived { at, header, verdict } = arrived;
        let id = header.id;
        // The last GOAWAY has said that it never started.
        if state.drain.is_finished() {
            return Ok(());
        }
        state.served.begin(id)?;
        if let Some(refused) = state.refuses_peer() {
            state.reject(id, &refused);
            return Ok(());
        }
        match verdict {
            Verdict::Serve(index) => {
                let starting = &mut self.starting[index];
                starting.accepted = true;
                let deadline = starting.call.head.deadline;
                state.served.work(id, Worker::Here(deadline));
                state.wake_at(deadline);
            }
            Verdict::Relay(to, stamp, timeout_ms) => {
                self.hop(&to, Hop { at, header, what: Handed::Call(stamp, timeout_ms) });
                state.served.work(id, Worker::There(to));
            }
            Verdict::Refuse(refused) => state.reject(id, &refused),
            Verdict::NoCall => {}
        }
        Ok(())
    }

    fn apply_cancel(&mut self, state: &mut State, id: StreamId) -> Result<(), Violation> {
        let cancelled = state.served.cancel(id)?;
        match self.starting.iter_mut().find(|starting| starting.id == id && starting.accepted) {
            // It came with its call, which has not started.
            Some(starting) => {
                starting.accepted = false;
                let message = "cancelled before it started";
                if state.served.end(id).is_some() {
                    state.reject(id, &Refused::new(Reason::CANCELLED, Code::Cancelled, message));
                }
            }
            None => self.effects.cancelled(cancelled, false),
        }
        Ok(())
    }

    fn apply_end(&mut self, state: &mut State, frame: &Frame<'_>, at: usize) -> Result<(), Violation> {
        let header = frame.header;
        if !frame.has(flags::END) || frame.has(flags::STREAM) {
            return Err(Violation::Malformed("a streamed reply, which was not agreed on"));
        }
        match state.opened.end(header.id, frame)? {
            Ended::Here(waker) => self.effects.wakers.extend(waker),
            Ended::There(leg, there) => self.hop(&leg, Hop { at, header, what: Handed::End(there) }),
            Ended::Nowhere => {}
        }
        Ok(())
    }

    fn apply_unknown(&mut self, state: &mut State, frame: &Frame<'_>) {
        if !frame.has(flags::MUST) {
            return;
        }
        let (kind, id) = (frame.header.kind, frame.header.id);
        write_unsupported(state.out.queue(), kind, id);
        if let Some(how) = state.served.end(id) {
            self.effects.cancelled(how, true);
            let message = format!("this version does not understand frames of kind {kind:#04x}");
            state.fail(id, Failure::new(Code::Unimplemented, message));
        }
    }

    fn hop(&mut self, to: &Leg, hop: Hop) {
        match self.legs.iter_mut().find(|(leg, _)| Arc::ptr_eq(leg, to)) {
            Some((_, hops)) => hops.push(hop),
            None => {
                let mut hops = self.spare_hops.pop().unwrap_or_default();
                hops.push(hop);
                self.legs.push((to.clone(), hops));
            }
        }
    }

    fn hand_on(&mut self, bytes: &[u8], now: Instant) {
        let settling = &mut self.settling;
        for Starting { id, service, call, accepted } in self.starting.drain(..) {
            if accepted {
                let task = crate::serve::start(self.shared.clone(), id, service, call);
                settling.tasks.extend(task.map(|task| (id, task)));
            }
        }
        for (leg, mut hops) in self.legs.drain(..) {
            hand_on_to(&leg, &self.shared, &mut hops, bytes, now, settling);
            self.spare_hops.push(hops);
        }
        if !settling.is_empty() {
            let effects = &mut self.effects;
            self.shared.with(|state| settling.settle(state, effects));
        }
    }
}

/// Hands on what goes to one connection, all of it under one lock.
fn hand_on_to(
    leg: &Leg,
    from: &Leg,
    hops: &mut Vec<Hop>,
    bytes: &[u8],
    read_at: Instant,
    settling: &mut Settling,
) {
    let resided = Instant::now().saturating_duration_since(read_at).as_millis();
    let resided = u32::try_from(resided).unwrap_or(u32::MAX);
    let from_user_code = matches!(from.peer, Peer::Deployment { .. });
    leg.wake_with(|state| {
        for Hop { at, header, what } in hops.drain(..) {
            let frame = Frame::at(header, &bytes[at..]);
            match what {
                Handed::End(there) => leg.forward_end(state, &frame, there, from, header.id),
                Handed::Call(stamp, timeout_ms) => {
                    let left = timeout_ms.saturating_sub(resided);
                    match open_relayed(state, leg, from, &frame, left) {
                        Ok(there) => {
                            forward_call(state.out.queue(), &frame, there, left, &stamp, from_user_code);
                            state.opened.queued(there, state.out.end());
                            settling.relayed.push((header.id, there));
                        }
                        Err(refused) => settling.refused.push((header.id, leg.clone(), refused)),
                    }
                }
            }
        }
    });
}

impl Settling {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.relayed.is_empty() && self.refused.is_empty()
    }

    fn settle(&mut self, state: &mut State, effects: &mut Effects) {
        for (id, task) in self.tasks.drain(..) {
            effects.aborts.extend(state.served.started(id, task));
        }
        for (id, there) in self.relayed.drain(..) {
            if let Some(leg) = state.served.relayed(id, there) {
                effects.cancelled(Cancelled::Forward(leg, there), false);
            }
        }
        for (id, leg, refused) in self.refused.drain(..) {
            if state.served.end_there(id, &leg, None) {
                state.reject(id, &refused);
            }
        }
    }
}

/// Why nobody takes this call, wherever it goes.
fn refuse(head: &CallHead<'_>, frame: &Frame<'_>) -> Option<Refused> {
    let refused = |reason, code, message: String| Some(Refused::new(reason, code, message));
    if !frame.has(flags::END) || frame.has(flags::STREAM) {
        refused(
            Reason::UNSUPPORTED,
            Code::Unimplemented,
            "streamed requests are not supported yet".to_owned(),
        )
    } else if head.timeout_ms == 0 {
        let message = "the deadline passed before the call was handed on".to_owned();
        refused(Reason::DEADLINE, Code::DeadlineExceeded, message)
    } else if head.depth > DEPTH_MAX {
        let message = format!("more than {DEPTH_MAX} calls led to this one: does a verb call itself?");
        refused(Reason::DEPTH, Code::ResourceExhausted, message)
    } else if frame.body.len() > BODY_BYTES_MAX {
        let message = format!("the request has {} bytes, the limit is {BODY_BYTES_MAX}", frame.body.len());
        refused(Reason::TOO_LARGE, Code::ResourceExhausted, message)
    } else {
        None
    }
}

/// A body of its own: a slice would keep the whole receive buffer alive.
fn body_of(frame: &Frame<'_>) -> Body {
    Body::once(Bytes::copy_from_slice(frame.body))
}

/// Credit and data belong to streams, which are not agreed on; they may still cross the end of a call.
fn check_stream(state: &mut State, id: StreamId) -> Result<(), Violation> {
    if id == StreamId::CONNECTION || state.served.knows(id) {
        return Ok(());
    }
    Err(Violation::Malformed("a frame of a stream, which was not agreed on"))
}

fn closed_by_peer(peer: &Peer, meta: &[u8]) -> Result<Closed, Violation> {
    let (code, message) = CloseCode::read(meta)?;
    Ok(Closed { reason: code.into(), message: format!("{peer} closed it: {message}") })
}

/// Takes a slot on another connection for a call that arrived here.
fn open_relayed(
    state: &mut State,
    leg: &Leg,
    from: &Leg,
    frame: &Frame<'_>,
    timeout_ms: u32,
) -> Result<StreamId, Refused> {
    let busy =
        |what| Refused::new(Reason::OVERLOADED, Code::ResourceExhausted, format!("{} {what}", leg.peer));
    if let Some(refused) = state.refuses_calls() {
        Err(refused)
    } else if timeout_ms == 0 {
        let message = "the deadline passed before the call was handed on";
        Err(Refused::new(Reason::DEADLINE, Code::DeadlineExceeded, message))
    } else if frame.header.len as usize + STAMP_BYTES_MAX > leg.frame_bytes_max
        || frame.meta.len() + STAMP_BYTES_MAX > META_BYTES_MAX
    {
        let message = format!("the call is larger than {} reads", leg.peer);
        Err(Refused::new(Reason::TOO_LARGE, Code::ResourceExhausted, message))
    } else if !state.out.has_room() {
        Err(busy("reads too slowly"))
    } else {
        state
            .opened
            .open_relayed(from, frame.header.id)
            .ok_or_else(|| busy("has as many calls open as it takes at once"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{CloseReason, Connection};
    use crate::frame::{Terminal, Terms, Writer};
    use crate::shared::Established;
    use crate::state::{Drain, Found, Ticket};
    use ftl_core::{Fate, Head};
    use proptest::prelude::*;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    fn shared(peer: Peer, acceptor: bool) -> Arc<Shared> {
        let terms = Terms::default();
        Shared::new(Established { peer, origin: "test".to_owned(), acceptor, terms })
    }

    #[derive(Debug)]
    struct To(Option<Arc<Shared>>);

    impl Dispatch for To {
        fn dispatch(&self, _: &HeadRef<'_>) -> Route {
            match &self.0 {
                Some(to) => Route::Relay { to: Connection::new(to.clone()), stamp: Stamp::default() },
                None => Route::Refuse(Failure::new(Code::Unimplemented, "nobody").not_started(false)),
            }
        }
    }

    const GRACE: Duration = Duration::from_secs(60);

    /// One end of a connection without I/O.
    struct End {
        shared: Arc<Shared>,
        engine: Engine,
        /// Bytes that left and have not arrived.
        under_way: Vec<u8>,
        sent: u64,
    }

    impl End {
        fn new(peer: Peer, acceptor: bool, to: Option<Arc<Shared>>) -> Self {
            let shared = shared(peer, acceptor);
            let engine = Engine::new(shared.clone(), Arc::new(To(to)));
            Self { shared, engine, under_way: Vec::new(), sent: 0 }
        }

        /// What the task does after every turn: goes on with the drain, and writes.
        fn flush(&mut self) {
            let (mut buffer, mut effects) = (Vec::new(), Effects::default());
            self.shared.with(|state| {
                state.advance_drain(Instant::now(), &mut effects);
                state.take_out(self.sent, &mut buffer);
            });
            effects.run(&self.shared);
            self.sent += buffer.len() as u64;
            self.under_way.extend_from_slice(&buffer);
        }

        /// Lets the first frame arrive at the other end; answers whether there was one.
        fn arrive(&mut self, at: &mut End) -> bool {
            self.flush();
            let Some(frame) = decode(&self.under_way).unwrap() else { return false };
            let len = frame.header.frame_len();
            let bytes: Vec<u8> = self.under_way.drain(..len).collect();
            assert_eq!(at.engine.receive(&bytes, Instant::now()).unwrap().bytes, len);
            true
        }
    }

    /// A caller, and a relay that will drain, in front of a callee that this test plays.
    struct World {
        caller: End,
        relay: End,
        callee: End,
        calls: Vec<Ticket>,
        refused: usize,
        /// Calls that reached the callee.
        ran: Vec<StreamId>,
        answered: usize,
    }

    impl World {
        fn new() -> Self {
            let callee = End::new(Peer::ParentRunner, true, None);
            let relay = End::new(Peer::Controller, true, Some(callee.shared.clone()));
            let caller = End::new(Peer::Controller, false, None);
            Self { caller, relay, callee, calls: Vec::new(), refused: 0, ran: Vec::new(), answered: 0 }
        }

        fn step(&mut self, step: u8) {
            match step {
                0 => self.open(),
                1 => drop(self.caller.arrive(&mut self.relay)),
                2 => drop(self.relay.arrive(&mut self.caller)),
                3 => self.answer(),
                4 => {
                    let now = Instant::now();
                    self.relay.shared.with(|state| state.begin_drain(now + GRACE, now));
                }
                _ => self.end_of_grace(),
            }
        }

        /// The time of the drain is over, if it has begun.
        fn end_of_grace(&mut self) {
            let mut effects = Effects::default();
            self.relay.shared.with(|state| state.advance_drain(Instant::now() + GRACE, &mut effects));
            effects.run(&self.relay.shared);
        }

        fn open(&mut self) {
            let deadline = Instant::now() + Duration::from_secs(60);
            let head = Head::new("a.b".parse().unwrap(), "r".parse().unwrap(), deadline);
            match self.caller.shared.open(&Call::new(head, Body::once("{}")), deadline, 60_000) {
                Ok(ticket) => self.calls.push(ticket),
                Err(_) => self.refused += 1,
            }
        }

        /// The callee reads what has reached it, and answers its oldest call.
        fn answer(&mut self) {
            self.callee.flush();
            while let Some(frame) = decode(&self.callee.under_way).unwrap() {
                let (id, len) = (frame.header.id, frame.header.frame_len());
                if frame.kind() == Some(Kind::Call) {
                    self.ran.push(id);
                }
                self.callee.under_way.drain(..len);
            }
            if let Some(&id) = self.ran.get(self.answered) {
                self.answered += 1;
                let mut bytes = Vec::new();
                Writer::begin(&mut bytes, id, Kind::Reply, flags::END).body(b"{}");
                self.callee.engine.receive(&bytes, Instant::now()).unwrap();
            }
        }

        /// Lets everything happen that is still to happen; the relay hangs up when its drain is finished.
        fn finish(&mut self) {
            self.step(4);
            for _ in 0..1000 {
                let moved = self.caller.arrive(&mut self.relay) | self.relay.arrive(&mut self.caller);
                self.answer();
                let drained = self.relay.shared.with(|state| matches!(state.drain, Drain::Finished { .. }));
                if drained && !moved && self.answered == self.ran.len() {
                    break;
                }
            }
            let closed = Closed { reason: CloseReason::Normal, message: "drained".to_owned() };
            self.caller.shared.die(closed, self.caller.sent);
        }

        /// Every call got its reply, or certainly never started and may be tried elsewhere. Only the end of the grace
        /// may leave it open what became of one.
        fn check(&mut self, grace_ended: bool) {
            let mut ran = 0;
            for ticket in &self.calls {
                let look = &mut Context::from_waker(Waker::noop());
                match self.caller.shared.with(|state| state.opened.poll(*ticket, look)) {
                    Poll::Ready(Found::Ended(Terminal::Reply(_))) => ran += 1,
                    Poll::Ready(Found::Ended(Terminal::Failed(failure))) => match failure.fate {
                        Fate::NotStarted { elsewhere: true } => {}
                        Fate::MayHaveRun if grace_ended => ran += 1,
                        _ => panic!("{failure:?}"),
                    },
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(ran, self.ran.len(), "what is said not to have started did not run");
        }
    }

    fn drained_with_zero_failures(steps: &[u8]) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(*step));
        world.finish();
        world.check(steps.contains(&5));
    }

    /// Calls, their frames, their answers, GOAWAY and the end of the grace in every order.
    #[test]
    fn drain_zero_failures() {
        let mut steps = [0u8; 6];
        loop {
            drained_with_zero_failures(&steps);
            let Some(digit) = steps.iter().rposition(|step| *step < 5) else { break };
            steps[digit] += 1;
            steps[digit + 1..].fill(0);
        }
    }

    proptest! {
        #[test]
        fn drain_zero_failures_of_many_calls(steps in prop::collection::vec(0u8..6, 0..80)) {
            drained_with_zero_failures(&steps);
        }

        /// Whatever arrives, nothing panics, and nothing is taken beyond what arrived.
        #[test]
        fn decode_total(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut end = End::new(Peer::Controller, true, None);
            if let Ok(taken) = end.engine.receive(&bytes, Instant::now()) {
                prop_assert!(taken.bytes <= bytes.len());
            }
        }

        /// The same from bytes that look like frames for longer.
        #[test]
        fn decode_total_of_damaged_frames(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            kinds in prop::collection::vec(any::<u8>(), 1..6),
            meta in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = Vec::new();
            for (slot, kind) in kinds.iter().enumerate() {
                let id = if *kind < 0x10 { StreamId::CONNECTION } else { StreamId::new(false, 1, slot) };
                Writer::begin_raw(&mut bytes, id, *kind, flags::END).bytes(&meta).body(b"{}");
            }
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let mut end = End::new(Peer::Controller, true, None);
            let _ = end.engine.receive(&bytes, Instant::now());
        }
    }
}
