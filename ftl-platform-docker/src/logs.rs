//! What an instance wrote: the engine's frames, cut into lines.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptionsBuilder;
use ftl_core::controller::BoxStream;
use ftl_core::output::Lines;
use ftl_core::platform::{ErrorKind, LogOptions, PlatformError};
use ftl_core::runner::{OutputLine, Stream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::connect::Engine;
use crate::error::{Doing, refused, timed_out};
use crate::init;

/// The engine keeps a long line in parts of 16 KiB, and counts those when asked for the newest lines. So many more are
/// asked for that a line of a mebibyte is still whole.
const PARTS_MORE: usize = 128;
/// Lines are handed on in batches of so many …
const BATCH_LINES: usize = 128;
/// … or after so long: nobody reads faster.
const BATCH_TIME: Duration = Duration::from_millis(5);
/// Batches that wait for a reader; a slower one slows down nobody but itself.
const BATCHES_MAX: usize = 4;
/// The last lines of standard output among which is the init process's.
const INIT_LINES: &str = "8";
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
    let (batches, received) = mpsc::channel(BATCHES_MAX);
    let reader = Reader {
        frames: Box::pin(frames),
        out: Lines::new(Stream::Stdout),
        err: Lines::new(Stream::Stderr),
        second: (Vec::new(), 0),
        batch: Vec::new(),
        failed: None,
        heard: true,
        follow: options.follow,
        ended: false,
    };
    // A task: the driver hands on each frame by itself, and waking another thread for each costs more than reading it.
    // It ends with the output, or when nobody reads.
    tokio::spawn(reader.pump(engine, batches));
    let lines = lines(received);
    match options.tail {
        Some(count) if !options.follow => newest(lines, count).await,
        _ => Ok(lines),
    }
}

/// The lines of batches, one by one.
fn lines(received: mpsc::Receiver<Batch>) -> BoxStream<Result<OutputLine, PlatformError>> {
    let batches = futures_util::stream::unfold(received, |mut received| async {
        let (lines, failed) = received.recv().await?;
        let failed = failed.map(Err);
        Some((futures_util::stream::iter(lines.into_iter().map(Ok).chain(failed)), received))
    });
    Box::pin(batches.flatten())
}

/// The code with which a container's program ended, if its init process says so in its last line.
pub(crate) async fn exit_code(engine: &Engine, container: &str) -> Result<Option<i32>, PlatformError> {
    let options = LogsOptionsBuilder::new().stdout(true).tail(INIT_LINES).build();
    let read = |client: Docker| {
        let frames = client.logs(container, Some(options.clone()));
        async move { frames.try_collect::<Vec<_>>().await }
    };
    let lines = match engine.read(WHAT, read).await {
        Ok(frames) => frames.into_iter().map(|frame| frame.to_string()),
        // Gone meanwhile: nobody is told of it.
        Err(error) if error.kind == ErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(lines.filter_map(|line| init::exit_code(line.trim_end())).next_back())
}

/// The last `count` lines of what is there.
async fn newest(
    mut lines: BoxStream<Result<OutputLine, PlatformError>>,
    count: usize,
) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
    let mut kept = VecDeque::new();
    while let Some(line) = lines.next().await {
        kept.push_back(line?);
        if kept.len() > count {
            kept.pop_front();
        }
    }
    Ok(Box::pin(futures_util::stream::iter(kept.into_iter().map(Ok))))
}

/// Lines, and why there are no more.
type Batch = (Vec<OutputLine>, Option<PlatformError>);
/// What the driver reads.
type Frames = Pin<Box<dyn futures_util::Stream<Item = Result<LogOutput, Error>> + Send>>;

/// Cuts frames into lines.
struct Reader {
    frames: Frames,
    out: Lines,
    err: Lines,
    /// The last second in a frame's time, as written and in microseconds since 1970: the next frame's is the same.
    second: (Vec<u8>, i64),
    batch: Vec<OutputLine>,
    failed: Option<PlatformError>,
    /// Whether there was a frame since it was last asked.
    heard: bool,
    follow: bool,
    ended: bool,
}

