//! What an instance wrote: the newest lines, bounded in bytes, with a count of what was lost.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use ftl_core::runner::{LOG_LINE_BYTES_MAX, OutputLine, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

/// A bounded record of output that readers can follow.
pub(crate) struct Output {
    kept: Mutex<Kept>,
    written: watch::Sender<u64>,
}

impl fmt::Debug for Output {
    // Never the lines: what a program wrote may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} lines)", *self.written.borrow())
    }
}

struct Kept {
    lines: VecDeque<OutputLine>,
    /// The number of the first kept line; lines are numbered from 0.
    first: u64,
    bytes: u64,
    bytes_max: u64,
    /// Bytes that were dropped and not yet told to anybody: they are charged to the oldest line.
    lost: u64,
}

impl Output {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let kept = Kept { lines: VecDeque::new(), first: 0, bytes: 0, bytes_max, lost: 0 };
        Self { kept: Mutex::new(kept), written: watch::Sender::new(0) }
    }

    pub(crate) fn push(&self, line: OutputLine) {
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.push(line);
        let next = kept.first + kept.lines.len() as u64;
        drop(kept);
        self.written.send_replace(next);
    }

    /// The lines from number `from` on, and the number to go on with.
    pub(crate) fn since(&self, from: u64) -> (Vec<OutputLine>, u64) {
        let kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let skip = from.saturating_sub(kept.first) as usize;
        let lines = kept.lines.iter().skip(skip).cloned().collect();
        (lines, kept.first + kept.lines.len() as u64)
    }

    /// The number of the line with which the newest `lines` begin.
    pub(crate) fn tail_from(&self, lines: usize) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.first + kept.lines.len().saturating_sub(lines) as u64
    }

    /// Changes with every line.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }
}

impl Kept {
    fn push(&mut self, mut line: OutputLine) {
        self.bytes += size(&line);
        if self.lines.is_empty() {
            line.lost_bytes += std::mem::take(&mut self.lost);
        }
        self.lines.push_back(line);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.lines.pop_front()
        {
            self.first += 1;
            self.bytes -= size(&oldest);
            let lost = size(&oldest) + oldest.lost_bytes;
            match self.lines.front_mut() {
                Some(next) => next.lost_bytes += lost,
                None => self.lost += lost,
            }
        }
    }
}

fn size(line: &OutputLine) -> u64 {
    line.text.len() as u64 + 1
}

/// Reads a stream to its end, line by line. A line that is too long is cut, and the rest counted as lost.
pub(crate) async fn read_lines(mut from: impl AsyncRead + Unpin, stream: Stream, output: &Output) {
    let mut buffer = vec![0; 16 << 10];
    let mut line = Vec::new();
    let mut cut = 0;
    // An error on a pipe ends it like its end does: the process is what matters, and it is watched.
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        for part in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = LOG_LINE_BYTES_MAX.saturating_sub(line.len()).min(text.len());
            line.extend_from_slice(&text[..room]);
            cut += (text.len() - room) as u64;
            if ended {
                output.push(finish(&mut line, &mut cut, stream));
            }
        }
    }
    if !line.is_empty() {
        output.push(finish(&mut line, &mut cut, stream));
    }
}

fn finish(line: &mut Vec<u8>, cut: &mut u64, stream: Stream) -> OutputLine {
    let text = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
    line.clear();
    let at_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    let mut line = OutputLine::new(at_us, stream, text);
    line.lost_bytes = std::mem::take(cut);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[OutputLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[tokio::test]
    async fn lines_are_cut_counted_and_numbered() {
        let output = Output::new(1 << 20);
        let long = "x".repeat(LOG_LINE_BYTES_MAX + 7);
        let written = format!("one\r\n\n{long}\nlast");
        read_lines(written.as_bytes(), Stream::Stdout, &output).await;
        let (lines, next) = output.since(0);
        assert_eq!((lines.len(), next), (4, 4));
        assert_eq!(
            (lines[0].text.as_str(), lines[1].text.as_str(), lines[3].text.as_str()),
            ("one", "", "last")
        );
        assert_eq!((lines[2].text.len(), lines[2].lost_bytes), (LOG_LINE_BYTES_MAX, 7));
    }

    #[test]
    fn the_oldest_lines_give_way_and_are_counted() {
        let output = Output::new(10);
        for line in ["aaaa", "bbbb", "cccc"] {
            output.push(OutputLine::new(0, Stream::Stderr, line));
        }
        let (lines, next) = output.since(0);
        assert_eq!(text(&lines), ["bbbb", "cccc"]);
        assert_eq!((lines[0].lost_bytes, next), (5, 3));
        assert_eq!(output.tail_from(1), 2);
        assert_eq!(text(&output.since(2).0), ["cccc"]);
    }

    #[test]
    fn a_line_larger_than_all_that_is_kept_is_counted() {
        let output = Output::new(4);
        output.push(OutputLine::new(0, Stream::Stderr, "too long"));
        output.push(OutputLine::new(0, Stream::Stderr, "ok"));
        let (lines, _) = output.since(0);
        assert_eq!((text(&lines), lines[0].lost_bytes), (vec!["ok"], 9));
    }
}
