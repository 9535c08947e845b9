//! Log lines of this process: to standard error for people, and as JSON to one file for all processes of a run.

use std::fs::OpenOptions;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::CliError;

/// Which events are recorded, as `info,ftl_controller=debug,ftl::sequence=trace`.
pub(crate) const LEVEL_VARIABLE: &str = "FTL_LOG";
/// A file to which every process of a run appends its events, one JSON object a line.
pub(crate) const FILE_VARIABLE: &str = "FTL_LOG_FILE";

/// What it means that the file cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Whoever named it is told.
    Refused,
    /// It is said, and that is all: a Runner may have been started where the file of the others is not.
    Said,
}

/// Starts recording; `default` holds where the environment says nothing.
pub(crate) fn start(default: LevelFilter, missing: Missing) -> Result<(), CliError> {
    let targets = match std::env::var(LEVEL_VARIABLE) {
        Ok(text) => text.parse::<Targets>().map_err(|error| {
            CliError::usage(format!("{LEVEL_VARIABLE} cannot be read"))
                .because(error)
                .hint("write `info` or `info,target=trace`")
        })?,
        Err(_) => Targets::new().with_default(default),
    };
    let file = std::env::var_os(FILE_VARIABLE).map(|path| {
        OpenOptions::new().append(true).create(true).open(&path).map_err(|error| {
            CliError::failed(format!("the log file {} cannot be opened", path.display())).because(error)
        })
    });
    // The file gets everything that is asked for; standard error leaves out the sequences, which are for tests.
    let people = Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_target(ftl_core::sequence::TARGET, LevelFilter::OFF);
    // A log that nobody can read must not end the process: by itself, the layer would complain there, and panic.
    let people_layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let stderr = people_layer.with_filter(people);
    let (file, unopened) = match file.transpose() {
        Err(error) if missing == Missing::Said => (None, Some(error)),
        opened => (opened?, None),
    };
    let json = file.map(|file| {
        let layer = tracing_subscriber::fmt::layer().json().with_writer(Mutex::new(file));
        layer.log_internal_errors(false)
    });
    // A second start in one process changes nothing, and there is none.
    // What is not asked for is turned off for all, outermost, because then it costs nothing where it would be recorded.
    let _ = tracing_subscriber::registry().with(stderr).with(json).with(targets).try_init();
    if let Some(error) = unopened {
        tracing::warn!("{error}");
    }
    Ok(())
}
