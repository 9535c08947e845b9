//! The limits of a handshake, of names and of an end, each at its edge.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod support;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use ftl_core::routing::Load;
use ftl_core::{Code, Failure, VerbService};
use ftl_wire::frame::{
    CloseCode, HEADER_BYTES, Header, Hello, Kind, Role, StreamId, Terms, Writer, decode, flags, read_outcome,
    write_failure,
};
use ftl_wire::limits::{
    HANDSHAKE_BYTES_MAX, HANDSHAKE_TIMEOUT, LINGER, ORIGIN_BYTES_MAX, PREFACE, TARGET_BYTES_MAX, VERSION,
};
use ftl_wire::{CloseReason, Connection, HandshakeError, Options, accept_deployment, dial_runner};
use support::raw::{Raw, by_dialler};
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// A timer may be late by its grain, and by no more.
const GRAIN: Duration = Duration::from_millis(2);

#[track_caller]
fn took(since: Instant, expected: Duration) {
    let took = since.elapsed();
    assert!((expected..=expected + GRAIN).contains(&took), "{took:?} instead of {expected:?}");
}

/// What user code says first, with values that nobody knows, in exactly so many bytes.
fn hello(bytes: usize) -> Vec<u8> {
    let mut first = PREFACE.to_vec();
    let role = Role::Deployment { schema: schema() };
    Hello { versions: (VERSION, VERSION), role, nonce: [1; 32], terms: Terms::default() }.write(&mut first);
    let (meta, padding) = (&first[PREFACE.len() + HEADER_BYTES..], bytes - first.len());
    let mut padded = PREFACE.to_vec();
    Writer::begin(&mut padded, StreamId::CONNECTION, Kind::Hello, 0)
        .bytes(meta)
        .tlv(0x7E, &[&vec![0; padding - 3]])
        .finish();
    assert_eq!(padded.len(), bytes);
    padded
}

/// Two sockets, of which the second one is driven by hand.
fn sockets() -> (UnixStream, Raw) {
    let (left, right) = UnixStream::pair().unwrap();
    right.set_nonblocking(true).unwrap();
    (left, Raw { socket: tokio::net::UnixStream::from_std(right).unwrap() })
}

async fn accept(socket: UnixStream) -> Result<Connection, HandshakeError> {
    accept_deployment(socket, echo(), &Options::default()).await
}

#[tokio::test]
async fn a_peer_may_send_4_kib_before_it_is_known_and_not_a_byte_more() {
    let (left, mut raw) = sockets();
    raw.send(&hello(HANDSHAKE_BYTES_MAX)).await;
    accept(left).await.unwrap();
    assert_eq!(raw.next().await.unwrap().kind(), Kind::Welcome);

    let (left, mut raw) = sockets();
    raw.send(&hello(HANDSHAKE_BYTES_MAX + 1)).await;
    // It reads to the end what it refuses.
    raw.socket.shutdown().await.unwrap();
    let error = accept(left).await.unwrap_err();
    assert!(matches!(error, HandshakeError::Violation(_)), "{error:?}");
    let (code, message) = CloseCode::read(raw.expect(Kind::Close).await.frame().meta).unwrap();
    assert_eq!(code, CloseCode::Protocol);
    assert!(message.contains("4 KiB"), "{message}");
}

