//! The messages of the three sequences as trace events, so that a test can hold real traffic against the design.
//!
//! Every message is one event at TRACE with the fields `{from, to, message, reply, id}`, under the target
//! [`TARGET`], off by default. Whoever receives a message records it, so that each is recorded once; where the
//! receiver cannot (a process that is being started), the sender does.

use std::fmt;

/// The target of the events: `FTL_LOG=ftl::sequence=trace` turns them on.
pub const TARGET: &str = "ftl::sequence";

/// Who sends or receives a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Somebody outside the system.
    Client,
    /// The Controller.
    Controller,
    /// A platform.
    Platform,
    /// A Runner.
    Runner,
    /// User code.
    Deployment,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "Client",
            Self::Controller => "Controller",
            Self::Platform => "Platform",
            Self::Runner => "Runner",
            Self::Deployment => "Deployment",
        })
    }
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    from: Actor,
    to: Actor,
    message: &'static str,
    reply: &'static str,
    id: &'a str,
}

impl<'a> Event<'a> {
    /// A message and the name of what it is answered with; `id` names what it is about.
    #[must_use]
    pub fn new(from: Actor, to: Actor, message: &'static str, reply: &'static str, id: &'a str) -> Self {
        Self { from, to, message, reply, id }
    }

    /// Records it, if somebody listens.
    pub fn record(&self) {
        tracing::trace!(
            target: "ftl::sequence",
            from = %self.from,
            to = %self.to,
            message = self.message,
            reply = self.reply,
            id = self.id,
        );
    }
}

/// Whether somebody listens: to save putting an id together on the path of every call.
#[must_use]
pub fn recording() -> bool {
    tracing::enabled!(target: "ftl::sequence", tracing::Level::TRACE)
}
