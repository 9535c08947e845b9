//! What a module may call: what its schema declares, in its own name. Never the control messages, whoever asks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::sync::Arc;
use std::time::Duration;

use ftl_core::key::{Instance, RunnerKey};
use ftl_core::name::VerbRef;
use ftl_core::{Body, Call, CallError, Code, Failure, Fate, Head, Secret, VerbService};
use ftl_wire::{Address, Connection, Dispatch, HeadRef, Identity, Options, Route};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{PATIENCE, Running, Sandbox, block_on};
use tokio::time::Instant;

/// What may not be called by user code, and in whose name it is tried.
const FORBIDDEN: [(&str, Option<&str>); 9] = [
    ("ftl.deployed", Some("raw.attempt")),
    ("ftl.deployed", None),
    ("ftl.register_runner", Some("raw.attempt")),
    ("ftl.deploy", Some("ftl.deploy")),
    ("ftl.nothing", Some("raw.attempt")),
    // Not declared by the module at all.
    ("greeter.hello", Some("raw.attempt")),
    // Declared, but by another verb than the one that is named, or by nobody.
    ("clock.now", Some("greeter.hello")),
    ("clock.now", Some("raw.other")),
    ("clock.now", None),
];

/// A Controller that serves `clock`, `greeter` and `raw`.
fn serving(sandbox: &Sandbox) -> Running {
    let serve = sandbox.serve("data");
    for project in ["examples/hello", "tests/modules/raw"] {
        let _ = sandbox.run_at(&serve, &["deploy", project]).expect(0);
    }
    serve
}

#[test]
fn a_runner_lets_out_what_its_module_declares_and_nothing_else() {
    let sandbox = Sandbox::new();
    let serve = serving(&sandbox);
    let attempt = |target: &str, caller: Option<&str>| {
        let request = json!({"target": target, "caller": caller}).to_string();
        let answer = sandbox.run_at(&serve, &["call", "raw.attempt", &request]).expect(0);
        answer.json().as_str().unwrap().to_owned()
    };
    let allowed = attempt("clock.now", Some("raw.attempt"));
    assert!(allowed.starts_with(r#"{"time":"#), "{allowed}");
    for (target, caller) in FORBIDDEN {
        let said = attempt(target, caller);
        let expected = "runner PermissionDenied NotStarted { elsewhere: false }: ";
        assert!(said.starts_with(expected), "{target} by {caller:?}: {said}");
        assert_eq!(said.contains("reserved for control messages"), target.starts_with("ftl."), "{said}");
    }
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

/// Takes no calls.
#[derive(Debug)]
struct Nobody;

impl Dispatch for Nobody {
    fn dispatch(&self, _head: &HeadRef<'_>) -> Route {
        Route::Refuse(Failure::new(Code::PermissionDenied, "nobody is called here").not_started(false))
    }
}

/// A connection like that of the Runner of `raw`, by who knows its secret as it does.
async fn impostor(sandbox: &Sandbox) -> Connection {
    let instances = std::fs::read_dir(sandbox.path("data/instances")).unwrap().flatten();
    let marks = instances.map(|instance| std::fs::read(instance.path().join("marks.json")).unwrap());
    let mut marks = marks.map(|marks| serde_json::from_slice::<Value>(&marks).unwrap());
    let raw = marks.find(|marks| marks["labels"]["module"] == "raw").unwrap();
    let (cluster, runner) =
        (raw["cluster"].as_str().unwrap().parse().unwrap(), raw["runner"].as_u64().unwrap());
    let key = Secret::new(std::fs::read(sandbox.path("data/cluster.key")).unwrap());
    let secret = ftl_wire::runner_secret(&key, &cluster, RunnerKey(runner));
    let sockets =
        std::fs::read_dir(sandbox.path("tmp")).unwrap().flatten().map(|entry| entry.path().join("wire"));
    let address = Address::Unix(sockets.into_iter().find(|path| path.exists()).unwrap());
    let identity = Identity::new(RunnerKey(runner), Instance([7; 16]), secret);
    ftl_wire::dial(&address, &identity, Arc::new(Nobody), &Options::default()).await.unwrap()
}

/// A Runner that does not check what its user code calls cannot do more than one that does.
#[test]
fn the_controller_does_not_believe_a_runner() {
    let sandbox = Sandbox::new();
    let serve = serving(&sandbox);
    block_on(async {
        let connection = impostor(&sandbox).await;
        let attempt = async |target: &str, caller: Option<&str>| {
            let name = |name: &str| VerbRef::from_target(name).unwrap();
            let mut head = Head::new(name(target), "r-1".parse().unwrap(), Instant::now() + PATIENCE);
            head.caller = caller.map(name);
            connection.call(Call::new(head, Body::once("null"))).await
        };
        let allowed = attempt("clock.now", Some("raw.attempt")).await.unwrap();
        assert!(allowed.body.bytes().starts_with(br#"{"time":"#), "{allowed:?}");
        // Control messages are a Runner's own, and it has no business with those of others.
        for (target, caller) in FORBIDDEN.into_iter().filter(|(target, _)| !target.starts_with("ftl.")) {
            let Err(CallError::Failed(failure)) = attempt(target, caller).await else {
                panic!("{target} by {caller:?}")
            };
            assert_eq!(
                (failure.origin.as_deref(), failure.code, failure.fate),
                (Some("controller"), Code::PermissionDenied, Fate::NotStarted { elsewhere: false }),
                "{target} by {caller:?}: {failure:?}"
            );
        }
        connection.drain(Instant::now() + Duration::from_secs(1)).await;
    });
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}
