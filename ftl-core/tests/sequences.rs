//! The three sequences of the design, on the in-memory system: every message once, in order.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use ftl_core::memory::{System, UserCode};
use ftl_core::name::VerbRef;
use ftl_core::schema::Verb;
use ftl_core::sequence::TARGET;
use ftl_core::{Body, Call, Head, Reply, VerbService};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps the messages as lines: `from → to: message ⇒ reply (id)`, without ids that change.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).join("\n")
    }
}

#[derive(Default)]
struct Fields([String; 5]);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let index = ["from", "to", "message", "reply", "id"].iter().position(|name| *name == field.name());
        self.0[index.unwrap()] = value.to_owned();
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let [from, to, message, reply, id] = fields.0;
        let reply = if reply.is_empty() { String::new() } else { format!(" ⇒ {reply}") };
        let id = id.split_once('-').map_or(id.as_str(), |(module, _)| module);
        let id = if id.len() == 12 { "digest" } else { id };
        self.0.lock().unwrap().push(format!("{from} → {to}: {message}{reply} ({id})"));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn modules() -> [UserCode; 2] {
    let now = Verb::new("now".parse().unwrap());
    let clock =
        UserCode::new("clock").unwrap().with_verb(now, |_, _| async { Ok(Reply::new(Body::once("1"))) });
    let mut hello = Verb::new("hello".parse().unwrap());
    let target: VerbRef = "clock.now".parse().unwrap();
    hello.calls = vec![target.clone()];
    let greeter = UserCode::new("greeter").unwrap().with_verb(hello, move |call, up| {
        let mut head = Head::new(target.clone(), call.head.request, call.head.deadline);
        head.caller = Some(call.head.target);
        async move { up.call(Call::new(head, Body::once("null"))).await }
    });
    [clock, greeter]
}

#[tokio::test]
async fn the_three_sequences_are_those_of_the_design() {
    let recorder = Recorder::default();
    let _recording = tracing::subscriber::set_default(recorder.clone());
    let system = System::new().unwrap();
    system.deploy("first", modules()).await.unwrap();
    insta::assert_snapshot!("deploying", recorder.take());
    system.call("greeter.hello", "null").await.unwrap();
    insta::assert_snapshot!("routing", recorder.take());
    system.deploy("again", modules()).await.unwrap();
    insta::assert_snapshot!("deploying_the_same_again", recorder.take());
}
