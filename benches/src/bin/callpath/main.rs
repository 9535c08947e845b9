//! What a call costs, what the processes weigh, and how long a start takes: all measured side by side, in one run.
//!
//! `cargo run --release -p benches --bin callpath [ROUNDS]`. Absolute times differ from machine to machine; the ratios
//! to the raw echo of the same run are what to keep. Rows with one caller have all their processes on one core,
//! because across cores the floor itself jumps between two values; loaded rows run unpinned.
//!
//! `callpath load SECONDS` does nothing but the loaded route, for a profiler to look at.
//!
//! `floor` is the raw echo, `system` the real processes, `peer` the way into them, `measure` the rounds, `weight` memory
//! and start.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot run says so by ending"
)]

mod controller;
mod floor;
mod measure;
mod peer;
mod system;
mod weight;

use std::process::ExitCode;
use std::time::Duration;

use benches::serve::build;

/// Rounds, unless the command line says otherwise: enough for a median that repeats.
const ROUNDS: usize = 7;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["floor", socket] => floor::serve(socket),
        ["controller", data, boot, ftl] => controller::serve(data, boot, ftl),
        ["load", seconds] => {
            measure::load(&build(), Duration::from_secs(seconds.parse().expect("give seconds")));
        }
        [] => report(ROUNDS),
        [rounds] => report(rounds.parse().expect("give the number of rounds")),
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}

fn report(rounds: usize) {
    let ftl = build();
    println!("{rounds} rounds, medians; CPU is that of all server processes");
    measure::report(&ftl, rounds);
    weight::report(&ftl);
}
