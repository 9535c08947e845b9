//! What a connection does with frames that no connection of ours sends, and with peers that misbehave.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ftl_core::routing::Load;
use ftl_core::{Body, Call, CallError, Code, Failure, Fate, Reply, VerbService};
use ftl_wire::frame::{CloseCode, Kind, Reason, StreamId, flags, read_outcome, tag};
use ftl_wire::limits::{DEAD_AFTER, MESSAGE_BYTES_MAX, OPEN_CALLS_MAX, PING_AFTER, QUEUE_BYTES_MAX};
use ftl_wire::{CloseReason, Connection, Dispatch, HeadRef, Route};
use support::raw::{Raw, a_call, bare, by_acceptor, by_dialler};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// Sends this on a fresh connection; answers the code of the CLOSE that follows.
async fn closes(bytes: &[u8]) -> CloseCode {
    let (mut raw, connection) = Raw::user_code(echo()).await;
    raw.send(bytes).await;
    let close = raw.expect(Kind::Close).await;
    let (code, _) = CloseCode::read(close.frame().meta).unwrap();
    assert!(raw.next().await.is_none());
    drop(raw);
    let expected = match code {
        CloseCode::FrameTooLarge => CloseReason::FrameTooLarge,
        _ => CloseReason::Protocol,
    };
    assert_eq!(connection.closed().await.reason, expected);
    code
}

#[tokio::test]
async fn what_breaks_the_protocol_closes_the_connection_and_says_why() {
    let too_large = [1, 0, 16, 0, 0, 0, 16, 0, 0x10, 1, 0, 0];
    assert_eq!(closes(&too_large).await, CloseCode::FrameTooLarge);
    for bytes in [
        bare(StreamId::CONNECTION, 0x10, flags::END),
        bare(by_dialler(1, 0), 0x10, flags::END),
        bare(by_dialler(1, 0), 0x16, 0),
        bare(by_dialler(1, 0), 0x11, 0),
        bare(by_acceptor(1, 0), 0x12, flags::END),
        bare(StreamId::CONNECTION, 0x01, 0),
        a_call(by_acceptor(1, 0), &[], b""),
        a_call(by_dialler(1, OPEN_CALLS_MAX as u32), &[], b""),
        a_call(by_dialler(1, 0), &[(tag::TRACE, b"short")], b""),
    ] {
        assert_eq!(closes(&bytes).await, CloseCode::Protocol, "{bytes:?}");
    }
}

#[tokio::test]
async fn the_highest_slot_is_one_below_the_limit() {
    let (mut raw, _connection) = Raw::user_code(echo()).await;
    let id = by_dialler(1, OPEN_CALLS_MAX as u32 - 1);
    raw.send(&a_call(id, &[], b"{}")).await;
    assert_eq!(raw.expect(Kind::Reply).await.id(), id);
}

fn failure(received: &support::raw::Received) -> Failure {
    failed(read_outcome(&received.frame()).unwrap())
}

/// Old meets new: what is not known is skipped, and refused only where it must be understood.
#[tokio::test]
async fn old_meets_new() {
    let (mut raw, _connection) = Raw::user_code(echo()).await;
    let (open, closed) = (by_dialler(1, 0), by_dialler(1, 1));

    // Unknown kinds, of the connection and of a call.
    raw.send(&bare(StreamId::CONNECTION, 0x0F, 0)).await;
    raw.send(&bare(open, 0x7F, 0)).await;
    raw.send(&bare(StreamId::CONNECTION, 0x0F, flags::MUST)).await;
    let unsupported = raw.expect(Kind::Unsupported).await;
    assert_eq!(unsupported.frame().meta, [0x0F, 0, 0, 0, 0, 0, 0, 0]);

    // Unknown flags and values.
    let mut call = a_call(open, &[(0x7E, b"later")], b"{}");
    call[9] |= 0x70;
    raw.send(&call).await;
    assert_eq!(raw.expect(Kind::Reply).await.id(), open);
    raw.send(&a_call(closed, &[(0xFE, b"must")], b"{}")).await;
    let reject = raw.expect(Kind::Reject).await;
    assert_eq!(reject.frame().meta[1], Reason::UNSUPPORTED.number());
    assert_eq!(failure(&reject).fate, NOWHERE);

    // Streams, which are not spoken yet.
    let mut stream = a_call(by_dialler(2, 0), &[], b"{}");
    stream[9] = flags::STREAM;
    raw.send(&stream).await;
    assert_eq!(failure(&raw.expect(Kind::Reject).await).code, Code::Unimplemented);
    raw.send(&bare(by_dialler(2, 0), 0x11, flags::END)).await;
    raw.send(&bare(StreamId::CONNECTION, 0x17, 0)).await;
    raw.send(&a_call(by_dialler(3, 0), &[], b"{}")).await;
    assert_eq!(raw.expect(Kind::Reply).await.id(), by_dialler(3, 0), "what crossed the end is ignored");
}

