//! What the processes weigh, and how long a start takes: `ftl serve` with `examples/hello`, as an operator runs it.

use std::path::Path;
use std::time::Duration;

use benches::processes::{descendants, memory, name};
use benches::serve::{Serve, seconds};

/// How long after everything is ready memory is looked at.
const SETTLED: Duration = Duration::from_secs(10);

pub(crate) fn report(ftl: &Path) {
    let serve = Serve::start(ftl, &[]);
    serve.deploy("examples/hello/clock", &[]);
    let start = start_of(&serve.messages());
    serve.deploy("examples/hello", &[]);
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
fn start_of(messages: &[serde_json::Value]) -> Duration {
    let at = |message: &str, id: Option<&str>| {
        let found = messages.iter().find(|line| {
            let fields = &line["fields"];
            fields["message"] == message && id.is_none_or(|id| fields["id"] == id)
        });
        seconds(found.unwrap())
    };
    Duration::from_secs_f64(at("UpdateRoutingTable", Some("1")) - at("CreateRunner", None))
}
