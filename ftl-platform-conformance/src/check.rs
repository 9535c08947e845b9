//! What a check is, and how it ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use ftl_core::platform::{Capability, PlatformError};
use serde::Serialize;

use crate::bench::Bench;
use crate::controller::OrderError;

/// What a check does.
pub(crate) type Run = for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// One thing that the contract promises.
#[derive(Clone, Copy)]
pub struct Check {
    /// `group::check`.
    pub name: &'static str,
    /// What the platform must claim for it; without the claim, the refusal is verified instead.
    pub gate: Option<Capability>,
    /// What a platform that fails it pretends.
    pub lie: &'static str,
    /// The rule of the contract that is broken then.
    pub rule: &'static str,
    pub(crate) run: Run,
}

impl Check {
    pub(crate) const fn new(name: &'static str, lie: &'static str, rule: &'static str, run: Run) -> Self {
        Self { name, gate: None, lie, rule, run }
    }

    /// The same, for platforms that claim this.
    pub(crate) const fn needs(mut self, capability: Capability) -> Self {
        self.gate = Some(capability);
        self
    }

    /// The part of its name before `::`.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.name.split_once("::").map_or(self.name, |(group, _)| group)
    }

    /// Whether this text asks for it: its group, or its name.
    #[must_use]
    pub fn is(&self, asked: &str) -> bool {
        asked == self.name || asked == self.group()
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "why", rename_all = "snake_case")]
pub enum Outcome {
    /// The promise is kept.
    Pass,
    /// It is broken.
    Fail(String),
    /// The platform does not claim it, and was seen to refuse it.
    RefusedAsDeclared(Capability),
    /// The fixture has no means to find out.
    NotProven(String),
}

impl Outcome {
    /// One word or three, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "FAIL",
            Self::RefusedAsDeclared(_) => "refused as declared",
            Self::NotProven(_) => "NOT PROVEN",
        }
    }
}

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) enum Flaw {
    Broken(String),
    NotProven(String),
}

pub(crate) type Verdict = Result<(), Flaw>;

impl Flaw {
    pub(crate) fn broken(why: impl Into<String>) -> Self {
        Self::Broken(why.into())
    }

    pub(crate) fn not_proven(why: impl Into<String>) -> Self {
        Self::NotProven(why.into())
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

impl From<PlatformError> for Flaw {
    fn from(error: PlatformError) -> Self {
        Self::Broken(format!("{:?}: {}", error.kind, chain(&error)))
    }
}

impl From<OrderError> for Flaw {
    fn from(error: OrderError) -> Self {
        Self::Broken(chain(&error))
    }
}

/// Ends a check that finds a promise broken.
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::check::Flaw::broken(format!($($words)+)));
        }
    };
}
pub(crate) use ensure;
