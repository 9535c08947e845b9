//! The three sequences of the design, recorded from real processes: Module0 is `greeter`, Module1 is `clock`.
//!
//! Two modules start at once, so their messages interleave as they like. Each snapshot therefore holds what is ordered:
//! the messages of one module, or of the client, in the order in which they were recorded.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fmt;

use serde_json::Value;
use tests::Sandbox;

/// One message, as its receiver recorded it.
#[derive(Clone, PartialEq, Eq)]
struct Message {
    from: String,
    to: String,
    message: String,
    reply: String,
    id: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}: {}", self.from, self.to, self.message)?;
        if self.message == "Call" {
            write!(f, " {}", self.id)?;
        }
        if self.reply.is_empty() { Ok(()) } else { write!(f, " ⇒ {}", self.reply) }
    }
}

impl Message {
    fn read(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let field = |name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
        (line["target"] == "ftl::sequence").then(|| Self {
            from: field("from"),
            to: field("to"),
            message: field("message"),
            reply: field("reply"),
            id: field("id"),
        })
    }

    /// Whether it is about this module.
    fn of(&self, module: &str) -> bool {
        self.id.starts_with(&format!("{module}-"))
    }

    fn is(&self, from: &str, to: &str, message: &str) -> bool {
        self.from == from && self.to == to && self.message == message
    }
}

fn text<'a>(messages: impl IntoIterator<Item = &'a Message>) -> String {
    let mut lines: Vec<String> = messages.into_iter().map(ToString::to_string).collect();
    // A Runner pings until it is answered: how often is a matter of luck. How many files travel is a matter of the machine:
    // programs bring their libraries.
    let repeats = |line: &str| line.contains("Ping") || line.contains("UploadArtefact");
    lines.dedup_by(|next, before| next == before && repeats(next));
    lines.join("\n")
}

/// Everything that is said while `examples/hello` is deployed and called once.
fn record() -> Vec<Message> {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log.jsonl");
    let sandbox =
        sandbox.with("FTL_LOG", "off,ftl::sequence=trace").with("FTL_LOG_FILE", log.to_str().unwrap());
    let answer = sandbox.run(&["dev", "examples/hello", "--call", "greeter.hello {name: 'Ada'}"]).expect(0);
    assert!(answer.stdout.starts_with(r#"{"message":"Hello, Ada! It is 2"#), "{answer:?}");
    let recorded = std::fs::read_to_string(&log).unwrap().lines().filter_map(Message::read).collect();
    sandbox.finish();
    recorded
}

fn index(messages: &[Message], wanted: impl Fn(&Message) -> bool) -> usize {
    messages.iter().position(wanted).unwrap_or_else(|| panic!("it was never said: {}", text(messages)))
}

#[test]
fn the_three_sequences_are_those_of_the_design() {
    let all = record();
    let call = index(&all, |message| message.is("Client", "Controller", "Call"));
    let (deploying, routing) = all.split_at(call);

    // Sequence 1, for each replica.
    let initialising = ["CreateRunner", "CreateInstance", "RegisterRunner"];
    for module in ["greeter", "clock"] {
        let of_it = deploying.iter().filter(|message| message.of(module));
        let of_it = of_it.filter(|message| initialising.contains(&message.message.as_str()));
        insta::assert_snapshot!("system_initialisation", text(of_it));
    }

    // Sequence 2: the client, each module, and the table at the end.
    let client = deploying.iter().filter(|message| message.from == "Client");
    insta::assert_snapshot!("creating_a_deployment_client", text(client));
    for module in ["greeter", "clock"] {
        let runner = |message: &&Message| message.of(module) && message.from != "Client";
        insta::assert_snapshot!("creating_a_deployment_module", text(deploying.iter().filter(runner)));
    }
    let apply = index(deploying, |message| message.message == "Apply");
    let table = index(deploying, |message| message.message == "UpdateRoutingTable" && message.id == "2");
    for module in ["greeter", "clock"] {
        let created = index(deploying, |message| message.of(module) && message.message == "CreateRunner");
        let deployed = index(deploying, |message| message.of(module) && message.message == "Deployed");
        assert!(apply < created && deployed < table, "published only after Deployed: {}", text(deploying));
    }

    // Sequence 3: the reference route.
    insta::assert_snapshot!("routing", text(routing));
}
