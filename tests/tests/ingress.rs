//! The ingress: off unless it is asked for, and then open for verbs that are marked `public`, and for nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use tests::Sandbox;

/// Asks as a stranger would: without a token.
fn ask(address: &str, what: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let text =
        format!("{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn strangers_reach_public_verbs_and_nothing_else() {
    let sandbox = Sandbox::new();
    let data = sandbox.path("data");
    let serve = |more: &[&str]| {
        let arguments =
            ["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0", "--format", "json"];
        sandbox.start(&[&arguments[..], more].concat())
    };
    let closed = serve(&[]);
    assert!(closed.wait_for_json(|said| said["token_file"].is_string())["ingress"].is_null());
    let _ = closed.end(Signal::TERM).expect(0);

    let mut open = serve(&["--ingress", "127.0.0.1:0"]);
    let said = open.wait_for_json(|said| said["token_file"].is_string());
    open.url = said["controller"].as_str().unwrap().to_owned();
    open.token_file = said["token_file"].as_str().unwrap().into();
    let ingress = said["ingress"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let _ = sandbox.run_at(&open, &["deploy", "tests/modules/counter"]).expect(0);

    let answer = ask(&ingress, "POST /v1/call/counter/repeat", "3");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\"xxx\""), "{answer}");
    let private = ask(&ingress, "POST /v1/call/counter/sleep", "1");
    let missing = ask(&ingress, "POST /v1/call/counter/nonsense", "1");
    assert!(
        private.starts_with("HTTP/1.1 404") && private.contains("no public verb `counter.sleep`"),
        "{private}"
    );
    assert!(missing.starts_with("HTTP/1.1 404") && missing.contains("no public verb"), "{missing}");
    let reserved = ask(&ingress, "POST /v1/call/ftl/deploy", "{}");
    assert!(reserved.starts_with("HTTP/1.1 403"), "{reserved}");
    for path in ["GET /v1/modules", "GET /v1/schemas", "POST /v1/changes", "GET /v1/logs"] {
        let answer = ask(&ingress, path, "");
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let _ = open.end(Signal::TERM).expect(0);
    sandbox.finish();
}
