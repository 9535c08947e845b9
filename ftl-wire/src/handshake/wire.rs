//! Frames of the handshake, read one by one: nothing behind them is read, for it belongs to the connection.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::HandshakeError;
use crate::connection::{CloseReason, Closed};
use crate::frame::{CloseCode, Frame, HEADER_BYTES, Header, Kind, Violation, decode};
use crate::limits::{HANDSHAKE_BYTES_MAX, LINGER};

/// A socket before the connection is open.
#[derive(Debug)]
pub(super) struct Wire<S> {
    io: S,
    /// Bytes that the peer may still send before it is known.
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, left: HANDSHAKE_BYTES_MAX }
    }

    pub(super) fn into_inner(self) -> S {
        self.io
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        self.io.write_all(bytes).await.map_err(HandshakeError::Io)
    }

    pub(super) async fn read(&mut self, bytes: &mut [u8]) -> Result<(), HandshakeError> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(Violation::Malformed("more than 4 KiB before the end of the handshake"))?;
        self.io.read_exact(bytes).await.map_err(HandshakeError::Io)?;
        Ok(())
    }

    /// Reads one whole frame of this kind.
    pub(super) async fn frame(&mut self, kind: Kind) -> Result<Vec<u8>, HandshakeError> {
        let mut head = [0; HEADER_BYTES];
        self.read(&mut head).await?;
        let header = Header::read(&head)?;
        if header.frame_len() > HANDSHAKE_BYTES_MAX {
            return Err(Violation::Malformed("more than 4 KiB before the end of the handshake").into());
        }
        let mut bytes = head.to_vec();
        bytes.resize(header.frame_len(), 0);
        self.read(&mut bytes[HEADER_BYTES..]).await?;
        match parsed(&bytes)?.kind() {
            Some(found) if found == kind => Ok(bytes),
            Some(Kind::Close) => {
                let (code, message) = CloseCode::read(parsed(&bytes)?.meta)?;
                Err(HandshakeError::Refused(Closed { reason: code.into(), message }))
            }
            _ => Err(Violation::Malformed("not the frame that comes next in the handshake").into()),
        }
    }

    /// Says why, and hangs up so that the peer can read it.
    pub(super) async fn refuse(mut self, error: &HandshakeError) {
        let mut last = Vec::new();
        match error {
            HandshakeError::Http { answer } => last.extend_from_slice(answer.as_bytes()),
            _ => match error.close_code() {
                Some(code) => code.write(&mut last, &error.to_string()),
                None => return,
            },
        }
        let _ = timeout(LINGER, async {
            self.io.write_all(&last).await?;
            self.io.shutdown().await?;
            // What is left unread when a socket is closed may take the last words with it.
            let mut rest = [0; 1024];
            while self.io.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        })
        .await;
    }
}

/// A frame that was read as a whole.
pub(super) fn parsed(bytes: &[u8]) -> Result<Frame<'_>, Violation> {
    decode(bytes)?.ok_or(Violation::Malformed("a frame that is too short"))
}

impl HandshakeError {
    /// What the peer is told; `None` if it would not understand, or is gone.
    fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Io(_) | Self::NotOurs | Self::Refused(_) | Self::Http { .. } => None,
            Self::Timeout => Some(CloseCode::AuthTimeout),
            Self::Violation(_) => Some(CloseCode::Protocol),
            Self::Version { .. } => Some(CloseCode::Version),
            Self::Denied(_) => Some(CloseCode::Denied),
            Self::Unwanted => Some(CloseReason::Gone.code()),
        }
    }
}
