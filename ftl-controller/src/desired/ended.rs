//! How replicas ended: the history that people ask for, filled before an instance is removed.

use std::fmt;
use std::str::FromStr;

use ftl_core::key::RunnerKey;
use ftl_core::platform::Exit;
use ftl_core::runner::Crash;

use super::Target;
use crate::time::Time;

/// Most bytes of last lines that are kept of one replica; the newest lines stay.
pub const TAIL_BYTES_MAX: usize = 8 << 10;

/// Why a replica's slot was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The Controller ended, and the platform does not keep instances that outlive it.
    ControllerEnded,
    /// Its Runner reported that the deployment crashed or could not start.
    Crashed,
    /// The platform says that its instance ended.
    Ended,
    /// Its Runner was silent or away for too long.
    Silent,
    /// Its instance was created and its Runner never registered.
    NeverRegistered,
    /// Its Runner registered and never reported Deployed.
    NeverReady,
    /// The platform refused to create it, for good.
    Refused,
    /// It was no longer wanted, and no call was running on it any more.
    Drained,
    /// It was no longer wanted and did not finish in time.
    DrainCut,
}

impl Why {
    const ALL: [Self; 9] = [
        Self::ControllerEnded,
        Self::Crashed,
        Self::Ended,
        Self::Silent,
        Self::NeverRegistered,
        Self::NeverReady,
        Self::Refused,
        Self::Drained,
        Self::DrainCut,
    ];

    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControllerEnded => "controller ended",
            Self::Crashed => "crashed",
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::NeverRegistered => "never registered",
            Self::NeverReady => "never ready",
            Self::Refused => "refused",
            Self::Drained => "drained",
            Self::DrainCut => "drain cut",
        }
    }

    /// Whether it ended although it was wanted.
    #[must_use]
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::ControllerEnded | Self::Drained | Self::DrainCut)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`Why`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no known end of a replica")]
pub struct WhyError(String);

impl FromStr for Why {
    type Err = WhyError;
    fn from_str(text: &str) -> Result<Self, WhyError> {
        Self::ALL.into_iter().find(|why| why.as_str() == text).ok_or_else(|| WhyError(text.into()))
    }
}

/// What is known of an end when the slot is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub why: Why,
    /// How it exited, if that was told.
    pub exit: Option<Exit>,
    /// The last lines that it wrote, if they were told; at most [`TAIL_BYTES_MAX`].
    pub tail: Vec<String>,
}

impl End {
    /// An end of which only the reason is known.
    #[must_use]
    pub fn new(why: Why) -> Self {
        Self { why, exit: None, tail: Vec::new() }
    }

    /// The same with how it exited.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = Some(exit);
        self
    }

    /// What a Runner reported of its deployment.
    #[must_use]
    pub fn of_crash(crash: &Crash) -> Self {
        let mut exit = Exit::new(false);
        (exit.code, exit.signal) = (crash.exit_code, crash.signal);
        exit.message = Some(crash.reason.clone());
        Self { why: Why::Crashed, exit: Some(exit), tail: bounded(crash.tail.clone()) }
    }

    /// A creation that a platform refused for good.
    #[must_use]
    pub fn of_refusal(message: &str) -> Self {
        let mut exit = Exit::new(false);
        exit.never_started = true;
        exit.message = Some(message.to_owned());
        Self::new(Why::Refused).with_exit(exit)
    }
}

/// How a former replica ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub key: RunnerKey,
    /// Of what.
    pub target: Target,
    /// What is known of it.
    pub end: End,
    /// Whether exit and last lines were read, so that the instance may be removed.
    pub full: bool,
    /// When its slot was given up.
    pub at: Time,
}

impl Ended {
    /// Adds what the platform knows. What the Runner itself reported is nearer to the cause and stays.
    pub(super) fn complete(&mut self, exit: &Exit, tail: &[String]) {
        self.end.exit.get_or_insert_with(|| exit.clone());
        if self.end.tail.is_empty() {
            self.end.tail = bounded(tail.to_vec());
        }
        self.full = true;
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end.exit {
            Some(exit) => write!(f, "{}: {exit}", self.end.why),
            None => self.end.why.fmt(f),
        }
    }
}

/// The newest lines that fit [`TAIL_BYTES_MAX`].
pub(crate) fn bounded(mut tail: Vec<String>) -> Vec<String> {
    let mut room = TAIL_BYTES_MAX;
    let fits = tail.iter().rev().take_while(|line| {
        let fits = line.len() <= room;
        room = room.saturating_sub(line.len());
        fits
    });
    let dropped = tail.len() - fits.count();
    tail.drain(..dropped);
    tail
}
