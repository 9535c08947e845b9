//! What the user code writes: read line by line, kept in bounds, sent to the Controller in batches.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ftl_core::name::RequestId;
use ftl_core::output::Lines;
use ftl_core::runner::{CRASH_TAIL_LINES, LOG_LINES_MAX, OutputLine, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;

/// Output that waits for the Controller, in bytes; what exceeds it is dropped, oldest first, and counted.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// One batch, in bytes: well below the largest body, even when JSON escapes every byte of it.
const BATCH_BYTES_MAX: usize = 128 << 10;

/// Lines on their way to the Controller, and the last ones of standard error for a crash report.
#[derive(Debug, Default)]
pub(crate) struct Output {
    state: Mutex<State>,
    written: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<OutputLine>,
    bytes: usize,
    /// Bytes that were dropped and not told yet.
    lost: u64,
    tail: VecDeque<String>,
    under_way: UnderWay,
}

/// The batch that was handed out last.
#[derive(Debug, Default)]
struct UnderWay {
    /// How many of its lines are still the oldest that wait.
    lines: usize,
    /// The loss that it tells.
    lost: u64,
    /// Bytes of it that were dropped meanwhile: lost only if it does not arrive.
    dropped: u64,
}

impl Output {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: OutputLine) {
        self.state().push(line);
        self.written.notify_one();
    }

    /// Puts a line of the Runner's own among those of the user code.
    pub(crate) fn say(&self, text: &str) {
        self.push(OutputLine::new(now_us(), Stream::Stderr, text));
    }

    /// The last lines of standard error.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.state().tail.iter().cloned().collect()
    }

    /// Waits until a line is waiting.
    pub(crate) async fn written(&self) {
        while self.state().waiting.is_empty() {
            self.written.notified().await;
        }
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    /// The next lines to send, if any. They stay until [`Output::sent`] says that they arrived; without it, they come
    /// again with the next batch.
    pub(crate) fn batch(&self) -> Vec<OutputLine> {
        let mut state = self.state();
        state.lost += std::mem::take(&mut state.under_way).dropped;
        let mut bytes = 0;
        let fits = |line: &&OutputLine| {
            bytes += line.text.len();
            bytes <= BATCH_BYTES_MAX
        };
        let mut batch: Vec<OutputLine> =
            state.waiting.iter().take(LOG_LINES_MAX).take_while(fits).cloned().collect();
        if let Some(first) = batch.first_mut() {
            first.lost_bytes += state.lost;
            state.under_way = UnderWay { lines: batch.len(), lost: state.lost, dropped: 0 };
        }
        batch
    }

    /// The Controller has taken the last batch.
    pub(crate) fn sent(&self) {
        let mut state = self.state();
        let UnderWay { lines, lost, .. } = std::mem::take(&mut state.under_way);
        state.lost -= lost;
        let bytes: usize = state.waiting.drain(..lines).map(|line| line.text.len() + 1).sum();
        state.bytes -= bytes;
    }
}

impl State {
    fn push(&mut self, line: OutputLine) {
        if line.stream == Stream::Stderr {
            if self.tail.len() == CRASH_TAIL_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(line.text.clone());
        }
        self.bytes += line.text.len() + 1;
        self.waiting.push_back(line);
        while self.bytes > WAITING_BYTES_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.text.len() + 1;
            let bytes = oldest.text.len() as u64 + 1 + oldest.lost_bytes;
            match self.under_way.lines.checked_sub(1) {
                Some(left) => {
                    self.under_way.lines = left;
                    self.under_way.dropped += bytes;
                }
                None => self.lost += bytes,
            }
        }
    }
}

/// Reads a stream to its end, line by line.
pub(crate) async fn read_lines(mut from: impl AsyncRead + Unpin, stream: Stream, output: &Output) {
    let mut buffer = vec![0; 16 << 10];
    let mut lines = Lines::new(stream);
    let push = |mut line: OutputLine| {
        line.request = request_of(&line.text);
        output.push(line);
    };
    // An error on a pipe ends it like its end does: the process is what matters, and it is watched.
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        lines.take(&buffer[..read], now_us(), push);
    }
    if let Some(last) = lines.finish(now_us()) {
        push(last);
    }
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// The call that a line belongs to, where it says `request=…` as the SDK's log lines do.
fn request_of(line: &str) -> Option<RequestId> {
    let value = line.split_once("request=")?.1;
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))).unwrap_or(value.len());
    value[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::runner::LOG_LINE_BYTES_MAX;

    #[tokio::test]
    async fn lines_are_batched_until_they_are_sent() {
        let output = Output::default();
        read_lines("a request=r-7} b\nlast".as_bytes(), Stream::Stderr, &output).await;
        output.written().await;
        let batch = output.batch();
        assert_eq!(
            batch.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(),
            ["a request=r-7} b", "last"]
        );
        assert_eq!(batch[0].request.as_ref().unwrap().as_str(), "r-7");
        assert_eq!(output.batch(), batch, "until it is sent");
        output.sent();
        assert!(output.batch().is_empty());
        assert_eq!(output.tail(), ["a request=r-7} b", "last"]);
    }

    #[tokio::test]
    async fn a_flood_is_bounded_and_counted() {
        let output = Output::default();
        let line = "x".repeat(1023);
        let flood = format!("{line}\n").repeat(2048);
        read_lines(flood.as_bytes(), Stream::Stderr, &output).await;
        assert!(output.state().bytes <= WAITING_BYTES_MAX);
        let batch = output.batch();
        assert_eq!(batch[0].lost_bytes, 1 << 20);
        assert!(batch.len() <= LOG_LINES_MAX);
        output.sent();
        assert_eq!(output.batch()[0].lost_bytes, 0, "a loss is told once");
        assert_eq!(output.tail().len(), CRASH_TAIL_LINES);
    }

    #[tokio::test]
    async fn what_gives_way_while_it_is_sent_is_lost_only_if_it_does_not_arrive() {
        for arrives in [true, false] {
            let output = Output::default();
            read_lines("one\ntwo\n".as_bytes(), Stream::Stdout, &output).await;
            assert_eq!(output.batch().len(), 2);
            let flood = format!("{}\n", "x".repeat(1023)).repeat(1024);
            read_lines(flood.as_bytes(), Stream::Stdout, &output).await;
            if arrives {
                output.sent();
            }
            let lost = output.batch()[0].lost_bytes;
            assert_eq!(lost, if arrives { 0 } else { 8 });
            assert_eq!(output.batch()[0].lost_bytes, lost, "asked again, told again");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let output = Output::default();
        read_lines("y".repeat(LOG_LINE_BYTES_MAX * 2).as_bytes(), Stream::Stdout, &output).await;
        let batch = output.batch();
        assert_eq!(
            (batch[0].text.len(), batch[0].lost_bytes),
            (LOG_LINE_BYTES_MAX, LOG_LINE_BYTES_MAX as u64)
        );
    }
}
