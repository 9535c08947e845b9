//! The document's own examples, written and read by this implementation: `docs/wire.md` says what the code does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

#[path = "support/golden.rs"]
mod golden;

use std::collections::BTreeSet;

use ftl_core::key::{Epoch, Instance, Replica, RunnerKey, TableVersion};
use ftl_core::{CallError, Code, Digest, Failure, Fate, Head};
use ftl_wire::frame::{
    CallHead, Challenge, CloseCode, Goaway, Hello, Kind, Reason, Role, StreamId, Terms, Tlvs, Writer, decode,
    flags, read_outcome, tag, write_call, write_failure,
};
use ftl_wire::limits::{PREFACE, VERSION};
use golden::examples;

/// The call of the examples: opened by the dialler, generation 1, slot 7.
const ID: u32 = 0x0010_0007;

fn id() -> StreamId {
    StreamId::from_raw(ID)
}

fn frame(kind: Kind, write: impl FnOnce(Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (id, flags) = match kind {
        Kind::Call | Kind::Reply | Kind::Fail => (id(), flags::END),
        Kind::Cancel => (id(), 0),
        _ => (StreamId::CONNECTION, 0),
    };
    write(Writer::begin(&mut bytes, id, kind, flags));
    bytes
}

fn into_bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn counted<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|at| from + at as u8)
}

fn runner() -> Role {
    Role::Runner { key: RunnerKey(41), instance: Instance(counted(0x10)) }
}

fn hello(role: Role) -> Vec<u8> {
    let versions = (VERSION, VERSION);
    into_bytes(|out| Hello { versions, role, nonce: counted(0x40), terms: Terms::default() }.write(out))
}

