//! What a start in a container costs beside a bare container of the same image, and what a Runner weighs there.
//!
//! `cargo run --release -p benches --bin container [ROUNDS]`, with a Docker Engine. In turn, a replica of an 8 MB module is
//! created and a bare container is run with the Runner's own image; both are the engine's work, so only what comes on
//! top of the bare run is ours.

#![allow(clippy::print_stdout, reason = "a program that reports")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot run says so by ending"
)]

mod bare;
mod system;

use std::time::Duration;

use system::System;

/// Rounds, unless the command line says otherwise.
const ROUNDS: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds = std::env::args().nth(1).map_or(ROUNDS, |rounds| rounds.parse().expect("give a number"));
    let system = System::start();
    let image = bare::image_of(system::CLUSTER).await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        theirs.push(bare::run(&image, round).await);
        ours.push(system.add_replica().await);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let goal = theirs.mul_f64(1.25) + Duration::from_millis(60);
    println!("{rounds} rounds, medians, in turn");
    println!("bare container, create → it has written a line   {:>7.1} ms", ms(theirs));
    println!(
        "8 MB module, create → Deployed                   {:>7.1} ms   goal ≤ {:.1}",
        ms(ours),
        ms(goal)
    );
    let runner = bare::memory_of_runner(system::CLUSTER).await;
    println!("Runner in its container (RSS)                    {:>7.1} MB   goal ≤ 12", runner as f64 / 1e6);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
