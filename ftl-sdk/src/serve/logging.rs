//! Log lines of user code: to standard error, where the Runner reads them, and as JSON to one file for all processes
//! of a run.
//!
//! Every line that is written while a verb runs carries the span of its call, and in it `request=…`.

use std::fs::OpenOptions;
use std::panic::PanicHookInfo;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Which events are recorded, as `info,greeter=debug,ftl::sequence=trace`.
const LEVEL_VARIABLE: &str = "FTL_LOG";
/// A file to which every process of a run appends its events, one JSON object a line.
const FILE_VARIABLE: &str = "FTL_LOG_FILE";
/// The target of the spans around calls: always on, or lines would lose the request that they belong to.
pub(super) const CALL_TARGET: &str = "ftl::call";

/// Starts recording. What cannot be recorded is said and left out: a log must not keep a module from serving.
pub(super) fn start() {
    let asked = std::env::var(LEVEL_VARIABLE).ok();
    let parsed = asked.as_deref().map(str::parse::<Targets>);
    let targets = match &parsed {
        Some(Ok(targets)) => targets.clone(),
        Some(Err(_)) | None => Targets::new().with_default(LevelFilter::INFO),
    };
    let targets = targets.with_target(CALL_TARGET, LevelFilter::ERROR);
    let file =
        std::env::var_os(FILE_VARIABLE).map(|path| OpenOptions::new().append(true).create(true).open(path));
    // The file gets everything that is asked for; standard error leaves out the sequences, which are for tests.
    let people = targets.clone().with_target(ftl_core::sequence::TARGET, LevelFilter::OFF);
    let stderr =
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr).with_filter(people);
    let json = file.as_ref().and_then(|file| file.as_ref().ok()?.try_clone().ok()).map(|file| {
        tracing_subscriber::fmt::layer().json().with_writer(Mutex::new(file)).with_filter(targets)
    });
    // A second start in one process changes nothing.
    let _ = tracing_subscriber::registry().with(stderr).with(json).try_init();
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