#[tokio::test]
async fn a_kind_that_must_be_understood_ends_the_call_that_it_belongs_to() {
    let (mut raw, _connection) = Raw::user_code(serve(|_| std::future::pending())).await;
    raw.send(&a_call(by_dialler(1, 0), &[], b"{}")).await;
    raw.send(&bare(by_dialler(1, 0), 0x7F, flags::MUST)).await;
    raw.expect(Kind::Unsupported).await;
    let error = failure(&raw.expect(Kind::Error).await);
    assert_eq!((error.code, error.fate), (Code::Unimplemented, Fate::MayHaveRun));
}

/// Calls, cancels and answers in every order: each call ends exactly once.
#[tokio::test]
async fn one_terminal_per_stream() {
    let verb = serve(|call: Call| async move {
        for _ in 0..call.body.bytes()[0] % 8 {
            tokio::task::yield_now().await;
        }
        match call.body.bytes()[0] % 5 {
            0 => panic!("a defect of the verb"),
            1 => Err(CallError::Verb(call.body)),
            2 => Err(Failure::new(Code::Unavailable, "no").not_started(true).into()),
            _ => Ok(Reply::new(call.body)),
        }
    });
    let (raw, connection) = Raw::user_code(verb).await;
    let (mut reading, mut writing) = raw.socket.into_split();
    const SLOTS: u32 = 16;
    const CALLS: u32 = 2000;
    let ends = Arc::new(std::sync::Mutex::new(HashMap::<u32, usize>::new()));
    let seen = ends.clone();
    tokio::spawn(async move {
        let mut header = [0; 12];
        while reading.read_exact(&mut header).await.is_ok() {
            let header = ftl_wire::frame::Header::read(&header).unwrap();
            let mut rest = vec![0; header.len as usize];
            reading.read_exact(&mut rest).await.unwrap();
            if header.kind >= 0x12 {
                *seen.lock().unwrap().entry(header.id.raw()).or_default() += 1;
            }
        }
    });
    let has_ended = |id: StreamId| ends.lock().unwrap().contains_key(&id.raw());
    let mut random = 1u32;
    for call in 0..CALLS {
        let (slot, generation) = (call % SLOTS, call / SLOTS + 1);
        if generation > 1 {
            until(|| has_ended(by_dialler(generation - 1, slot))).await;
        }
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let id = by_dialler(generation, slot);
        let mut bytes = a_call(id, &[], &[(random >> 24) as u8]);
        for _ in 0..(random >> 16) % 3 {
            bytes.extend(bare(id, 0x16, 0));
        }
        writing.write_all(&bytes).await.unwrap();
        if random & 0x100 != 0 {
            writing.write_all(&bare(id, 0x16, 0)).await.unwrap();
        }
    }
    until(|| ends.lock().unwrap().len() == CALLS as usize).await;
    assert!(connection.is_open());
    assert!(ends.lock().unwrap().values().all(|ends| *ends == 1));
}

/// A peer that never reads: what waits for it is bounded.
#[tokio::test]
async fn memory_bounded_with_deaf_peer() {
    // Large replies: those that find no room wait in their verbs.
    let finished = Arc::new(AtomicUsize::new(0));
    let count = finished.clone();
    let verb = serve(move |_| {
        let count = count.clone();
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Reply::new(Body::once(vec![7; 900 << 10])))
        }
    });
    let (mut raw, connection) = Raw::user_code(verb).await;
    for slot in 0..200 {
        raw.send(&a_call(by_dialler(1, slot), &[], b"")).await;
    }
    until(|| finished.load(Ordering::SeqCst) == 200).await;
    connection.ping(Instant::now() + Duration::from_millis(50)).await.unwrap_err();
    assert!(connection.is_open());
    let reading = async {
        let mut replies = 0;
        while replies < 200 {
            replies += usize::from(raw.next().await.unwrap().kind() == Kind::Reply);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("room again");

    // Requests: those that find no room are not queued, and not started.
    let (_deaf, connection) = Raw::user_code(echo()).await;
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let (connection, mut call) = (connection.clone(), call("a.b", vec![7; 900 << 10]));
            // All are made before the first one ends, also on a machine that stands still for a while.
            call.head.deadline = Instant::now() + Duration::from_secs(10);
            tokio::spawn(async move { failed(connection.call(call).await).fate })
        })
        .collect();
    let mut queued = 0;
    for call in calls {
        queued += usize::from(call.await.unwrap() == Fate::MayHaveRun);
    }
    assert!((30..40).contains(&queued), "{queued} of 900 KiB each");
}

/// Refuses everything, with the longest of messages.
#[derive(Debug)]
struct RefuseAll;

impl Dispatch for RefuseAll {
    fn dispatch(&self, _: &HeadRef<'_>) -> Route {
        Route::Refuse(Failure::new(Code::Internal, "x".repeat(MESSAGE_BYTES_MAX)).not_started(false))
    }
}