impl Reader {
    /// Reads to the end, and hands on lines in batches.
    async fn pump(mut self, engine: Arc<Engine>, to: mpsc::Sender<Batch>) {
        let silence = engine.timings.silence;
        let (flush, watchdog) = (sleep(BATCH_TIME), sleep(silence));
        tokio::pin!(flush, watchdog);
        while !self.ended {
            let was_empty = self.batch.is_empty();
            tokio::select! {
                biased;
                frame = self.frames.next() => self.take_next(frame),
                () = &mut flush, if !was_empty => {}
                () = &mut watchdog => {
                    watchdog.as_mut().reset(Instant::now() + silence);
                    self.look(&engine).await;
                    continue;
                }
                () = to.closed() => return,
            }
            let is_due = self.ended || self.batch.len() >= BATCH_LINES || flush.is_elapsed();
            if was_empty && !self.ended {
                flush.as_mut().reset(Instant::now() + BATCH_TIME);
            } else if is_due && to.send((std::mem::take(&mut self.batch), self.failed.take())).await.is_err()
            {
                return;
            }
        }
        // Nobody may be there to take the rest.
        let _ = to.send((self.batch, self.failed)).await;
    }

    /// Nothing was written for a while, or the engine is frozen: then it would be silent for ever.
    async fn look(&mut self, engine: &Engine) {
        if std::mem::take(&mut self.heard) {
            return;
        }
        if !self.follow {
            self.fail(timed_out(WHAT, Doing::Reading, Some(engine.timings.silence)));
        } else if let Err(error) = engine.ping().await {
            self.fail(error);
        }
    }

    fn take_next(&mut self, frame: Option<Result<LogOutput, Error>>) {
        self.heard = true;
        match frame {
            Some(Ok(frame)) => self.take(frame),
            Some(Err(error)) => self.fail(refused(WHAT, Doing::Reading, error)),
            None => self.finish(),
        }
    }

    fn take(&mut self, frame: LogOutput) {
        let (lines, message) = match frame {
            LogOutput::StdErr { message } => (&mut self.err, message),
            LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
                (&mut self.out, message)
            }
        };
        let (at_us, text) = split(&message, &mut self.second).unwrap_or_else(|| (now_us(), &message));
        lines.take(text, at_us, |mut line| {
            if line.stream == Stream::Stdout
                && let Some(own) = init::before(&line.text)
            {
                // It writes into the program's last line, if that has no end.
                line.text.truncate(own);
                if own == 0 {
                    return;
                }
            }
            self.batch.push(line);
        });
    }

    fn finish(&mut self) {
        self.ended = true;
        let now = now_us();
        self.batch.extend([self.out.finish(now), self.err.finish(now)].into_iter().flatten());
    }

    /// What was read before is told first.
    fn fail(&mut self, error: PlatformError) {
        self.ended = true;
        self.failed = Some(error);
    }
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// Takes the time off a frame: `2026-01-02T03:04:05.678901234Z text`.
///
/// Nearly always it is another moment of the same second, which is quicker read.
fn split<'frame>(frame: &'frame [u8], second: &mut (Vec<u8>, i64)) -> Option<(i64, &'frame [u8])> {
    if !second.0.is_empty()
        && frame.starts_with(&second.0)
        && let Some((fraction, rest)) = frame[second.0.len()..].split_first_chunk::<11>()
        && let [b'.', digits @ .., b'Z'] = fraction
        && digits.iter().all(u8::is_ascii_digit)
        && let [b' ', text @ ..] = rest
    {
        let micros = digits[..6].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        return Some((second.1 + micros, text));
    }
    let blank = frame.iter().position(|byte| *byte == b' ')?;
    let time = std::str::from_utf8(&frame[..blank]).ok()?;
    let at_us = time_us(time)?;
    second.0.clear();
    if let Some((written, _)) = time.split_once('.').filter(|(_, fraction)| fraction.ends_with('Z')) {
        second.0.extend_from_slice(written.as_bytes());
        second.1 = at_us.div_euclid(1_000_000) * 1_000_000;
    }
    Some((at_us, &frame[blank + 1..]))
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
        let mut second = (Vec::new(), 0);
        let mut read = |frame: &'static [u8]| split(frame, &mut second);
        for _ in 0..2 {
            assert_eq!(read(b"1970-01-01T00:00:01.000002999Z a b"), Some((1_000_002, &b"a b"[..])));
            assert_eq!(read(b"1970-01-01T00:00:01.900000000Z "), Some((1_900_000, &b""[..])));
            assert_eq!(read(b"1970-01-01T00:00:02.1Z c"), Some((2_100_000, &b"c"[..])));
            assert_eq!(read(b"1970-01-01T01:00:02.5+01:00 d"), Some((2_500_000, &b"d"[..])));
            assert_eq!(read(b"1970-01-01T01:00:02.500000000Z e"), Some((3_602_500_000, &b"e"[..])));
            assert_eq!(read(b"no time at all"), None);
            assert_eq!(read(b""), None);
        }
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
