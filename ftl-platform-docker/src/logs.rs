//! What an instance wrote: the engine's frames, cut into lines.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptionsBuilder;
use ftl_core::controller::BoxStream;
use ftl_core::output::Lines;
use ftl_core::platform::{LogOptions, PlatformError};
use ftl_core::runner::{OutputLine, Stream};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::connect::Engine;
use crate::error::{Doing, refused, timed_out};

/// The engine keeps a long line in parts of 16 KiB, and counts those when asked for the newest lines. So many more are
/// asked for that a line of a mebibyte is still whole.
const PARTS_MORE: usize = 128;
/// What completes "docker cannot …".
const WHAT: &str = "read an instance's output";

/// Reads the output of a container.
pub(crate) async fn read(
    engine: Arc<Engine>,
    container: &str,
    options: LogOptions,
) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
    let parts = |lines: usize| {
        if options.follow { lines } else { lines.saturating_mul(2).saturating_add(PARTS_MORE) }
    };
    let tail = options.tail.map_or_else(|| "all".to_owned(), |lines| parts(lines).to_string());
    let ask = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(options.follow)
        .tail(&tail)
        .build();
    let frames = engine.client().await?.logs(container, Some(ask));
    let reader = Reader {
        frames: Box::pin(frames),
        engine,
        out: Lines::new(Stream::Stdout),
        err: Lines::new(Stream::Stderr),
        ready: VecDeque::new(),
        follow: options.follow,
        ended: false,
    };
    match options.tail {
        Some(lines) if !options.follow => newest(reader, lines).await,
        _ => Ok(Box::pin(futures_util::stream::unfold(reader, |mut reader| async {
            let line = reader.next().await?;
            Some((line, reader))
        }))),
    }
}

/// The last `lines` of what is there.
async fn newest(
    mut reader: Reader,
    lines: usize,
) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
    let mut kept = VecDeque::new();
    while let Some(line) = reader.next().await {
        if kept.len() >= lines {
            kept.pop_front();
        }
        if lines > 0 {
            kept.push_back(line?);
        }
    }
    Ok(Box::pin(futures_util::stream::iter(kept.into_iter().map(Ok))))
}

struct Reader {
    frames: Pin<Box<dyn futures_util::Stream<Item = Result<LogOutput, Error>> + Send>>,
    engine: Arc<Engine>,
    out: Lines,
    err: Lines,
    /// Lines that one frame completed: a frame holds one line at most, and the end two.
    ready: VecDeque<OutputLine>,
    follow: bool,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<OutputLine, PlatformError>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            let silence = self.engine.timings.silence;
            match timeout(silence, self.frames.next()).await {
                Ok(Some(Ok(frame))) => self.take(frame),
                Ok(Some(Err(error))) => return self.fail(refused(WHAT, Doing::Reading, error)),
                Ok(None) => self.finish(),
                Err(_) if !self.follow => return self.fail(timed_out(WHAT, Doing::Reading, Some(silence))),
                // Nothing was written, or the engine is frozen: then it would be silent for ever.
                Err(_) => {
                    if let Err(error) = self.engine.ping().await {
                        return self.fail(error);
                    }
                }
            }
        }
    }

    fn take(&mut self, frame: LogOutput) {
        let (lines, message) = match frame {
            LogOutput::StdErr { message } => (&mut self.err, message),
            LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
                (&mut self.out, message)
            }
        };
        let (at_us, text) = split(&message).unwrap_or_else(|| (now_us(), &message));
        lines.take(text, at_us, |line| self.ready.push_back(line));
    }

    fn finish(&mut self) {
        self.ended = true;
        let now = now_us();
        self.ready.extend([self.out.finish(now), self.err.finish(now)].into_iter().flatten());
    }

    fn fail(&mut self, error: PlatformError) -> Option<Result<OutputLine, PlatformError>> {
        self.ended = true;
        Some(Err(error))
    }
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// Takes the time off a frame: `2026-01-02T03:04:05.678901234Z text`.
fn split(frame: &[u8]) -> Option<(i64, &[u8])> {
    let blank = frame.iter().position(|byte| *byte == b' ')?;
    let time = std::str::from_utf8(&frame[..blank]).ok()?;
    Some((time_us(time)?, &frame[blank + 1..]))
}

/// Microseconds since 1970 of a time as RFC 3339 writes it.
fn time_us(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let (time, offset_s) = match time.split_at_checked(time.find(['Z', '+', '-'])?)? {
        (time, "Z") => (time, 0),
        (time, offset) => {
            let (hours, minutes) = offset[1..].split_once(':')?;
            let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            (time, if offset.starts_with('-') { -seconds } else { seconds })
        }
    };
    let numbers = |text: &str, separator| {
        let mut numbers = text.split(separator).map(|number: &str| number.parse::<i64>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    };
    let (year, month, day) = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let (hour, minute, second) = numbers(time, ':')?;
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let seconds = ((days(year, month, day)? * 24 + hour) * 60 + minute) * 60 + second - offset_s;
    Some(seconds * 1_000_000 + digits.parse::<i64>().ok()?)
}

/// Days since 1970 of a date of the Gregorian calendar, counted in years that begin with March.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_of_year = (153 * month + 2) / 5 + day - 1;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + days_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_time_and_a_text() {
        assert_eq!(split(b"1970-01-01T00:00:01.000002999Z a b"), Some((1_000_002, &b"a b"[..])));
        assert_eq!(split(b"no time at all"), None);
        assert_eq!(split(b""), None);
    }

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-27T18:30:35.5Z", 1_795_804_235),
            ("2026-11-27T20:30:35+02:00", 1_795_804_235),
            ("2026-11-27T17:30:35-01:00", 1_795_804_235),
        ] {
            assert_eq!(time_us(text).map(|us| us / 1_000_000), Some(seconds), "{text}");
        }
        for text in [
            "",
            "2026",
            "2026-11-27",
            "2026-13-27T00:00:00Z",
            "2026-11-27T00:00Z",
            "xT:Z",
            "2026-11-27T1é:0:0Z",
        ] {
            assert_eq!(time_us(text), None, "{text}");
        }
    }
}
