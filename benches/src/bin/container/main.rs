//! What a start in a container costs beside a bare container of the same image, and what a Runner weighs there.
//!
//! `cargo run --release -p benches --bin container [ROUNDS]`, with a Docker Engine and its command. In turn, a replica of
//! an 8 MB module is created, and a bare container of the Runner's own image is run by `docker run` and over the engine's
//! API, which spares the time of the command. What comes on top of them is ours.

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
    let (mut ours, mut commands, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        commands.push(bare::run_by_command(&image));
        bare.push(bare::run(&image, round).await);
        ours.push(system.add_replica().await);
    }
    let (ours, command, bare) = (median(ours), median(commands), median(bare));
    let row = |name: &str, time: Duration, more: String| println!("{name:48}{:>8.1} ms{more}", ms(time));
    println!("{rounds} rounds, medians, in turn");
    row("bare, `docker run` → its line", command, String::new());
    row("bare, over the API, create → its line", bare, String::new());
    let goal = |bare: Duration| ms(bare.mul_f64(1.25)) + 60.0;
    let goals = format!("   goal ≤ {:.1} (beside the API {:.1})", goal(command), goal(bare));
    row("8 MB module, create → Deployed", ours, goals);
    let runner = bare::memory_of_runner(system::CLUSTER).await;
    println!("{:48}{:>8.1} MB   goal ≤ 12", "Runner in its container (RSS)", runner as f64 / 1e6);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