#[tokio::test]
async fn who_uses_slots_whose_ends_it_has_not_read_is_cut_off() {
    let (mut raw, connection) = Raw::user_code(Arc::new(RefuseAll)).await;
    let sending = async {
        for round in 0.. {
            let call = a_call(by_dialler(round / 16 % 2047 + 1, round % 16), &[], b"");
            if raw.socket.write_all(&call).await.is_err() {
                return round as usize;
            }
        }
        unreachable!("it writes until it is cut off")
    };
    let (closed, sent) = tokio::join!(connection.closed(), sending);
    assert_eq!(closed.reason, CloseReason::Overloaded);
    assert!(sent * (MESSAGE_BYTES_MAX + 64) >= QUEUE_BYTES_MAX, "{sent}");
}

#[tokio::test]
async fn as_many_calls_as_the_peer_takes_are_open_at_once() {
    let (mut raw, connection) = Raw::user_code(echo()).await;
    let call_from = |connection: &Connection, patience| {
        let (connection, mut call) = (connection.clone(), call("a.b", ""));
        call.head.deadline = Instant::now() + patience;
        tokio::spawn(async move { connection.call(call).await })
    };
    let open: Vec<_> = (0..OPEN_CALLS_MAX).map(|_| call_from(&connection, PATIENCE)).collect();
    let mut ids = Vec::new();
    for _ in &open {
        ids.push(raw.expect(Kind::Call).await.id());
    }
    assert_eq!(connection.open_calls(), OPEN_CALLS_MAX);
    let too_many = failed(call_from(&connection, Duration::from_millis(50)).await.unwrap());
    assert_eq!((too_many.code, too_many.fate), (Code::DeadlineExceeded, NOWHERE));

    let waiting = call_from(&connection, PATIENCE);
    raw.send(&bare(ids[7], 0x12, flags::END)).await;
    let last = raw.expect(Kind::Call).await.id();
    assert_eq!((last.slot(), last.generation()), (ids[7].slot(), ids[7].generation() + 1));
    raw.send(&bare(last, 0x12, flags::END)).await;
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_relay_without_a_free_slot_refuses_at_once() {
    let (mut raw, next) = Raw::user_code(echo()).await;
    let (_, caller) = joined(RelayAll::to(next.clone()), nobody()).await;
    let direct: Vec<_> = (0..OPEN_CALLS_MAX)
        .map(|_| {
            let next = next.clone();
            tokio::spawn(async move { next.call(call("a.b", "")).await })
        })
        .collect();
    until(|| next.open_calls() == OPEN_CALLS_MAX).await;
    let failure = failed(caller.call(call("a.b", "")).await);
    assert_eq!((failure.code, failure.fate), (Code::ResourceExhausted, ELSEWHERE));
    for _ in direct {
        let id = raw.expect(Kind::Call).await.id();
        raw.send(&bare(id, 0x12, flags::END)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_after_10_s_and_dead_after_25() {
    let (mut raw, connection) = Raw::runner(echo()).await;
    let start = Instant::now();
    raw.expect(Kind::Ping).await;
    assert_eq!(start.elapsed().as_secs(), PING_AFTER.as_secs());
    let closed = connection.closed().await;
    assert_eq!(closed.reason, CloseReason::Silent);
    assert!(closed.message.contains("the runner"), "{closed}");
    let took = start.elapsed();
    assert!((DEAD_AFTER..DEAD_AFTER + Duration::from_millis(100)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn user_code_that_is_silent_is_stuck_and_not_closed() {
    let (mut raw, connection) = Raw::user_code(echo()).await;
    let ping = raw.expect(Kind::Ping).await;
    tokio::time::sleep(DEAD_AFTER - PING_AFTER - Duration::from_millis(100)).await;
    assert!(!connection.is_stuck());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(connection.is_stuck() && connection.is_open());
    let mut pong = ping.frame().header;
    pong.kind = Kind::Pong as u8;
    raw.send(&[&pong.to_bytes()[..], ping.frame().meta].concat()).await;
    until(|| !connection.is_stuck()).await;
}

#[tokio::test(start_paused = true)]
async fn two_healthy_ends_stay_connected() {
    let (runner, code) = joined(echo(), echo()).await;
    tokio::time::sleep(20 * DEAD_AFTER).await;
    assert!(runner.is_open() && code.is_open() && !runner.is_stuck());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_ends_no_cancelled_call_is_closed_after_30_s() {
    let (mut raw, connection) = Raw::user_code(echo()).await;
    let start = Instant::now();
    let calls: Vec<_> = (0..=OPEN_CALLS_MAX / 2)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.call(call("a.b", "")).await })
        })
        .collect();
    for _ in &calls {
        raw.expect(Kind::Call).await;
    }
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    let closed = async {
        loop {
            let received = raw.next().await.unwrap();
            if received.kind() == Kind::Close {
                break CloseCode::read(received.frame().meta).unwrap().0;
            }
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(60), closed).await;
    assert_eq!(closed.unwrap(), CloseCode::StuckPeer);
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_take_an_hour_and_no_longer() {
    let (_, code) = joined(serve(|_| std::future::pending()), nobody()).await;
    let mut endless = call("a.b", "");
    endless.head.deadline = Instant::now() + Duration::from_secs(7200);
    let start = Instant::now();
    assert_eq!(failed(code.call(endless).await).code, Code::DeadlineExceeded);
    assert_eq!(start.elapsed().as_secs(), 3600);
}