#[tokio::test]
async fn a_frame_of_a_handshake_that_says_to_be_longer_is_not_waited_for() {
    let (left, mut raw) = sockets();
    let len = (HANDSHAKE_BYTES_MAX - HEADER_BYTES + 1) as u32;
    let header =
        Header { len, id: StreamId::CONNECTION, kind: Kind::Hello as u8, flags: 0, meta: len as u16 };
    raw.send(&[&PREFACE[..], &header.to_bytes()].concat()).await;
    raw.socket.shutdown().await.unwrap();
    assert!(
        matches!(accept(left).await.unwrap_err(), HandshakeError::Violation(_)),
        "before its bytes are there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_may_take_5_s_and_its_refusal_one_more() {
    let (left, mut raw) = sockets();
    let start = Instant::now();
    let told = async {
        let (code, _) = CloseCode::read(raw.expect(Kind::Close).await.frame().meta).unwrap();
        assert_eq!(code, CloseCode::AuthTimeout);
        took(start, HANDSHAKE_TIMEOUT);
    };
    let (refused, ()) = tokio::join!(accept(left), told);
    assert!(matches!(refused.unwrap_err(), HandshakeError::Timeout));
    took(start, HANDSHAKE_TIMEOUT + LINGER);

    let (left, mut raw) = sockets();
    let late = async {
        tokio::time::sleep(HANDSHAKE_TIMEOUT - GRAIN).await;
        raw.send(&hello(200)).await;
    };
    let (accepted, ()) = tokio::join!(accept(left), late);
    assert!(accepted.unwrap().is_open(), "in time");
}

#[tokio::test(start_paused = true)]
async fn a_dialler_waits_as_long_for_an_answer() {
    let (left, _raw) = sockets();
    let start = Instant::now();
    let error = dial_runner(left, schema(), echo(), &Options::default()).await.unwrap_err();
    assert!(matches!(error, HandshakeError::Timeout), "{error:?}");
    assert!((HANDSHAKE_TIMEOUT..=HANDSHAKE_TIMEOUT + LINGER + GRAIN).contains(&start.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn who_closes_waits_a_second_for_the_peer_to_see_it() {
    // One peer reads and does not hang up; the next one does not read, and there is more than its socket holds.
    for (calls, body) in [(1, 0), (8, 900 << 10)] {
        let (mut raw, connection) = Raw::user_code(echo()).await;
        for _ in 0..calls {
            let connection = connection.clone();
            tokio::spawn(async move { connection.call(call("a.b", vec![7; body])).await });
        }
        until(|| connection.open_calls() == calls).await;
        let start = Instant::now();
        connection.close(CloseReason::Normal, "enough");
        if body == 0 {
            raw.expect(Kind::Call).await;
            raw.expect(Kind::Close).await;
            assert!(raw.next().await.is_none(), "nothing more comes");
            took(start, Duration::ZERO);
        }
        until(|| connection.open_calls() == 0).await;
        took(start, LINGER);
    }
}

fn origin_of(bytes: usize) -> usize {
    let mut failure = Failure::new(Code::Internal, "broken");
    failure.origin = Some("o".repeat(bytes));
    let mut frame = Vec::new();
    write_failure(&mut frame, by_dialler(1, 0), &failure, None);
    failed(read_outcome(&decode(&frame).unwrap().unwrap()).unwrap()).origin.unwrap().len()
}

#[test]
fn the_name_of_who_answered_is_cut_at_255_bytes() {
    assert_eq!(origin_of(ORIGIN_BYTES_MAX), ORIGIN_BYTES_MAX);
    assert_eq!(origin_of(ORIGIN_BYTES_MAX + 1), ORIGIN_BYTES_MAX);
}

#[tokio::test]
async fn a_target_may_be_as_long_as_its_length_can_say() {
    // What a frame can hold is refused by the endpoint, and is no reason to close.
    let (mut raw, connection) = Raw::user_code(echo()).await;
    let mut frame = Vec::new();
    Writer::begin(&mut frame, by_dialler(1, 0), Kind::Call, flags::END)
        .bytes(&10_000_u32.to_le_bytes())
        .bytes(&[0, 8, 0, TARGET_BYTES_MAX as u8])
        .bytes(&[b'a'; TARGET_BYTES_MAX])
        .body(b"{}");
    raw.send(&frame).await;
    let rejected = failed(read_outcome(&raw.expect(Kind::Reject).await.frame()).unwrap());
    assert_eq!((rejected.code, rejected.fate), (Code::NotFound, NOWHERE));
    assert!(connection.is_open());

    // The longest that there is: two names.
    let (_runner, code) = joined(echo(), nobody()).await;
    let longest = format!("{0}.{0}", "n".repeat(100));
    assert_eq!(bytes(code.call(call(&longest, "far")).await), "far");
}
