//! A Unix socket that asks the kernel for no more than it needs.
//!
//! The kernel tells whoever watches a Unix socket for space that there is some whenever its peer has read, asked for or
//! not. These needless wake-ups cost as much as the call. So space is watched for only while a write waits for it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A connected Unix socket.
#[derive(Debug)]
pub(crate) struct Socket {
    io: AsyncFd<UnixStream>,
    /// The same socket, watched for space, while a write waits.
    full: Option<AsyncFd<UnixStream>>,
}

impl Socket {
    /// Takes a socket over.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { io: watch(socket, Interest::READABLE)?, full: None })
    }

    fn socket(&self) -> &UnixStream {
        self.io.get_ref()
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that change their descriptor, which this one does not"
)]
fn watch(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.io.poll_read_ready(cx))?;
            let space = buffer.initialize_unfilled();
            match ready.try_io(|io| io.get_ref().read(space)) {
                Ok(Ok(read)) => {
                    // A short read has emptied the socket, and the kernel tells of what comes next.
                    if read > 0 && read < space.len() {
                        ready.clear_ready();
                    }
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(full) = &self.full {
                drop(ready!(full.poll_write_ready(cx))?);
                self.full = None;
            }
            match self.socket().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let same = self.socket().try_clone()?;
                    self.full = Some(watch(same, Interest::WRITABLE)?);
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// More than any socket's buffer holds.
    const MUCH: usize = 8 << 20;

    fn pair() -> (Socket, Socket) {
        let (left, right) = UnixStream::pair().unwrap();
        (Socket::new(left).unwrap(), Socket::new(right).unwrap())
    }

    #[tokio::test]
    async fn a_write_that_finds_no_space_goes_on_when_there_is_some() {
        let (mut left, mut right) = pair();
        let sent: Vec<u8> = (0..MUCH).map(|at| (at % 251) as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            left.write_all(&sent).await.unwrap();
            assert!(left.full.is_none(), "nothing waits any more");
            left.shutdown().await.unwrap();
            left
        });
        let mut read = Vec::new();
        right.read_to_end(&mut read).await.unwrap();
        assert!(read == expected);
        drop(writing.await.unwrap());
    }

    #[tokio::test]
    async fn only_a_write_that_waits_watches_for_space() {
        let (mut left, mut right) = pair();
        left.write_all(b"a few").await.unwrap();
        assert!(left.full.is_none());
        let much = vec![0; MUCH];
        let waits = std::future::poll_fn(|cx| {
            Poll::Ready(loop {
                if Pin::new(&mut left).poll_write(cx, &much)?.is_pending() {
                    break Ok::<_, io::Error>(left.full.is_some());
                }
            })
        });
        assert!(waits.await.unwrap());
        let mut read = [0; 5];
        right.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"a few");
    }

    #[tokio::test]
    async fn reads_go_on_after_a_short_one_and_end_with_the_peer() {
        let (mut left, mut right) = pair();
        let mut read = [0; 16];
        for sent in [&b"one"[..], b"two"] {
            left.write_all(sent).await.unwrap();
            let len = right.read(&mut read).await.unwrap();
            assert_eq!(&read[..len], sent);
        }
        left.write_all(b"last").await.unwrap();
        drop(left);
        assert_eq!(right.read(&mut read).await.unwrap(), 4);
        assert_eq!(right.read(&mut read).await.unwrap(), 0);
        assert!(right.write_all(b"nobody").await.is_err());
    }
}
