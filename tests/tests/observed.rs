//! One request id, given by the caller, is in every log line of its call in every process, in its failure, and in the
//! header of its answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tests::{Running, Sandbox, wait_until};

/// Calls a verb as any HTTP client would; answers with head and body.
fn call(serve: &Running, verb: &str, request: Option<&str>, body: &str) -> (String, Value) {
    let token = fs::read_to_string(&serve.token_file).unwrap();
    let request = request.map(|id| format!("FTL-Request: {id}\r\n")).unwrap_or_default();
    let text = format!(
        "POST /v1/call/{verb} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{request}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        token.trim(),
        body.len()
    );
    let mut stream = TcpStream::connect(serve.url.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
}

/// The lines that name this request, wherever they name it.
fn lines_of(log: &Path, request: &str) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    // The last one may be being written.
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    let lines = whole.lines().map(|line| serde_json::from_str(line).unwrap());
    let names = |fields: &Value| fields["request"] == request;
    lines
        .filter(|line: &Value| {
            names(line)
                || names(&line["fields"])
                || line["spans"].as_array().is_some_and(|spans| spans.iter().any(names))
        })
        .collect()
}

/// Who wrote a line and about which call: a process says who it is by where its line comes from.
fn place(line: &Value) -> (String, String) {
    let target = line["target"].as_str().unwrap().split("::").next().unwrap().to_owned();
    let verb = |fields: &Value| fields["verb"].as_str().map(str::to_owned);
    let spans = line["spans"].as_array().into_iter().flatten();
    let verb = verb(line).or_else(|| verb(&line["fields"])).or_else(|| spans.into_iter().find_map(verb));
    (target, verb.unwrap_or_default())
}

#[test]
fn one_request_is_seen_in_every_process_and_in_what_is_answered() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log.jsonl");
    let sandbox = sandbox.with("FTL_LOG", "debug").with("FTL_LOG_FILE", log.to_str().unwrap());
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "examples/hello"]).expect(0);

    let (head, reply) = call(&serve, "greeter/hello", Some("seen-everywhere"), r#"{"name": "Ada"}"#);
    assert!(head.contains("ftl-request: seen-everywhere"), "{head}");
    assert!(reply["message"].as_str().unwrap().starts_with("Hello, Ada!"), "{reply}");
    let places: BTreeSet<_> = lines_of(&log, "seen-everywhere").iter().map(place).collect();
    for (whose, verb) in [
        ("ftl_controller", "greeter.hello"),
        ("ftl_runner", "greeter.hello"),
        ("ftl", "greeter.hello"),
        // The call of the deployment: up through its Runner, and down to the other one.
        ("ftl_runner", "clock.now"),
        ("ftl_controller", "clock.now"),
        ("ftl", "clock.now"),
    ] {
        assert!(places.contains(&(whose.to_owned(), verb.to_owned())), "{whose} {verb}: {places:?}");
    }
    let runners = lines_of(&log, "seen-everywhere")
        .into_iter()
        .filter(|line| place(line) == ("ftl_runner".into(), "clock.now".into()));
    let said: BTreeSet<String> =
        runners.map(|line| line["fields"]["message"].as_str().unwrap().to_owned()).collect();
    assert_eq!(said.len(), 2, "one Runner passes it up, the other one down: {said:?}");

    let (head, failure) = call(&serve, "greeter/hello", Some("refused-1"), r#"{"name": 7}"#);
    assert!(head.contains("ftl-request: refused-1"), "{head}");
    assert_eq!(
        (&failure["request"], &failure["verb"]),
        (&"refused-1".into(), &"greeter.hello".into()),
        "{failure}"
    );

    let (head, failure) = call(&serve, "greeter/nothing", None, "{}");
    let made = head.lines().find_map(|line| line.strip_prefix("ftl-request: ")).unwrap();
    assert_eq!(failure["request"], made, "one is made where none was given");

    let of_request = |line: &Value| line["line"]["request"] == "seen-everywhere";
    wait_until("its line has come to the Controller", || {
        let logs = sandbox.run_at(&serve, &["logs", "clock", "--format", "json"]).expect(0);
        logs.stdout.lines().any(|line| of_request(&serde_json::from_str(line).unwrap()))
    });
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

/// What the kernel tells of a process to whoever may ask.
fn told_of(pid: u32) -> Vec<u8> {
    ["cmdline", "environ"]
        .iter()
        .flat_map(|file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default())
        .collect()
}

fn holds(text: &[u8], secret: &[u8]) -> bool {
    text.windows(secret.len()).any(|window| window == secret)
}

#[test]
fn no_secret_is_logged_or_shown_by_a_process() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log.jsonl");
    let sandbox = sandbox.with("FTL_LOG", "trace").with("FTL_LOG_FILE", log.to_str().unwrap());
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "examples/hello"]).expect(0);
    let (_, failure) = call(&serve, "greeter/hello", None, r#"{"name": 7}"#);

    let token = fs::read(&serve.token_file).unwrap();
    let key = fs::read(sandbox.path("data/cluster.key")).unwrap();
    let in_hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let in_decimal: Vec<String> = key.iter().map(ToString::to_string).collect();
    let secrets = [token, key, in_hex.into_bytes(), in_decimal.join(", ").into_bytes()];
    let processes = serve.look();
    assert_eq!(processes.len(), 6, "a shim, a Runner and user code for each module");
    let mut told: Vec<(String, Vec<u8>)> =
        processes.iter().map(|process| (format!("{process:?}"), told_of(process.pid))).collect();
    told.push(("ftl serve".into(), told_of(serve.pid())));
    told.push(("a failure".into(), failure.to_string().into_bytes()));
    let output = serve.end(Signal::TERM).expect(0);
    told.push(("its output".into(), output.stderr.into_bytes()));
    told.push(("the log".into(), fs::read(&log).unwrap()));
    for (whose, text) in told {
        assert!(!text.is_empty(), "{whose}");
        for secret in &secrets {
            assert!(!holds(&text, secret), "{whose} shows {}", String::from_utf8_lossy(secret));
        }
    }
    sandbox.finish();
}
