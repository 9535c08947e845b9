//! What was written can be read, whole or with what is missing counted.

use std::future::poll_fn;

use ftl_core::PlatformExt;
use ftl_core::controller::BoxStream;
use ftl_core::platform::{Capability, LogOptions, PlatformError};
use ftl_core::runner::{OutputLine, Stream};
use tokio::time::{Instant, sleep, timeout};

use crate::bench::{Bench, Live};
use crate::check::{Check, Flaw, Verdict, ensure};
use crate::probe::Order;

/// Lines that no reader could take at once.
const MANY: u32 = 100_000;
/// A line that is longer than any that is kept, in bytes.
const LONG: usize = 1 << 20;

const IN_ORDER: &str = "logs \"in order per stream; losses are counted in lost_bytes\"";

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "logs::last_words",
        "what was written just before the end is lost",
        "logs \"what an instance wrote, kept until its removal\"",
        |bench| Box::pin(last_words(bench)),
    )
    .needs(Capability::Logs),
    Check::new("logs::counted", "lines get lost and nobody says so", IN_ORDER, |bench| {
        Box::pin(counted(bench))
    })
    .needs(Capability::Logs),
    Check::new("logs::tail", "the newest lines are others than those", IN_ORDER, |bench| {
        Box::pin(tail(bench))
    })
    .needs(Capability::Logs),
    Check::new("logs::odd", "bytes that are no text stop the output", IN_ORDER, |bench| Box::pin(odd(bench)))
        .needs(Capability::Logs),
    Check::new(
        "logs::follow_ends",
        "a reader who follows waits for ever, or is sent away too soon",
        "logs \"ends with follow when the instance has ended\"",
        |bench| Box::pin(follow_ends(bench)),
    )
    .needs(Capability::LogsFollow),
    Check::new(
        "logs::slow_reader",
        "a reader who does not read holds the program up",
        "logs \"kept up to log_bytes_kept\"",
        |bench| Box::pin(slow_reader(bench)),
    )
    .needs(Capability::LogsFollow),
    Check::new(
        "logs::after_exit",
        "output goes with its program",
        "logs_after_exit: output can still be read after the end",
        |bench| Box::pin(after_exit(bench)),
    )
    .needs(Capability::LogsAfterExit),
    Check::new(
        "logs::split",
        "errors and output are one stream",
        "logs_split: standard output and standard error are told apart",
        |bench| Box::pin(split(bench)),
    )
    .needs(Capability::LogsSplit),
];

fn words(text: &str) -> Order {
    Order::Write { stream: Stream::Stdout, bytes: text.as_bytes().to_vec() }
}

/// Reads a stream to its end. Its time begins anew with each line: how many there are is not what is checked.
async fn read_all(
    bench: &Bench,
    mut stream: BoxStream<Result<OutputLine, PlatformError>>,
) -> Result<Vec<OutputLine>, Flaw> {
    let mut lines = Vec::new();
    while let Some(line) = next(bench, &mut stream).await? {
        lines.push(line);
    }
    Ok(lines)
}

/// The next line, or the end.
async fn next(
    bench: &Bench,
    stream: &mut BoxStream<Result<OutputLine, PlatformError>>,
) -> Result<Option<OutputLine>, Flaw> {
    let waited = bench.times.patience;
    let next = poll_fn(|context| stream.as_mut().poll_next(context));
    let next = timeout(waited, next).await;
    let next =
        next.map_err(|_| Flaw::broken(format!("neither a line nor the end came within {waited:?}")))?;
    Ok(next.transpose()?)
}

/// What can be read now.
async fn output(bench: &Bench, live: &Live) -> Result<Vec<OutputLine>, Flaw> {
    read_all(bench, bench.platform.logs(&live.instance, LogOptions::default()).await?).await
}

/// Waits until what can be read ends with this line, for as long as more and more can be read.
async fn read_until(bench: &Bench, live: &Live, last: &str) -> Result<Vec<OutputLine>, Flaw> {
    let mut newest = None;
    let mut deadline = Instant::now() + bench.times.patience;
    loop {
        let stream = bench.platform.logs(&live.instance, LogOptions::tail(1)).await?;
        let seen = read_all(bench, stream).await?.pop().map(|line| line.text);
        if seen.as_deref() == Some(last) {
            return output(bench, live).await;
        }
        if seen != newest {
            newest = seen;
            deadline = Instant::now() + bench.times.patience;
        }
        ensure!(Instant::now() < deadline, "the line {last:?} cannot be read, the newest is {newest:?}");
        sleep(bench.times.look).await;
    }
}

async fn last_words(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.order(words("first\nlast words, without an end")).await?;
    if bench.can(Capability::LogsAfterExit) {
        live.probe.end(Order::Exit { code: 1 }).await?;
        bench.ended(live.key()).await?;
        let lines = bench.platform.tail(&live.instance, 10).await?;
        ensure!(lines == ["first", "last words, without an end"], "its last words were {lines:?}");
        return Ok(());
    }
    live.probe.order(words("\n")).await?;
    read_until(bench, &live, "last words, without an end").await.map(drop)
}

