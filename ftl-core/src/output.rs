//! What programs write, line by line and in bounds: [`Lines`] cuts bytes into lines, [`Ring`] keeps the newest of them.
//!
//! Both lose rather than grow, and both say how much they lost.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::controller::LogLine;
use crate::runner::{LOG_LINE_BYTES_MAX, OutputLine, Stream};

/// Cuts the bytes of one stream into lines.
///
/// A line longer than [`LOG_LINE_BYTES_MAX`] is cut, and the rest counted in its `lost_bytes`; bytes that are no UTF-8
/// are replaced.
///
/// ```
/// use ftl_core::output::Lines;
/// use ftl_core::runner::Stream;
/// let mut lines = Lines::new(Stream::Stdout);
/// let mut found = Vec::new();
/// lines.take(b"one\r\ntw", 1, |line| found.push(line.text));
/// lines.take(b"o\nthree", 2, |line| found.push(line.text));
/// found.extend(lines.finish(3).map(|line| line.text));
/// assert_eq!(found, ["one", "two", "three"]);
/// ```
#[derive(Debug)]
pub struct Lines {
    stream: Stream,
    line: Vec<u8>,
    cut: u64,
}

impl Lines {
    /// Cuts what is written to this stream.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, line: Vec::new(), cut: 0 }
    }

    /// Takes bytes that were read at `at_us` (microseconds since 1970) and hands on the lines that they complete.
    pub fn take(&mut self, bytes: &[u8], at_us: i64, mut each: impl FnMut(OutputLine)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = LOG_LINE_BYTES_MAX.saturating_sub(self.line.len()).min(text.len());
            self.line.extend_from_slice(&text[..room]);
            self.cut += (text.len() - room) as u64;
            if ended {
                each(self.complete(at_us));
            }
        }
    }

    /// The last line, if it has no end of its own.
    pub fn finish(&mut self, at_us: i64) -> Option<OutputLine> {
        (!self.line.is_empty()).then(|| self.complete(at_us))
    }

    fn complete(&mut self, at_us: i64) -> OutputLine {
        let text = String::from_utf8_lossy(&self.line);
        let mut line = OutputLine::new(at_us, self.stream, text.trim_end_matches('\r'));
        line.lost_bytes = std::mem::take(&mut self.cut);
        self.line.clear();
        line
    }
}

/// A line that a [`Ring`] can keep.
pub trait Entry: Clone {
    /// How much room it takes.
    fn bytes(&self) -> u64;
    /// Where to charge what was lost before it.
    fn lost_bytes(&mut self) -> &mut u64;
}

impl Entry for OutputLine {
    fn bytes(&self) -> u64 {
        self.text.len() as u64 + 1
    }

    fn lost_bytes(&mut self) -> &mut u64 {
        &mut self.lost_bytes
    }
}

impl Entry for LogLine {
    fn bytes(&self) -> u64 {
        self.line.bytes()
    }

    fn lost_bytes(&mut self) -> &mut u64 {
        &mut self.line.lost_bytes
    }
}

/// The newest lines, bounded in bytes; readers can follow. What gives way is counted at the oldest line that is kept.
///
/// ```
/// use ftl_core::output::Ring;
/// use ftl_core::runner::{OutputLine, Stream};
/// let ring = Ring::new(10);
/// for text in ["aaaa", "bbbb", "cccc"] {
///     ring.push(OutputLine::new(0, Stream::Stdout, text));
/// }
/// let (lines, next) = ring.since(0);
/// assert_eq!((lines[0].text.as_str(), lines[0].lost_bytes, next), ("bbbb", 5, 3));
/// ```
pub struct Ring<T> {
    kept: Mutex<Kept<T>>,
    written: watch::Sender<u64>,
}

struct Kept<T> {
    lines: VecDeque<T>,
    /// The number of the first kept line; lines are numbered from 0.
    first: u64,
    bytes: u64,
    bytes_max: u64,
    /// Bytes that were dropped and not yet charged to a line.
    lost: u64,
}

impl<T: Entry> Ring<T> {
    /// Keeps at most `bytes_max` bytes of text.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let kept = Kept { lines: VecDeque::new(), first: 0, bytes: 0, bytes_max, lost: 0 };
        Self { kept: Mutex::new(kept), written: watch::Sender::new(0) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line.
    pub fn push(&self, line: T) {
        let mut kept = self.kept();
        kept.push(line);
        let next = kept.first + kept.lines.len() as u64;
        drop(kept);
        self.written.send_replace(next);
    }

    /// The lines from number `from` on, and the number to go on with.
    #[must_use]
    pub fn since(&self, from: u64) -> (Vec<T>, u64) {
        let kept = self.kept();
        let skip = from.saturating_sub(kept.first) as usize;
        let lines = kept.lines.iter().skip(skip).cloned().collect();
        (lines, kept.first + kept.lines.len() as u64)
    }

    /// The number of the line with which the newest `lines` begin.
    #[must_use]
    pub fn tail_from(&self, lines: usize) -> u64 {
        let kept = self.kept();
        kept.first + kept.lines.len().saturating_sub(lines) as u64
    }

    /// Changes with every line.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }
}

impl<T: Entry> Kept<T> {
    fn push(&mut self, mut line: T) {
        self.bytes += line.bytes();
        if self.lines.is_empty() {
            *line.lost_bytes() += std::mem::take(&mut self.lost);
        }
        self.lines.push_back(line);
        while self.bytes > self.bytes_max
            && let Some(mut oldest) = self.lines.pop_front()
        {
            self.first += 1;
            self.bytes -= oldest.bytes();
            let lost = oldest.bytes() + *oldest.lost_bytes();
            match self.lines.front_mut() {
                Some(next) => *next.lost_bytes() += lost,
                None => self.lost += lost,
            }
        }
    }
}

impl<T> fmt::Debug for Ring<T> {
    // Never the lines: what a program wrote may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} lines so far)", *self.written.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> OutputLine {
        OutputLine::new(0, Stream::Stderr, text)
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_counted() {
        let long = "x".repeat(LOG_LINE_BYTES_MAX + 7);
        let mut found = Vec::new();
        let mut lines = Lines::new(Stream::Stdout);
        lines.take(&[long.as_bytes(), b"\n\n\xff"].concat(), 0, |line| found.push(line));
        assert_eq!((found[0].text.len(), found[0].lost_bytes), (LOG_LINE_BYTES_MAX, 7));
        assert_eq!((found[1].text.as_str(), found[1].lost_bytes), ("", 0));
        assert!(lines.finish(0).is_some() && lines.finish(0).is_none());
    }

    #[test]
    fn a_line_larger_than_all_that_is_kept_is_counted() {
        let ring = Ring::new(4);
        ring.push(line("too long"));
        ring.push(line("ok"));
        let (lines, _) = ring.since(0);
        assert_eq!((lines.len(), lines[0].lost_bytes), (1, 9));
    }

    #[test]
    fn readers_go_on_where_they_were() {
        let ring = Ring::new(1 << 10);
        (0..5).for_each(|number| ring.push(line(&number.to_string())));
        assert_eq!(ring.tail_from(2), 3);
        assert_eq!(ring.since(4).0[0].text, "4");
        assert_eq!(ring.since(99).0.len(), 0);
    }
}
