//! Why a Controller cannot start, or had to end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ftl_core::ControllerError;

use crate::store::StoreError;

/// Why a Controller cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Another Controller works on the data directory.
    #[error("{} is in use by process {holder}: stop that one, or name another data directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that holds it.
        holder: String,
    },
    /// A file of the data directory cannot be read or written.
    #[error("{} cannot be used", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] crate::store::StoreError),
    /// Somebody else listens there.
    #[error("{address} is in use by {holder}: stop that one, or name another address")]
    Taken {
        /// Where.
        address: SocketAddr,
        /// Who, as far as it can be told.
        holder: String,
    },
    /// Nothing can be listened on there.
    #[error("{address} cannot be listened on; name another address")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// An address that strangers could reach, which needs TLS.
    #[error("{0} is no loopback address: without TLS a Controller listens on 127.0.0.1 or [::1] only")]
    NotLoopback(SocketAddr),
    /// Runners cannot be let in.
    #[error("the socket for runners cannot be made")]
    Wire(#[source] io::Error),
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// A newer Controller took over the store, so this one acts no more.
    #[error("a newer Controller took over this store: this one ends")]
    Fenced,
    /// A defect: a part of the Controller ended that never should.
    #[error("a part of the Controller ended: {0}")]
    Internal(String),
}

/// An error of the store with its cause, in one line.
pub(crate) fn in_words(error: &StoreError) -> String {
    use std::error::Error;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// What a client is told of it.
pub(crate) fn refusal(error: &StoreError) -> ControllerError {
    ControllerError::Store(in_words(error))
}