async fn counted(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.order(Order::Count { stream: Stream::Stdout, lines: MANY }).await?;
    let lines = read_until(bench, &live, &(MANY - 1).to_string()).await?;
    let mut next: u32 = 0;
    for line in lines {
        let number: u32 =
            line.text.parse().map_err(|_| Flaw::broken(format!("{:?} was never written", line.text)))?;
        ensure!(number >= next, "line {number} came after line {}", next.saturating_sub(1));
        ensure!(
            number == next || line.lost_bytes > 0,
            "{} lines before {number} are lost and not counted",
            number - next
        );
        next = number + 1;
    }
    Ok(())
}

async fn tail(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.order(words("one\ntwo\nthree\nfour\n")).await?;
    read_until(bench, &live, "four").await?;
    let lines = read_all(bench, bench.platform.logs(&live.instance, LogOptions::tail(2)).await?).await?;
    let lines: Vec<_> = lines.into_iter().map(|line| line.text).collect();
    ensure!(lines == ["three", "four"], "the newest two lines are {lines:?}");
    Ok(())
}

async fn odd(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.order(Order::Long { stream: Stream::Stdout, bytes: LONG }).await?;
    let bytes = b"\0nul\n\xff\xfe\nplain\n".to_vec();
    live.probe.order(Order::Write { stream: Stream::Stdout, bytes }).await?;
    let lines = read_until(bench, &live, "plain").await?;
    let found = lines.iter().map(|line| line.text.bytes().filter(|byte| *byte == b'x').count() as u64);
    let lost = lines.iter().map(|line| line.lost_bytes);
    let told = found.sum::<u64>() + lost.sum::<u64>();
    ensure!(told >= LONG as u64, "of a line of {LONG} bytes only {told} are shown or counted");
    ensure!(lines.iter().any(|line| line.text.contains("nul")), "the line with a NUL is lost");
    Ok(())
}

async fn follow_ends(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    let mut options = LogOptions::default();
    options.follow = true;
    let mut stream = bench.platform.logs(&live.instance, options).await?;
    for text in ["one", "two"] {
        live.probe.order(words(&format!("{text}\n"))).await?;
        match next(bench, &mut stream).await? {
            Some(line) => ensure!(line.text == text, "{:?} came instead of {text:?}", line.text),
            None => return Err(Flaw::broken("the output ended before its program")),
        }
    }
    live.probe.end(Order::Exit { code: 0 }).await?;
    let rest = read_all(bench, stream).await?;
    ensure!(rest.is_empty(), "{} lines came that were never written", rest.len());
    bench.ended(live.key()).await.map(drop)
}

async fn slow_reader(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    let mut options = LogOptions::default();
    options.follow = true;
    let stream = bench.platform.logs(&live.instance, options).await?;
    live.probe.order(Order::Count { stream: Stream::Stdout, lines: MANY }).await?;
    live.probe.end(Order::Exit { code: 0 }).await?;
    bench.ended(live.key()).await?;
    let lines = read_all(bench, stream).await?;
    let last = lines.last().map(|line| line.text.clone()).unwrap_or_default();
    ensure!(last == (MANY - 1).to_string(), "a reader who came late read until {last:?}");
    Ok(())
}

async fn after_exit(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.order(words("still here\n")).await?;
    live.probe.end(Order::Exit { code: 0 }).await?;
    bench.ended(live.key()).await?;
    for _ in 0..2 {
        let lines = output(bench, &live).await?;
        let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        ensure!(texts == ["still here"], "after its end, its output is {texts:?}");
    }
    Ok(())
}

async fn split(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    for (stream, text) in [(Stream::Stdout, "out\n"), (Stream::Stderr, "err\n")] {
        live.probe.order(Order::Write { stream, bytes: text.as_bytes().to_vec() }).await?;
    }
    let both = || async {
        let lines = output(bench, &live).await?;
        Ok((lines.len() >= 2).then_some(lines))
    };
    for line in bench.until("both lines can be read", both).await? {
        let expected = if line.text == "out" { Stream::Stdout } else { Stream::Stderr };
        ensure!(line.stream == expected, "{:?} is told to be of {:?}", line.text, line.stream);
    }
    Ok(())
}

/// Without the claim, output is refused, and not empty.
pub(super) async fn refused(bench: &Bench, claim: Capability) -> Verdict {
    let live = bench.start().await?;
    let mut options = LogOptions::default();
    options.follow = claim == Capability::LogsFollow;
    if claim == Capability::LogsAfterExit {
        live.probe.end(Order::Exit { code: 0 }).await?;
        bench.ended(live.key()).await?;
    }
    match bench.platform.logs(&live.instance, options).await {
        Ok(_) => Err(Flaw::broken(format!("output is answered, although `{claim}` is not claimed"))),
        Err(error) => {
            use ftl_core::platform::ErrorKind::{Missing, Unsupported};
            let gone = claim == Capability::LogsAfterExit && error.kind == Missing;
            ensure!(gone || error.kind == Unsupported, "refused as {:?}, not as Unsupported", error.kind);
            Ok(())
        }
    }
}

/// Without the claim, nothing is told to be of standard error.
pub(super) async fn not_split(bench: &Bench) -> Verdict {
    if !bench.can(Capability::Logs) {
        return refused(bench, Capability::Logs).await;
    }
    let live = bench.start().await?;
    live.probe.order(Order::Write { stream: Stream::Stderr, bytes: b"err\n".to_vec() }).await?;
    let lines = read_until(bench, &live, "err").await?;
    let told = lines.iter().any(|line| line.stream == Stream::Stderr);
    ensure!(!told, "a line is told to be of standard error, although `logs_split` is not claimed");
    Ok(())
}
