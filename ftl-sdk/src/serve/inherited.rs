//! The socket that a Runner leaves as the standard input of the process it starts.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, stdin};

/// Takes the socket and puts `/dev/null` in its place, so that no process started from here inherits it.
pub(super) fn take() -> io::Result<UnixStream> {
    if FileType::from_raw_mode(fstat(stdin())?.st_mode) != FileType::Socket {
        return Err(io::Error::other("standard input is no socket"));
    }
    // Above the three standard streams, so that a closed one of them is not taken for it.
    let socket = fcntl_dupfd_cloexec(stdin(), 3)?;
    let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(null)?;
    Ok(socket.into())
}
