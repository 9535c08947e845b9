//! The `ftl` command: wires everything and decides nothing. The only place that names concrete platforms.
//!
//! `app` is the command line, `commands` has one file for each command, `exit` and `error` say how a command ends,
//! `output` is the only place that prints.

mod app;
mod artefacts;
mod commands;
mod compile;
mod deploying;
mod endpoint;
mod error;
mod exit;
mod fixtures;
mod invoke;
mod logging;
mod manifest;
mod output;
mod serving;
mod workspace;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::app::{App, Command};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Format, Output};

fn main() -> ExitCode {
    let app = match App::try_parse() {
        Ok(app) => app,
        Err(error) => return refuse(error),
    };
    if matches!(app.command, Command::Probe) {
        // Whole and alone: how it ends and what it writes is what is checked.
        return ftl_platform_conformance::probe::main();
    }
    let output = Output::new(app.format);
    match commands::run(app, output) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output.error(&error);
            error.exit.into()
        }
    }
}

/// What clap refuses is wrong usage; what it was asked to print is not.
fn refuse(error: clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return Exit::Ok.into();
    }
    match Format::asked_for(std::env::args_os()) {
        Format::Text => drop(error.print()),
        Format::Json => {
            let text = error.render().to_string();
            Output::new(Format::Json).error(&CliError::usage(text.trim_start_matches("error: ").trim()));
        }
    }
    Exit::Usage.into()
}
