//! Why a platform did not do what it was asked, and what to do next.

use std::sync::Arc;
use std::time::Duration;

/// Whether a failed request may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Certainly nothing happened.
    None,
    /// Observe before anything else.
    Unknown,
}

/// The class of a platform's refusal; says what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A bad name, path or number. Never works.
    Invalid,
    /// Asked for what the backend cannot do. Never works.
    Unsupported,
    /// An image, a network, a binary is not there.
    Missing,
    /// The same key with another digest, or removal while running. Never works.
    Conflict,
    /// A higher generation acts. Stop acting.
    Stale,
    /// The same key is being worked on. Later.
    Busy,
    /// Quota, disk full. Later, slowly.
    Exhausted,
    /// An operator must allow it.
    Denied,
    /// The backend cannot be reached. Later.
    Unavailable,
    /// It took too long. Observe first.
    Timeout,
    /// A defect. Report it.
    Internal,
}

/// Why a platform did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct PlatformError {
    /// The class.
    pub kind: ErrorKind,
    /// Whether it may have taken effect.
    pub effect: Effect,
    /// One sentence for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The driver's own error.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl PlatformError {
    /// A refusal without effect.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, effect: Effect::None, message, hint: None, retry_after: None, source: None }
    }

    /// The same, of which it is not known whether it took effect.
    #[must_use]
    pub fn with_unknown_effect(mut self) -> Self {
        self.effect = Effect::Unknown;
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What went wrong and what to do about it, in one line.
    ///
    /// ```
    /// # use ftl_core::platform::{ErrorKind, PlatformError};
    /// let error = PlatformError::new(ErrorKind::Missing, "there is no network `shop`").with_hint("make it first");
    /// assert_eq!(error.advice(), "there is no network `shop`: make it first");
    /// ```
    #[must_use]
    pub fn advice(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default();
        format!("{}{hint}", self.message)
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        self.effect == Effect::Unknown
            || matches!(
                self.kind,
                ErrorKind::Busy | ErrorKind::Exhausted | ErrorKind::Unavailable | ErrorKind::Timeout
            )
    }
}
