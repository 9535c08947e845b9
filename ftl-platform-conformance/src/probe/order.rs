//! What probe and suite say to each other: one JSON object a line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ftl_core::key::RunnerKey;
use ftl_core::runner::Stream;
use serde::{Deserialize, Serialize};

/// Longest line of either side, in bytes: an environment may be long.
pub(crate) const LINE_BYTES_MAX: u64 = 1 << 20;

/// A probe's first line: which process it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The key of its boot document.
    pub(crate) runner: RunnerKey,
    /// Drawn anew by every process: two starts are two nonces.
    pub(crate) nonce: String,
    /// The secret of its boot document, as text; a child has none.
    pub(crate) secret: String,
    /// Whether a probe started it, and not the platform.
    pub(crate) child: bool,
}

/// What the suite tells a probe to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Answer.
    Ping,
    /// Tell what it was started with.
    Look,
    /// End by itself with this code.
    Exit { code: u8 },
    /// End by a panic.
    Panic,
    /// From now on, do not end when asked to.
    IgnoreTerm,
    /// Do not yield for as long as this file is there, and then go on.
    Hog { hold: PathBuf },
    /// Send this signal to itself.
    Signal { number: i32 },
    /// Write these bytes.
    Write { stream: Stream, bytes: Vec<u8> },
    /// Write the lines `0` to `lines - 1`.
    Count { stream: Stream, lines: u32 },
    /// Write a line of so many `x`.
    Long { stream: Stream, bytes: usize },
    /// Take so much memory, and touch it.
    Eat { bytes: usize },
    /// Have a process of one's own do that, and wait until it was killed for it.
    EatInAChild { bytes: usize },
    /// Start a process that does not end when asked to, in a session of its own; it says hello too.
    Spawn,
}

/// What a probe answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// It cannot be done here.
    Cannot { why: String },
    /// What it was started with, and in which process it is: a number that no other one has.
    Seen { args: Vec<String>, env: BTreeMap<String, String>, process: String },
}
