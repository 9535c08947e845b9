//! The one task of a connection: reads, lets the engine decide, writes everything queued with one call.
//!
//! One task, because a hand-over between a reader and a writer costs more than the work itself. It never stops reading
//! because writing is blocked: two ends that did so would wait for each other.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::{CloseReason, Closed, Peer};
use crate::dispatch::Dispatch;
use crate::engine::{Engine, Stop, Taken};
use crate::frame::{HEADER_BYTES, Header};
use crate::keepalive::{Due, Keepalive};
use crate::limits::DEAD_AFTER;
use crate::shared::Shared;
use crate::state::{Drain, Effects, Phase, State};

/// Rounds of reading and writing before other tasks of the thread have their turn.
const ROUNDS_MAX: usize = 32;
/// Calls under way on a connection that is busy: what comes next is all but there.
const BUSY_CALLS: usize = 8;
/// Turns that a task of a busy connection gives away before it lets its thread sleep, about a microsecond each when
/// nothing else runs. To wake a thread that sleeps costs its peer more than all the work on a call.
const LULL_TURNS: usize = 60;
/// Space for one read.
const READ_BYTES: usize = 64 << 10;

/// The task of one connection.
#[derive(Debug)]
pub(crate) struct Task<S> {
    io: S,
    shared: Arc<Shared>,
    engine: Engine,
    incoming: Incoming,
    writing: Writing,
    keepalive: Keepalive,
    timer: Pin<Box<Sleep>>,
    /// Whole frames may be left of the last read: it is their turn before the next.
    rest: bool,
    /// Calls were served in this turn: it is the turn of the thread's other tasks.
    served: bool,
    /// Turns that may still be given away before the thread sleeps.
    lull: usize,
    /// Nothing more is written: the peer has seen the end of this direction.
    hung_up: bool,
    done: bool,
}

/// Bytes that were taken from the queue.
#[derive(Debug, Default)]
struct Writing {
    bytes: Vec<u8>,
    at: usize,
    /// Bytes that the kernel has accepted, ever.
    written: u64,
}

