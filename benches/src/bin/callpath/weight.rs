//! What the processes weigh, and how long a start takes: `ftl serve` with `examples/hello`, as an operator runs it.

use std::path::Path;
use std::time::Duration;

use crate::processes::{descendants, memory, name};
use crate::system::Serve;

/// How long after everything is ready memory is looked at.
const SETTLED: Duration = Duration::from_secs(10);

pub(crate) fn report(ftl: &Path) {
    let serve = Serve::start(ftl);
    serve.deploy(ftl, "examples/hello/clock");
    let start = start_of(&std::fs::read_to_string(&serve.log).unwrap());
    serve.deploy(ftl, "examples/hello");
    std::thread::sleep(SETTLED);
    let children = descendants(serve.pid());
    let weigh = |wanted: &str| {
        let of_name = children.iter().filter(|pid| name(**pid) == wanted);
        of_name.map(|pid| memory(*pid)).max().unwrap() as f64 / 1e6
    };
    println!("\nmemory (RSS, {SETTLED:?} after ready)");
    println!("{:42}{:>8.1} MB   goal ≤ 30", "Controller", memory(serve.pid()) as f64 / 1e6);
    println!("{:42}{:>8.1} MB   goal ≤ 12", "Runner", weigh("ftl"));
    println!("{:42}{:>8.1} MB   goal ≤ 10", "clock", weigh("clock"));
    println!("\nstart");
    println!("{:42}{:>8.1} ms   goal ≤ 100", "runner created → route published", start.as_secs_f64() * 1e3);
}

/// From the first `CreateRunner` to the table that routes to it, by the recorded messages.
fn start_of(log: &str) -> Duration {
    let messages: Vec<serde_json::Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let at = |message: &str, id: Option<&str>| {
        let found = messages.iter().find(|line| {
            let fields = &line["fields"];
            fields["message"] == message && id.is_none_or(|id| fields["id"] == id)
        });
        seconds(found.unwrap()["timestamp"].as_str().unwrap())
    };
    Duration::from_secs_f64(at("UpdateRoutingTable", Some("1")) - at("CreateRunner", None))
}

/// The seconds of the day in a time like `2026-11-24T07:00:00.123456Z`.
fn seconds(timestamp: &str) -> f64 {
    let clock = timestamp.split_once('T').unwrap().1.trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}
