//! What may be chosen about a connection; everything else is the protocol's.

use std::time::Duration;

use crate::limits::HANDSHAKE_TIMEOUT;

/// What may be chosen about a connection; the defaults are the protocol's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How long the handshake may take.
    pub handshake: Duration,
    /// Where the HTTP API is, for people who speak HTTP to a listener of the wire.
    pub http_api: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { handshake: HANDSHAKE_TIMEOUT, http_api: None }
    }
}

impl Options {
    /// The same with another time for the handshake.
    #[must_use]
    pub fn with_handshake(mut self, handshake: Duration) -> Self {
        self.handshake = handshake;
        self
    }

    /// The same, naming the URL of the HTTP API.
    #[must_use]
    pub fn with_http_api(mut self, url: impl Into<String>) -> Self {
        self.http_api = Some(url.into());
        self
    }
}