/// What the state says about the way on.
#[derive(Debug)]
struct Outlook {
    next_tick: Option<Instant>,
    /// Nothing more will be queued: hang up when all is written, and wait for the peer's end until then.
    last: Option<Instant>,
    overflows: bool,
    busy: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Task<S> {
    pub(crate) fn new(io: S, shared: Arc<Shared>, dispatch: Arc<dyn Dispatch>) -> Self {
        let now = Instant::now();
        let patient = matches!(shared.peer, Peer::Deployment { .. });
        Self {
            io,
            engine: Engine::new(shared.clone(), dispatch),
            shared,
            incoming: Incoming::default(),
            writing: Writing::default(),
            keepalive: Keepalive::new(patient, now),
            timer: Box::pin(sleep_until(now)),
            rest: false,
            served: false,
            lull: 0,
            hung_up: false,
            done: false,
        }
    }

    /// One turn; `Ready` asks for another, after the other tasks of the thread.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Closed> {
        for _ in 0..ROUNDS_MAX {
            let progress = self.read(cx)?;
            let outlook = match self.write(cx) {
                Ok(outlook) => outlook,
                Err(closed) => return Err(self.read_last(cx, closed)),
            };
            let time_passed = self.keep_time(cx, &outlook)?;
            if progress {
                self.lull = if outlook.busy { LULL_TURNS } else { 0 };
            }
            if self.rest || self.served {
                break;
            }
            if !progress && !time_passed {
                self.pass_lull(cx);
                return Ok(Poll::Pending);
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Gives this turn away without going to sleep, as long as that may pay.
    fn pass_lull(&mut self, cx: &mut Context<'_>) {
        if self.lull > 0 {
            self.lull -= 1;
            // First to the processes that are to answer, if they share this processor; then to the runtime, which looks
            // at its sockets and comes back.
            std::thread::yield_now();
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }

    /// Takes what is left of the last read, or reads once. Answers whether anything came.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        self.served = false;
        if !self.rest {
            let mut space = ReadBuf::new(self.incoming.space());
            match Pin::new(&mut self.io).poll_read(cx, &mut space) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(())) if space.filled().is_empty() => return Err(self.hung_up_by_peer()),
                Poll::Ready(Ok(())) => {
                    let read = space.filled().len();
                    self.incoming.filled(read);
                }
                Poll::Ready(Err(error)) => return Err(lost(format!("the socket failed: {error}"))),
            }
        }
        let now = Instant::now();
        self.keepalive.heard(now);
        self.shared.note_heard(now);
        self.rest = false;
        match self.engine.receive(self.incoming.whole(), now) {
            Ok(Taken { bytes, rest, served }) => {
                self.incoming.taken(bytes);
                (self.rest, self.served) = (rest, served);
            }
            Err(Stop::Closed(closed)) => return Err(closed),
            Err(Stop::Violation(violation)) => {
                self.incoming.clear();
                if self.shared.with(|state| state.close(violation.clone().into(), now)) {
                    tracing::warn!(peer = %self.shared.peer, "the protocol was violated: {violation}");
                }
            }
        }
        Ok(true)
    }

    /// Nothing can be written any more: reads the answers that the peer gave before, and perhaps why it ended.
    fn read_last(&mut self, cx: &mut Context<'_>, closed: Closed) -> Closed {
        for _ in 0..ROUNDS_MAX {
            match self.read(cx) {
                Ok(true) => {}
                Ok(false) => break,
                Err(said) => return said,
            }
        }
        closed
    }

    /// Writes until nothing is queued or the kernel takes no more.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<Outlook, Closed> {
        loop {
            let outlook = self.take_queued(cx);
            if outlook.overflows {
                let message = format!("{} makes too much wait: it does not read", self.shared.peer);
                return Err(Closed { reason: CloseReason::Overloaded, message });
            }
            let left = &self.writing.bytes[self.writing.at..];
            if left.is_empty() {
                if outlook.last.is_some() && !self.hung_up {
                    // If it fails, the next read tells.
                    self.hung_up = Pin::new(&mut self.io).poll_shutdown(cx).is_ready();
                }
                return Ok(outlook);
            }
            match Pin::new(&mut self.io).poll_write(cx, left) {
                Poll::Pending => return Ok(outlook),
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.writing.at += written;
                    self.writing.written += written as u64;
                }
                Poll::Ready(Ok(_)) => return Err(lost("the socket takes no more bytes".to_owned())),
                Poll::Ready(Err(error)) => return Err(lost(format!("the socket failed: {error}"))),
            }
        }
    }

    fn take_queued(&mut self, cx: &Context<'_>) -> Outlook {
        let (writing, waker, hung_up) = (&mut self.writing, cx.waker(), self.hung_up);
        let mut effects = Effects::default();
        let (outlook, room) = self.shared.with(|state| {
            if state.drain != Drain::No {
                state.advance_drain(Instant::now(), &mut effects);
            }
            if writing.at == writing.bytes.len() && !hung_up {
                state.take_out(writing.written, &mut writing.bytes);
                writing.at = 0;
            } else {
                state.out.note_written(writing.written);
            }
            if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                state.waker = Some(waker.clone());
            }
            (Outlook::of(state), state.out.has_room_again())
        });
        if room {
            self.shared.queue_room.notify_waiters();
        }
        effects.run(&self.shared);
        outlook
    }

    /// Does what time calls for. Answers whether there may be something to write.
    fn keep_time(&mut self, cx: &mut Context<'_>, outlook: &Outlook) -> Result<bool, Closed> {
        if let Some(at) = outlook.next_tick
            && at < self.timer.deadline()
        {
            self.timer.as_mut().reset(at);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Ok(false);
        }
        let now = Instant::now();
        if outlook.last.is_some_and(|by| by <= now) {
            return Err(self.hung_up_by_peer());
        }
        let mut effects = Effects::default();
        let next_tick = self.shared.with(|state| {
            if state.tick(now, &mut effects).is_err() {
                let message = "more than half of all calls were cancelled and do not end".to_owned();
                state.close(Closed { reason: CloseReason::StuckPeer, message }, now);
            }
            state.next_tick()
        });
        effects.run(&self.shared);
        let alive = self.keep_alive(now)?;
        self.timer.as_mut().reset(next_tick.map_or(alive, |at| at.min(alive)));
        Ok(true)
    }

    /// Sends a PING if one is due. Answers when to look again.
    fn keep_alive(&mut self, now: Instant) -> Result<Instant, Closed> {
        loop {
            match self.keepalive.due(now) {
                Due::Nothing(until) => return Ok(until),
                Due::Ping => {
                    self.shared.with(|state| state.ping());
                }
                Due::Dead => {
                    let message = format!("nothing was heard of {} for {DEAD_AFTER:?}", self.shared.peer);
                    return Err(Closed { reason: CloseReason::Silent, message });
                }
            }
        }
    }

    /// How the connection ended, when it ends with the peer's bytes or with the patience for them.
    fn hung_up_by_peer(&self) -> Closed {
        let peer = &self.shared.peer;
        self.shared.with(|state| match (state.drain, state.peer_accepted) {
            (Drain::Finished { .. }, _) => {
                Closed { reason: CloseReason::Normal, message: "drained".to_owned() }
            }
            (_, Some(accepted)) if accepted < u64::MAX => {
                Closed { reason: CloseReason::Normal, message: format!("{peer} drained") }
            }
            _ => lost(format!("{peer} hung up")),
        })
    }
}

