//! Log lines of user code: to standard error, where the Runner reads them, and as JSON to one file for all processes
//! of a run.
//!
//! Every line that is written while a verb runs names its call, with `request=…`. It looks as if each call had a span;
//! but a span costs more than a call, and most calls log nothing.

use std::fmt;
use std::fs::OpenOptions;
use std::panic::PanicHookInfo;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{self, Format, Full, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::current;

/// Which events are recorded, as `info,greeter=debug,ftl::sequence=trace`.
const LEVEL_VARIABLE: &str = "FTL_LOG";
/// A file to which every process of a run appends its events, one JSON object a line.
const FILE_VARIABLE: &str = "FTL_LOG_FILE";

/// Starts recording. What cannot be recorded is said and left out: a log must not keep a module from serving.
pub(super) fn start() {
    let asked = std::env::var(LEVEL_VARIABLE).ok();
    let parsed = asked.as_deref().map(str::parse::<Targets>);
    let targets = match &parsed {
        Some(Ok(targets)) => targets.clone(),
        Some(Err(_)) | None => Targets::new().with_default(LevelFilter::INFO),
    };
    // The lines of a call name it without the span that other processes have.
    let targets = targets.with_target(ftl_wire::CALL_SPAN_TARGET, LevelFilter::OFF);
    let file =
        std::env::var_os(FILE_VARIABLE).map(|path| OpenOptions::new().append(true).create(true).open(path));
    // The file gets everything that is asked for; standard error leaves out the sequences, which are for tests.
    let people = Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_target(ftl_core::sequence::TARGET, LevelFilter::OFF);
    let stderr = tracing_subscriber::fmt::layer()
        .event_format(ForPeople(format::format().without_time().with_level(false)))
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .with_filter(people);
    let json = file.as_ref().and_then(|file| file.as_ref().ok()?.try_clone().ok()).map(|file| {
        tracing_subscriber::fmt::layer()
            .json()
            .event_format(ForPrograms(format::json()))
            .with_writer(Mutex::new(file))
    });
    // A second start in one process changes nothing.
    // What is not asked for is turned off for all, outermost, because then it costs nothing where it would be recorded.
    let _ = tracing_subscriber::registry().with(stderr).with(json).with(targets).try_init();
    if let Some(Err(error)) = parsed {
        tracing::warn!(%error, "{LEVEL_VARIABLE} cannot be read, so it is `info`");
    }
    if let Some(Err(error)) = file {
        tracing::warn!(%error, "the file that {FILE_VARIABLE} names cannot be opened");
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// A panic as a log line, so that it carries the request like every other.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("(no message)");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(target: "ftl::panic", place, "panicked: {text}");
}

/// Lines as `TIME LEVEL call{request=r-1 verb=clock.now}: target: message`, with the user's own spans behind the call.
struct ForPeople(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for ForPeople
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} ", event.metadata().level())?;
        current::describe(|call| {
            write!(writer, "call{{request={} verb={}}}: ", call.request_id(), call.verb())
        })?;
        self.0.format_event(context, writer, event)
    }
}

/// Lines as `{"request":"r-1","verb":"clock.now","timestamp":…}`.
struct ForPrograms(Format<Json>);

impl<S, N> FormatEvent<S, N> for ForPrograms
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut object = String::new();
        self.0.format_event(context, Writer::new(&mut object), event)?;
        let Some(members) = object.strip_prefix('{') else { return writer.write_str(&object) };
        writer.write_char('{')?;
        // Neither an id nor a name has a character that JSON would have to escape.
        current::describe(|call| {
            write!(writer, r#""request":"{}","verb":"{}","#, call.request_id(), call.verb())
        })?;
        writer.write_str(members)
    }
}
