//! Who is let in, and what everybody else is told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use ftl_core::key::{Instance, RunnerKey};
use ftl_core::{Secret, VerbService};
use ftl_wire::frame::{Kind, decode};
use ftl_wire::limits::HANDSHAKES_PER_PEER_MAX;
use ftl_wire::{
    Address, CloseReason, DialError, HandshakeError, Identity, Listener, Options, Peer, accept_deployment,
    dial,
};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn tcp(address: &Address) -> SocketAddr {
    match address {
        Address::Tcp(address) => *address,
        other => panic!("{other}"),
    }
}

/// Sends these bytes and reads everything until the other end hangs up.
async fn say(address: SocketAddr, bytes: &'static [u8]) -> Vec<u8> {
    tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(bytes).unwrap();
        let mut heard = Vec::new();
        let _ = socket.read_to_end(&mut heard);
        heard
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_runner_and_its_controller_prove_themselves_to_each_other() {
    for listener in [Listener::bind_private("c1").unwrap(), Listener::bind_tcp(0).unwrap()] {
        let runners = Runners::new(echo());
        let address = listen(listener, &runners, Options::default());
        let runner = dial_as(41, &address, echo()).await;
        assert_eq!(*runner.peer(), Peer::Controller);
        let back = runners.first().await;
        assert_eq!(*back.peer(), Peer::Runner { key: RunnerKey(41), instance: Instance([41; 16]) });
        assert_eq!(bytes(runner.call(call("a.b", "up")).await), "up");
        assert_eq!(bytes(back.call(call("a.b", "down")).await), "down");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_noticed_by_whoever_knows_the_right_one() {
    let runners = Runners::new(echo());
    let address = listen(Listener::bind_private("c1").unwrap(), &runners, Options::default());
    let wrong = Identity::new(RunnerKey(41), Instance([0; 16]), Secret::new([0; 32]));
    let error = dial(&address, &wrong, echo(), &Options::default()).await.unwrap_err();
    assert!(matches!(error, DialError::Handshake(HandshakeError::Denied(_))), "{error:?}");
    assert_eq!(runners.count(), 0);
}

#[tokio::test]
async fn only_a_controller_that_proved_itself_can_end_a_runner() {
    let runners = Runners::new(echo());
    let address = listen(Listener::bind_private("c1").unwrap(), &runners, Options::default());
    let error = dial(&address, &identity(100), echo(), &Options::default()).await.unwrap_err();
    assert!(matches!(error, DialError::Gone), "{error:?}");

    // An impostor says the same without a proof.
    let impostor = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(impostor.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut socket, _) = impostor.accept().unwrap();
        let mut close = Vec::new();
        ftl_wire::frame::CloseCode::Gone.write(&mut close, "go away");
        socket.write_all(&close).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let error = dial(&address, &identity(1), echo(), &Options::default()).await.unwrap_err();
    match error {
        DialError::Handshake(HandshakeError::Refused(closed)) => assert_eq!(closed.reason, CloseReason::Gone),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn http_is_answered_with_where_to_go_and_garbage_with_the_end() {
    let runners = Runners::new(echo());
    let options = Options::default().with_http_api("http://127.0.0.1:8892");
    let address = tcp(&listen(Listener::bind_tcp(0).unwrap(), &runners, options));
    for request in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"POST /v1/call/a/b HTTP/1.1\r\n\r\n{}"] {
        let answer = String::from_utf8(say(address, request).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("http://127.0.0.1:8892"), "{answer}");
    }
    assert_eq!(say(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await, b"");
    assert_eq!(say(address, b"FTLWgarbage!").await, b"");
    assert_eq!(runners.asked.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn user_code_is_let_in_on_an_inherited_socket_only() {
    let runners = Runners::new(echo());
    let address = listen(Listener::bind_private("c1").unwrap(), &runners, Options::default());
    let Address::Unix(path) = address else { panic!() };
    let socket = std::os::unix::net::UnixStream::connect(path).unwrap();
    let error = ftl_wire::dial_runner(socket, schema(), echo(), &Options::default()).await.unwrap_err();
    assert!(
        matches!(&error, HandshakeError::Refused(closed) if closed.reason == CloseReason::Denied),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_is_not_near_is_not_dialled() {
    let far = Address::Tcp("192.0.2.1:1".parse().unwrap());
    let error = dial(&far, &identity(1), echo(), &Options::default()).await.unwrap_err();
    assert!(matches!(error, DialError::NotNear(_)));
}

#[tokio::test]
async fn connections_end_with_their_listener() {
    let listener = Listener::bind_private("c1").unwrap();
    let (address, runners) = (listener.address().clone(), Runners::new(echo()));
    let serving = tokio::spawn(listener.serve(runners.clone(), Options::default()));
    let runner = dial_as(1, &address, echo()).await;
    serving.abort();
    assert_eq!(runner.closed().await.reason, CloseReason::Lost);
    let Address::Unix(path) = address else { panic!() };
    until(|| !path.parent().unwrap().exists()).await;
}

#[tokio::test]
async fn connections_end_with_their_runtime() {
    let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ftl_wire::dial_runner(right, schema(), echo(), &Options::default())).unwrap()
    });
    let here = accept_deployment(left, echo(), &Options::default()).await.unwrap();
    let there = tokio::task::spawn_blocking(|| other.join().unwrap()).await.unwrap();
    assert_eq!(here.closed().await.reason, CloseReason::Lost);
    assert_eq!(there.closed().await.reason, CloseReason::Lost);
    assert!(!there.is_open());
}

/// Bytes that one end of a handshake sent.
async fn overhear(address: &Address, runner: u64) -> (Vec<u8>, Vec<u8>) {
    let tap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tapped = Address::Tcp(tap.local_addr().unwrap());
    let real = tcp(address);
    let listening = tokio::spawn(async move {
        let (mut dialler, _) = tap.accept().await.unwrap();
        let mut acceptor = tokio::net::TcpStream::connect(real).await.unwrap();
        let (mut said, mut heard) = (vec![0; 8 + 12 + 80], vec![0; 12 + 56 + 32]);
        dialler.read_exact(&mut said).await.unwrap();
        acceptor.write_all(&said).await.unwrap();
        acceptor.read_exact(&mut heard).await.unwrap();
        dialler.write_all(&heard).await.unwrap();
        let mut proof = vec![0; 12 + 32];
        dialler.read_exact(&mut proof).await.unwrap();
        said.extend_from_slice(&proof);
        (said, heard)
    });
    let _ = dial(&tapped, &identity(runner), echo(), &Options::default()).await;
    listening.await.unwrap()
}

async fn answer_to(address: &Address, hello: &[u8], proof: impl FnOnce(&[u8]) -> Vec<u8>) -> Kind {
    let mut socket = tokio::net::TcpStream::connect(tcp(address)).await.unwrap();
    socket.write_all(hello).await.unwrap();
    let mut challenge = vec![0; 12 + 56 + 32];
    socket.read_exact(&mut challenge).await.unwrap();
    socket.write_all(&proof(&challenge)).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    decode(&answer).unwrap().unwrap().kind().unwrap()
}

/// Whoever overhears a handshake can neither repeat it nor answer with what was answered.
#[tokio::test]
async fn handshake_replay_and_reflection() {
    let runners = Runners::new(echo());
    let address = listen(Listener::bind_tcp(0).unwrap(), &runners, Options::default());
    let (said, heard) = overhear(&address, 1).await;
    let (hello, proof) = said.split_at(said.len() - (12 + 32));

    assert_eq!(answer_to(&address, hello, |_| proof.to_vec()).await, Kind::Close, "replayed");
    let reflected = |challenge: &[u8]| {
        let mut proof = proof[..12].to_vec();
        proof.extend_from_slice(&challenge[challenge.len() - 32..]);
        proof
    };
    assert_eq!(answer_to(&address, hello, reflected).await, Kind::Close, "reflected");
    assert_eq!(runners.count(), 0);

    // The other way round: an old CHALLENGE does not answer a new HELLO.
    let impostor = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = Address::Tcp(impostor.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = impostor.accept().await.unwrap();
        socket.write_all(&heard).await.unwrap();
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    let error = dial(&there, &identity(1), echo(), &Options::default()).await.unwrap_err();
    assert!(matches!(error, DialError::Handshake(HandshakeError::Denied(_))), "{error:?}");
}

#[tokio::test]
async fn eight_handshakes_from_one_address_are_under_way_and_not_nine() {
    let runners = Runners::new(echo());
    let address = listen(Listener::bind_tcp(0).unwrap(), &runners, Options::default());
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_PER_PEER_MAX {
        silent.push(tokio::net::TcpStream::connect(tcp(&address)).await.unwrap());
    }
    let error = dial(&address, &identity(1), echo(), &Options::default()).await.unwrap_err();
    match error {
        DialError::Handshake(HandshakeError::Refused(closed)) => {
            assert_eq!(closed.reason, CloseReason::Overloaded);
        }
        // The refusal may be lost: what was sent to a closed socket resets it.
        other => assert!(matches!(other, DialError::Handshake(HandshakeError::Io(_))), "{other:?}"),
    }
    silent.pop();
    until_ok(async || dial(&address, &identity(1), echo(), &Options::default()).await).await;
}

async fn until_ok<T, E: std::fmt::Debug>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error:?}"),
        }
    }
}