impl<S> Task<S> {
    fn die(&mut self, closed: Closed) {
        if !self.done {
            self.done = true;
            self.shared.die(closed, self.writing.written);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Task<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        match task.drive(cx) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(closed) => {
                task.die(closed);
                Poll::Ready(())
            }
        }
    }
}

impl<S> Drop for Task<S> {
    fn drop(&mut self) {
        self.die(lost("the runtime of the connection ended".to_owned()));
    }
}

impl Outlook {
    fn of(state: &State) -> Self {
        let last = match (&state.phase, state.drain) {
            (&Phase::Closing(_, by), _) | (_, Drain::Finished { by }) => Some(by),
            _ => None,
        };
        let busy = state.opened.taken() + state.served.open() >= BUSY_CALLS;
        Self { next_tick: state.next_tick(), last, overflows: state.out.overflows(), busy }
    }
}

fn lost(message: String) -> Closed {
    Closed { reason: CloseReason::Lost, message }
}

/// Bytes that arrived and are no whole frame yet.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    /// Space for a read: for the rest of a frame whose header is there, and never too little.
    fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.clear();
            if self.bytes.len() > READ_BYTES {
                self.bytes = Vec::new();
            }
        }
        let begun = &self.bytes[self.start..self.end];
        let whole = begun.first_chunk::<HEADER_BYTES>().and_then(|bytes| Header::read(bytes).ok());
        let missing = whole.map_or(0, |header| header.frame_len().saturating_sub(begun.len()));
        let wanted = missing.max(READ_BYTES / 4);
        if self.bytes.len() - self.end < wanted {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let len = self.bytes.len().max(READ_BYTES).max(self.end + wanted);
            self.bytes.resize(len, 0);
        }
        &mut self.bytes[self.end..]
    }

    fn filled(&mut self, read: usize) {
        self.end += read;
    }

    fn whole(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn taken(&mut self, taken: usize) {
        self.start += taken;
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;
    use crate::dispatch::{HeadRef, Route};
    use crate::frame::{Kind, StreamId, Terms, Writer, decode, flags};
    use crate::limits::FRAME_BYTES_MAX;
    use crate::shared::Established;
    use async_trait::async_trait;
    use ftl_core::{Body, Call, CallError, Failure, Fate, Head, Reply, VerbService};
    use proptest::prelude::*;
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::io::DuplexStream;

    /// Whatever the reads cut, the bytes come out as they went in, and no more space is taken than a frame needs.
    #[test]
    fn the_largest_frame_fits_and_its_space_is_given_back() {
        let mut incoming = Incoming::default();
        let mut frame = Vec::new();
        Writer::begin(&mut frame, StreamId::from_raw(1 << 20), Kind::Reply, flags::END)
            .body(&vec![7; FRAME_BYTES_MAX]);
        let mut left = &frame[..];
        while !left.is_empty() {
            let space = incoming.space();
            let read = space.len().min(left.len()).min(10_000);
            space[..read].copy_from_slice(&left[..read]);
            incoming.filled(read);
            left = &left[read..];
        }
        assert_eq!(incoming.whole(), frame);
        assert!(incoming.bytes.len() <= frame.len() + READ_BYTES);
        incoming.taken(frame.len());
        assert_eq!(incoming.space().len(), READ_BYTES);
    }

    proptest! {
        /// Frames are the same wherever the reads cut them.
        #[test]
        fn split_anywhere(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            cuts in prop::collection::vec(1usize..200, 1..50),
        ) {
            let mut bytes = Vec::new();
            for body in &bodies {
                Writer::begin(&mut bytes, StreamId::from_raw(1 << 20), Kind::Reply, flags::END).body(body);
            }
            let (mut incoming, mut found, mut left) = (Incoming::default(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let read = (*cut).min(left.len());
                incoming.space()[..read].copy_from_slice(&left[..read]);
                incoming.filled(read);
                left = &left[read..];
                while let Some(frame) = decode(incoming.whole()).unwrap() {
                    found.push(frame.body.to_vec());
                    let len = frame.header.frame_len();
                    incoming.taken(len);
                }
                if left.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, bodies);
        }
    }

    /// A socket whose kernel accepts so many bytes and then breaks.
    struct Cut {
        io: DuplexStream,
        left: usize,
    }

    impl AsyncRead for Cut {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            space: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_read(cx, space)
        }
    }

    impl AsyncWrite for Cut {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.left == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let accepted = bytes.len().min(self.left);
            let written = std::task::ready!(Pin::new(&mut self.io).poll_write(cx, &bytes[..accepted]))?;
            self.left -= written;
            Poll::Ready(Ok(written))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }

    /// Counts the calls that run, by the first byte of their bodies, and never ends one.
    #[derive(Debug, Default)]
    struct Counting([AtomicUsize; 3]);

    #[async_trait]
    impl VerbService for Counting {
        async fn ping(&self, _: Instant) -> Result<(), Failure> {
            Ok(())
        }

        async fn call(&self, call: Call) -> Result<Reply, CallError> {
            self.0[usize::from(call.body.bytes()[0])].fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    }

    #[derive(Debug)]
    struct Serve(Arc<Counting>);

    impl Dispatch for Serve {
        fn dispatch(&self, _: &HeadRef<'_>) -> Route {
            Route::Serve(self.0.clone())
        }
    }

    fn open<S>(io: S, peer: Peer, acceptor: bool, dispatch: Arc<dyn Dispatch>) -> Connection
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let terms = Terms::default();
        let shared = Shared::new(Established { peer, origin: "test".to_owned(), acceptor, terms });
        tokio::spawn(Task::new(io, shared.clone(), dispatch));
        Connection::new(shared)
    }

    fn a_call(first: u8) -> Call {
        let deadline = Instant::now() + Duration::from_secs(5);
        let head = Head::new("a.b".parse().unwrap(), "r".parse().unwrap(), deadline);
        Call::new(head, Body::once(vec![first; 5 + usize::from(first)]))
    }

    /// Three calls whose bytes are cut after `accepted`. Answers their fates, and how often each ran.
    async fn fates(accepted: usize) -> ([Fate; 3], [usize; 3]) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let counting = Arc::new(Counting::default());
        let callee = open(far, Peer::Controller, true, Arc::new(Serve(counting.clone())));
        let nobody = Arc::new(Serve(Arc::default()));
        let caller = open(Cut { io: near, left: accepted }, Peer::Controller, false, nobody);
        let call = async |first| match caller.call(a_call(first)).await {
            Err(CallError::Failed(failure)) => failure.fate,
            other => panic!("{other:?}"),
        };
        let broken = async {
            // What was accepted arrives and begins; then the connection ends, if it has not broken yet.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            caller.close(CloseReason::Normal, "cut");
            callee.closed().await;
        };
        let (a, b, c, ()) = tokio::join!(call(0), call(1), call(2), broken);
        ([a, b, c], std::array::from_fn(|call| counting.0[call].load(Ordering::SeqCst)))
    }

    /// Cuts the socket at every byte: what is said not to have started did not run, and what did run is not said to
    /// be lost before its last byte.
    #[tokio::test]
    async fn not_started_is_true() {
        let mut frames = Vec::new();
        let ends: Vec<usize> = (0..3)
            .map(|first| {
                let call = a_call(first);
                let id = StreamId::new(false, 1, usize::from(first));
                crate::frame::write_call(&mut frames, id, &call.head, 5000, call.body.bytes());
                frames.len()
            })
            .collect();
        let mut ran = 0;
        for accepted in 0..=frames.len() {
            let (fates, runs) = fates(accepted).await;
            for call in 0..3 {
                let (fate, left) = (fates[call], accepted >= ends[call]);
                assert_eq!(fate == Fate::NotStarted { elsewhere: true }, !left, "{accepted}: {fate:?}");
                assert!(runs[call] <= usize::from(left), "{accepted}: call {call}");
                ran += runs[call];
            }
        }
        assert!(ran > 0, "a callee that never runs anything proves nothing");
    }

    /// A peer that answers the first call with its last breath: what it said is there, but writing fails first.
    #[derive(Default)]
    struct LastBreath {
        accepted: bool,
        failed: bool,
        said: bool,
    }

    impl AsyncRead for LastBreath {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            space: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.failed {
                return Poll::Pending;
            }
            if !self.said {
                self.said = true;
                let mut reply = Vec::new();
                Writer::begin(&mut reply, StreamId::new(false, 1, 0), Kind::Reply, flags::END).body(b"last");
                space.put_slice(&reply);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for LastBreath {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.accepted {
                self.failed = true;
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.accepted = true;
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_a_peer_said_before_it_died_is_heard() {
        let nobody = Arc::new(Serve(Arc::default()));
        let caller = open(LastBreath::default(), Peer::Controller, false, nobody);
        let second = async {
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            caller.call(a_call(1)).await
        };
        let (first, second) = tokio::join!(caller.call(a_call(0)), second);
        assert_eq!(first.unwrap().body.bytes(), "last");
        let Err(CallError::Failed(failure)) = second else { panic!() };
        assert_eq!(failure.fate, Fate::NotStarted { elsewhere: true });
    }

    /// A turn is given away after calls were served, some more on a busy connection, and then the task waits.
    #[tokio::test]
    async fn a_task_comes_to_rest() {
        assert!(polls_of_a_task_that_serves(1).await < 10);
        let busy = polls_of_a_task_that_serves(BUSY_CALLS).await;
        assert!((LULL_TURNS..LULL_TURNS + 20).contains(&busy), "{busy}");
    }

    /// How often a task is polled that serves so many calls, none of which ends.
    async fn polls_of_a_task_that_serves(calls: usize) -> usize {
        let (near, far) = tokio::io::duplex(1 << 16);
        let nobody = Arc::new(Serve(Arc::default()));
        let caller = open(near, Peer::Controller, false, nobody);
        let (peer, terms) = (Peer::Controller, Terms::default());
        let shared = Shared::new(Established { peer, origin: "test".to_owned(), acceptor: true, terms });
        let serving = Arc::new(Counting::default());
        let mut task = Task::new(far, shared, Arc::new(Serve(serving.clone())));
        let polls = Arc::new(AtomicUsize::new(0));
        tokio::spawn({
            let polls = polls.clone();
            std::future::poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                Pin::new(&mut task).poll(cx)
            })
        });
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..calls {
            let caller = caller.clone();
            waiting.spawn(async move { caller.call(a_call(0)).await });
        }
        for _ in 0..10 * LULL_TURNS {
            tokio::task::yield_now().await;
        }
        assert_eq!(serving.0[0].load(Ordering::Relaxed), calls);
        polls.load(Ordering::Relaxed)
    }
}
