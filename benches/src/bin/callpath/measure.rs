//! The rounds: every row once in each, so that what disturbs the machine disturbs all rows alike.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::floor::{Floor, echo};
use crate::peer::{Caller, Deployment, payload, register};
use crate::system::{System, module};
use benches::processes::{Pinned, cpu};

/// Calls of one caller in a round, after as many to warm up as a tenth of it.
const ONE: usize = 3000;
/// How many calls are in flight in a loaded row.
const MANY: usize = 64;
/// Calls of each of them in a round.
const EACH: usize = 400;

/// What a row has measured.
#[derive(Clone, Debug, Default)]
struct Row {
    name: &'static str,
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
    rate: Vec<f64>,
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn take(&mut self, mut latencies: Vec<Duration>, took: Duration, spent: Duration) {
        latencies.sort();
        let at = |share: f64| micros(latencies[((latencies.len() - 1) as f64 * share) as usize]);
        self.p50.push(at(0.5));
        self.p99.push(at(0.99));
        self.cpu.push(micros(spent) / latencies.len() as f64);
        self.rate.push(latencies.len() as f64 / took.as_secs_f64());
    }
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Everything that is measured.
struct Bench {
    runtime: Runtime,
    floor: Floor,
    sent: Vec<u8>,
    deployment: Deployment,
    one_socket: Caller,
    routed: Caller,
    nested: Caller,
    system: System,
}

impl Bench {
    fn start(ftl: &Path, directory: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let system = System::start(ftl);
        for name in ["echo", "hop"] {
            system.deploy(ftl, &format!("benches/modules/{name}"));
        }
        let (mut deploying, boot) = system.deploy_caller(ftl);
        let peer = runtime.block_on(async {
            let peer = register(&boot).await;
            tokio::task::spawn_blocking(move || assert!(deploying.wait().unwrap().success())).await.unwrap();
            peer
        });
        let deployment = runtime.block_on(Deployment::start(&module("echo")));
        let one_socket = Caller::new(deployment.connection.clone(), "echo.answer", None);
        let routed = Caller::new(peer.clone(), "echo.answer", Some("caller.call"));
        let nested = Caller::new(peer, "hop.ask", Some("caller.call"));
        let floor = Floor::start(directory);
        let sent = serde_json::to_vec(&payload()).unwrap();
        Self { runtime, floor, sent, deployment, one_socket, routed, nested, system }
    }

    fn round(&self, one: &mut [Row; 4], many: &mut [Row; 4]) {
        let floor = [self.floor.child.id()];
        let deployment = [self.deployment.child.id()];
        let system = self.system.processes();
        let callers = [(&self.one_socket, &deployment[..]), (&self.routed, &system), (&self.nested, &system)];
        {
            let _pinned = Pinned::to_one_core(&[&system[..], &floor, &deployment].concat());
            self.runtime.block_on(async {
                let mut stream = self.floor.connect().await;
                one_caller(&mut one[0], &floor, async || echo(&mut stream, &self.sent).await).await;
                for (row, (caller, pids)) in one[1..].iter_mut().zip(callers) {
                    one_caller(row, pids, async || caller.call().await).await;
                }
            });
        }
        self.runtime.block_on(async {
            let mut streams = Vec::new();
            for _ in 0..MANY {
                streams.push(self.floor.connect().await);
            }
            let lanes = streams.into_iter().map(|mut stream| {
                let sent = self.sent.clone();
                lane(async move || {
                    echo(&mut stream, &sent).await;
                })
            });
            many_callers(&mut many[0], &floor, lanes).await;
            for (row, (caller, pids)) in many[1..].iter_mut().zip(callers) {
                let lanes = (0..MANY).map(|_| {
                    let caller = caller.clone();
                    lane(async move || caller.call().await)
                });
                many_callers(row, pids, lanes).await;
            }
        });
    }
}

async fn one_caller(row: &mut Row, pids: &[u32], mut call: impl AsyncFnMut()) {
    for _ in 0..ONE / 10 {
        call().await;
    }
    let (before, start) = (cpu(pids), Instant::now());
    let mut latencies = Vec::with_capacity(ONE);
    for _ in 0..ONE {
        let sent = Instant::now();
        call().await;
        latencies.push(sent.elapsed());
    }
    row.take(latencies, start.elapsed(), cpu(pids).saturating_sub(before));
}

/// One of many callers at once: its calls, one after another.
async fn lane(mut call: impl AsyncFnMut()) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(EACH);
    for _ in 0..EACH {
        let sent = Instant::now();
        call().await;
        latencies.push(sent.elapsed());
    }
    latencies
}

async fn many_callers<L>(row: &mut Row, pids: &[u32], lanes: impl Iterator<Item = L>)
where
    L: Future<Output = Vec<Duration>> + 'static,
{
    let (before, start) = (cpu(pids), Instant::now());
    let local = tokio::task::LocalSet::new();
    let latencies = local
        .run_until(async {
            let mut running = JoinSet::new();
            lanes.for_each(|lane| {
                running.spawn_local(lane);
            });
            running.join_all().await.concat()
        })
        .await;
    row.take(latencies, start.elapsed(), cpu(pids).saturating_sub(before));
}

/// Measures and prints all rows.
pub(crate) fn report(ftl: &Path, rounds: usize) {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(ftl, directory.path());
    let names = [
        "raw UDS echo",
        "one socket: client → Deployment",
        "peer → Controller → Runner → Deployment",
        "the nested reference route",
    ];
    let (mut one, mut many) = (names.map(Row::new), names.map(Row::new));
    for _ in 0..rounds {
        bench.round(&mut one, &mut many);
    }
    print("one caller, everything on one core", &one, |row, floor| median(&row.p50) / median(&floor.p50));
    print("64 in flight (the echo: 64 connections)", &many, |row, floor| {
        median(&row.rate) / median(&floor.rate)
    });
    println!(
        "\ngoals: one socket ≤ 1.5 × p50; Controller → Runner → Deployment ≤ 4.5 × p50, ≥ 1 × the echo's calls/s at 64"
    );
}

/// Keeps the route from the peer to a Deployment loaded for so long. CPU is that of all processes, this one too.
pub(crate) fn load(ftl: &Path, span: Duration) {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(ftl, directory.path());
    let mut pids = bench.system.processes();
    pids.push(std::process::id());
    let (mut row, start) = (Row::new("peer → Controller → Runner → Deployment"), Instant::now());
    bench.runtime.block_on(async {
        while start.elapsed() < span {
            let lanes = (0..MANY).map(|_| {
                let caller = bench.routed.clone();
                lane(async move || caller.call().await)
            });
            many_callers(&mut row, &pids, lanes).await;
        }
    });
    print("64 in flight", &[row], |_, _| 1.0);
}

fn print(title: &str, rows: &[Row], ratio: impl Fn(&Row, &Row) -> f64) {
    println!("\n{title}");
    println!("{:42}{:>8}{:>10}{:>10}{:>10}{:>12}", "", "ratio", "p50 µs", "p99 µs", "CPU µs", "calls/s");
    for row in rows {
        println!(
            "{:42}{:>7.2}×{:>10.1}{:>10.1}{:>10.2}{:>12.0}",
            row.name,
            ratio(row, &rows[0]),
            median(&row.p50),
            median(&row.p99),
            median(&row.cpu),
            median(&row.rate)
        );
    }
}
