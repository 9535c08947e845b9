//! The limits and times of a connection.

use std::time::Duration;

/// The limits and times of a connection; the defaults are the protocol's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How long the handshake may take.
    pub handshake: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(5) }
    }
}

impl Options {
    /// The same with another time for the handshake.
    #[must_use]
    pub fn with_handshake(mut self, handshake: Duration) -> Self {
        self.handshake = handshake;
        self
    }
}