fn calls() -> Vec<(&'static str, Vec<u8>)> {
    let trace = [&counted::<16>(0x10)[..], &counted::<8>(0xA0), &[1]].concat();
    let mut head =
        Head::new("echo.echo".parse().unwrap(), "r-1".parse().unwrap(), tokio::time::Instant::now());
    head.replica = Some(Replica { runner: RunnerKey(41), instance: Instance(counted(0x10)) });
    head.table = Some(TableVersion { epoch: Epoch(7), seq: 3 });
    let first = frame(Kind::Call, |writer| {
        writer
            .bytes(&2500u32.to_le_bytes())
            .bytes(&[1, 8, 0, 9])
            .bytes(b"echo.echo")
            .tlv(tag::TRACE, &[&trace])
            .tlv(tag::CALLER, &[b"time.now"])
            .tlv(tag::IDEMPOTENCY_KEY, &[b"k-42"])
            .body(br#"{"who":"Ada"}"#);
    });
    let routed = into_bytes(|out| write_call(out, id(), &head, 2500, br#"{"who":"Ada"}"#));
    vec![("call", first), ("call-routed", routed)]
}

fn ends() -> Vec<(&'static str, Vec<u8>)> {
    let mut failure = Failure::new(Code::Internal, "the verb panicked").passed_on();
    failure.verb = Some("echo.echo".parse().unwrap());
    failure.request = Some("r-1".parse().unwrap());
    let draining = Failure::new(Code::Unavailable, "draining").not_started(true);
    vec![
        ("reply", frame(Kind::Reply, |writer| writer.body(br#"{"who":"Ada"}"#))),
        ("fail", frame(Kind::Fail, |writer| writer.body(br#""EmptyName""#))),
        ("error", into_bytes(|out| write_failure(out, id(), &failure, None))),
        ("reject", into_bytes(|out| write_failure(out, id(), &draining, Some(Reason::DRAINING)))),
        ("cancel", frame(Kind::Cancel, |writer| writer.bytes(&[0; 4]).finish())),
    ]
}

fn control() -> Vec<(&'static str, Vec<u8>)> {
    let echo = 7u64.to_le_bytes();
    vec![
        ("ping", frame(Kind::Ping, |writer| writer.bytes(&echo).finish())),
        ("pong", frame(Kind::Pong, |writer| writer.bytes(&echo).finish())),
        (
            "goaway-1",
            into_bytes(|out| Goaway { phase: 1, deadline_ms: 30_000, accepted: u64::MAX }.write(out)),
        ),
        ("goaway-2", into_bytes(|out| Goaway { phase: 2, deadline_ms: 0, accepted: 17 }.write(out))),
        ("close", into_bytes(|out| CloseCode::Gone.write(out, "this runner is no longer wanted"))),
        (
            "unsupported",
            frame(Kind::Unsupported, |writer| {
                writer.bytes(&[0x7F, 0, 0, 0]).bytes(&ID.to_le_bytes()).finish()
            }),
        ),
    ]
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    use hmac::{KeyInit, Mac};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(&(part.len() as u32).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The handshake, its proofs computed here as the document tells it.
fn handshake() -> Vec<(&'static str, Vec<u8>)> {
    let secret = hmac(&counted::<32>(0), &[b"c1", &41u64.to_le_bytes()]);
    let hello_runner = hello(runner());
    let challenge = Challenge { version: VERSION, nonce: counted(0x80), terms: Terms::default() };
    let unsigned = into_bytes(|out| challenge.write(out, &[0; 32]));
    let unsigned = &unsigned[..unsigned.len() - 32];
    let acceptor = hmac(&secret, &[b"a", &PREFACE, &hello_runner, unsigned]);
    let dialler = hmac(&secret, &[b"d", &PREFACE, &hello_runner, unsigned]);
    let welcome = frame(Kind::Welcome, |writer| {
        writer
            .bytes(&VERSION.to_le_bytes())
            .bytes(&[0; 6])
            .bytes(&0u64.to_le_bytes())
            .bytes(&(1u32 << 20).to_le_bytes())
            .bytes(&1024u32.to_le_bytes())
            .finish();
    });
    let deployment = Role::Deployment { schema: Digest::from_bytes(counted(0xC0)) };
    vec![
        ("secret", secret),
        ("preface", PREFACE.to_vec()),
        ("challenge", [unsigned, &acceptor].concat()),
        ("proof", frame(Kind::Proof, |writer| writer.body(&dialler))),
        ("welcome", welcome),
        ("hello-runner", hello_runner),
        ("hello-deployment", hello(deployment)),
    ]
}

#[test]
fn the_examples_of_the_document_are_what_this_implementation_writes() {
    let mut examples = examples();
    for (name, bytes) in [calls(), ends(), control(), handshake()].concat() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let documented = examples.remove(name).unwrap_or_default();
        assert_eq!(hex(&documented), hex(&bytes), "{name}");
    }
    assert!(examples.is_empty(), "examples that nothing checks: {:?}", examples.keys());
}

#[test]
fn roundtrip_every_kind() {
    let mut kinds = BTreeSet::new();
    for (name, bytes) in examples() {
        if ["preface", "secret"].contains(&&*name) {
            continue;
        }
        let frame = decode(&bytes).unwrap().expect("a whole frame");
        assert_eq!(frame.header.frame_len(), bytes.len(), "{name}");
        let mut again = Vec::new();
        let kind = frame.kind().unwrap();
        Writer::begin(&mut again, frame.header.id, kind, frame.header.flags)
            .bytes(frame.meta)
            .body(frame.body);
        assert_eq!(again, bytes, "{name}");
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Ok(None), "{name} cut after {cut}");
        }
        kinds.insert(kind as u8);
    }
    // Those that belong to streams are reserved and have no examples.
    let spoken = Kind::ALL.iter().filter(|kind| !matches!(kind, Kind::Data | Kind::Credit));
    assert_eq!(kinds, spoken.map(|kind| *kind as u8).collect());
}

#[test]
fn the_examples_mean_what_the_document_says() {
    let examples = examples();
    let meta = |name: &str| decode(&examples[name]).unwrap().unwrap().meta.to_vec();
    let head = meta("call");
    let head = CallHead::read(&head).unwrap();
    assert_eq!((head.timeout_ms, head.depth, head.ttl, head.attempt), (2500, 1, 8, 0));
    assert_eq!(
        (head.target, head.caller, head.idempotency_key),
        ("echo.echo", Some("time.now"), Some("k-42"))
    );
    assert_eq!(Tlvs::new(head.tlvs).count(), 3);
    let routed = meta("call-routed");
    let routed = CallHead::read(&routed).unwrap();
    assert_eq!(routed.table, Some(TableVersion { epoch: Epoch(7), seq: 3 }));
    assert_eq!(routed.replica.unwrap().runner, RunnerKey(41));

    let outcome = |name: &str| read_outcome(&decode(&examples[name]).unwrap().unwrap()).unwrap();
    let fate = |name| match outcome(name) {
        Err(CallError::Failed(failure)) => (failure.code, failure.fate),
        other => panic!("{other:?}"),
    };
    assert!(outcome("reply").is_ok() && matches!(outcome("fail"), Err(CallError::Verb(_))));
    assert_eq!(fate("error"), (Code::Internal, Fate::Ran));
    assert_eq!(fate("reject"), (Code::Unavailable, Fate::NotStarted { elsewhere: true }));

    assert_eq!(Hello::read(&meta("hello-runner")).unwrap().role, runner());
    assert_eq!(Goaway::read(&meta("goaway-2")).unwrap().accepted, 17);
    assert_eq!(CloseCode::read(&meta("close")).unwrap().0, CloseCode::Gone);
}
