//! Reads what an instance writes into a ring that readers can follow.

use std::time::{SystemTime, UNIX_EPOCH};

use ftl_core::output::{Lines, Ring};
use ftl_core::runner::{OutputLine, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What an instance wrote.
pub(crate) type Output = Ring<OutputLine>;

/// Reads a stream to its end, line by line.
pub(crate) async fn read_lines(mut from: impl AsyncRead + Unpin, stream: Stream, output: &Output) {
    let mut buffer = vec![0; 16 << 10];
    let mut lines = Lines::new(stream);
    // An error on a pipe ends it like its end does: the process is what matters, and it is watched.
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        lines.take(&buffer[..read], now_us(), |line| output.push(line));
    }
    if let Some(last) = lines.finish(now_us()) {
        output.push(last);
    }
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
