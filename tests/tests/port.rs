//! The port of `ftl dev`: the usual one, and a free one while somebody else has that.
//!
//! In a binary of its own, whose tests run while those of others do not: all of them start `dev`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use rustix::process::Signal;
use tests::Sandbox;

/// The usual port of a Controller.
const ADMIN: u16 = 8892;

fn hold() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, ADMIN))
}

/// Whether a `dev` that is started now takes the usual port.
fn takes_it(sandbox: &Sandbox) -> bool {
    let mut running = sandbox.start(&["dev", "examples/hello/clock", "--format", "json"]);
    running.wait_until_ready();
    let _ = sandbox.run_at(&running, &["call", "clock.now"]).expect(0);
    let took = running.url == format!("http://127.0.0.1:{ADMIN}");
    let _ = running.end(Signal::TERM).expect(0);
    took
}

#[test]
fn dev_takes_the_usual_port_or_a_free_one() {
    let sandbox = Sandbox::new();
    // Who else has it on this machine keeps it from `dev` as well as this test does, and from this test.
    match hold() {
        Ok(_held) => assert!(!takes_it(&sandbox), "somebody has it"),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse),
    }
    // A stranger may come between: not again and again.
    assert!((0..3).any(|_| takes_it(&sandbox) || hold().is_err()), "nobody has it");
    sandbox.finish();
}
