//! What a call costs over the wire, beside what the same bytes cost without it.
//!
//! ```text
//! cargo run --release -p ftl-wire --example floor [ROUNDS]
//! ```
//!
//! Every path runs over processes of its own with current-thread runtimes, in interleaved rounds; medians are shown,
//! and ratios to a raw echo over a Unix socket in the same run. One caller: all processes are pinned to one core,
//! because the time of a wake-up across cores would hide everything else. 64 callers: nothing is pinned; the raw echo has
//! 64 connections, the wire has one.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to measure with")]

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ftl_core::key::{Instance as Process, RunnerKey};
use ftl_core::{Body, Call, CallError, Digest, Failure, Head, Reply, Secret, VerbService};
use ftl_wire::{
    Address, Authority, Connection, Dispatch, HeadRef, Identity, Listener, Options, Route, Stamp,
    accept_deployment, dial, dial_runner, runner_secret,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BYTES: usize = 100;
const IN_FLIGHT: usize = 64;
const CALLS: usize = 15_000;
const WARM_UP: usize = 500;
const LOADED: Duration = Duration::from_millis(700);
const CALLEE: u64 = 1;
const CALLER: u64 = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("raw") => block_on(raw_echo(&arguments[2])),
        Some("deployment") => block_on(deployment()),
        Some("runner") => block_on(runner(&arguments[2])),
        Some("controller") => block_on(controller()),
        rounds => compare(rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(5)),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

// ---- the processes

async fn raw_echo(path: &str) {
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    println!("ready");
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(read @ 1..) = socket.read(&mut bytes).await {
                if socket.write_all(&bytes[..read]).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Replies with the request.
#[derive(Debug)]
struct Echo;

#[async_trait]
impl VerbService for Echo {
    async fn ping(&self, _: tokio::time::Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        Ok(Reply::new(call.body))
    }
}

#[derive(Debug)]
struct Serve(Arc<dyn VerbService>);

impl Dispatch for Serve {
    fn dispatch(&self, _: &HeadRef<'_>) -> Route {
        Route::Serve(self.0.clone())
    }
}

fn echo() -> Arc<dyn Dispatch> {
    Arc::new(Serve(Arc::new(Echo)))
}

#[derive(Debug, Default)]
struct Relay(Mutex<Option<Connection>>);

impl Dispatch for Relay {
    fn dispatch(&self, _: &HeadRef<'_>) -> Route {
        let stamp = Stamp::default();
        self.0.lock().unwrap().clone().map_or(Route::Serve(Arc::new(Echo)), |to| Route::Relay { to, stamp })
    }
}

async fn deployment() {
    let stdin = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 0).unwrap();
    let connection =
        dial_runner(UnixStream::from(stdin), Digest::of(b""), echo(), &Options::default()).await.unwrap();
    connection.closed().await;
}

fn start_deployment() -> (Group, UnixStream) {
    let (ours, theirs) = ftl_wire::pair().unwrap();
    (Group::start(&["deployment"], Stdio::from(theirs)), ours)
}

fn identity(runner: u64) -> Identity {
    let secret = runner_secret(&Secret::new([7; 32]), &"bench".parse().unwrap(), RunnerKey(runner));
    Identity::new(RunnerKey(runner), Process([0; 16]), secret)
}

async fn runner(address: &str) {
    let (_deployment, socket) = start_deployment();
    let relay = Arc::new(Relay::default());
    let below = accept_deployment(socket, echo(), &Options::default()).await.unwrap();
    *relay.0.lock().unwrap() = Some(below);
    let address: Address = address.parse().unwrap();
    let above = dial(&address, &identity(CALLEE), relay, &Options::default()).await.unwrap();
    println!("ready");
    above.closed().await;
}

/// Hands the calls of one Runner to the other.
#[derive(Debug, Default)]
struct Controller(Arc<Relay>);

impl Authority for Controller {
    fn secret(&self, runner: RunnerKey) -> Secret {
        runner_secret(&Secret::new([7; 32]), &"bench".parse().unwrap(), runner)
    }

    fn wanted(&self, _: RunnerKey, _: Process) -> bool {
        true
    }

    fn connected(&self, connection: &Connection) -> Arc<dyn Dispatch> {
        if matches!(connection.peer(), ftl_wire::Peer::Runner { key: RunnerKey(CALLEE), .. }) {
            *self.0.0.lock().unwrap() = Some(connection.clone());
        }
        self.0.clone()
    }
}

async fn controller() {
    let listener = Listener::bind_private("bench").unwrap();
    println!("{}", listener.address());
    let serving = tokio::spawn(listener.serve(Arc::new(Controller::default()), Options::default()));
    // Standard input ends with the bench.
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
    serving.abort();
}

// ---- starting them

/// A process that ends with this value.
struct Group {
    child: Child,
    input: Option<ChildStdin>,
}

impl Group {
    fn start(arguments: &[&str], input: Stdio) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.args(arguments).stdin(input).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        Self { child, input }
    }

    /// The first line that it says.
    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.input.take().is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// A way to send 100 bytes and to get them back.
enum Path {
    Raw(std::path::PathBuf),
    OneSocket(Option<OwnedFd>),
    TwoRelays(Address),
}

fn start(name: &str, directory: &std::path::Path) -> (Vec<Group>, Path) {
    match name {
        "raw" => {
            let path = directory.join("raw");
            let _ = std::fs::remove_file(&path);
            let mut echo = Group::start(&["raw", path.to_str().unwrap()], Stdio::null());
            echo.line();
            (vec![echo], Path::Raw(path))
        }
        "one socket" => {
            let (deployment, socket) = start_deployment();
            (vec![deployment], Path::OneSocket(Some(socket.into())))
        }
        _ => {
            let mut controller = Group::start(&["controller"], Stdio::piped());
            let address = controller.line();
            let mut runner = Group::start(&["runner", &address], Stdio::null());
            runner.line();
            (vec![runner, controller], Path::TwoRelays(address.parse().unwrap()))
        }
    }
}

async fn connect(path: &mut Path) -> Option<Connection> {
    let options = Options::default();
    match path {
        Path::Raw(_) => None,
        Path::OneSocket(socket) => {
            let socket = UnixStream::from(socket.take().unwrap());
            Some(accept_deployment(socket, echo(), &options).await.unwrap())
        }
        Path::TwoRelays(address) => Some(dial(address, &identity(CALLER), echo(), &options).await.unwrap()),
    }
}

// ---- measuring them

#[derive(Clone, Copy, Default)]
struct Figures {
    p50: f64,
    p99: f64,
    rate: f64,
}

fn figures(mut nanos: Vec<u64>, elapsed: Duration) -> Figures {
    nanos.sort_unstable();
    let at = |part: f64| nanos[((nanos.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    Figures { p50: at(0.5), p99: at(0.99), rate: nanos.len() as f64 / elapsed.as_secs_f64() }
}

fn a_call() -> Call {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(25);
    let head = Head::new("echo.echo".parse().unwrap(), "r-1".parse().unwrap(), deadline);
    Call::new(head, Body::once(vec![7; BYTES]))
}

async fn call_once(connection: &Connection, call: &Call) -> u64 {
    let start = Instant::now();
    connection.call(call.clone()).await.unwrap();
    start.elapsed().as_nanos() as u64
}

async fn raw_once(socket: &mut tokio::net::UnixStream, bytes: &mut [u8; BYTES]) -> u64 {
    let start = Instant::now();
    socket.write_all(bytes).await.unwrap();
    socket.read_exact(bytes).await.unwrap();
    start.elapsed().as_nanos() as u64
}

async fn one_caller(mut path: Path) -> Figures {
    let connection = connect(&mut path).await;
    let (mut nanos, mut begin) = (Vec::with_capacity(CALLS), Instant::now());
    let (call, mut bytes) = (a_call(), [7; BYTES]);
    let mut raw = match &path {
        Path::Raw(path) => Some(tokio::net::UnixStream::connect(path).await.unwrap()),
        _ => None,
    };
    for round in 0..WARM_UP + CALLS {
        if round == WARM_UP {
            (nanos, begin) = (Vec::with_capacity(CALLS), Instant::now());
        }
        nanos.push(match (&connection, &mut raw) {
            (Some(connection), _) => call_once(connection, &call).await,
            (None, Some(socket)) => raw_once(socket, &mut bytes).await,
            (None, None) => unreachable!("a path is one or the other"),
        });
    }
    figures(nanos, begin.elapsed())
}

async fn many_callers(mut path: Path) -> Figures {
    let connection = connect(&mut path).await;
    let begin = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (connection, raw) = (
            connection.clone(),
            match &path {
                Path::Raw(path) => Some(path.clone()),
                _ => None,
            },
        );
        callers.spawn(async move {
            let (mut nanos, call, mut bytes) = (Vec::new(), a_call(), [7; BYTES]);
            let mut socket = match raw {
                Some(path) => Some(tokio::net::UnixStream::connect(path).await.unwrap()),
                None => None,
            };
            while begin.elapsed() < LOADED {
                nanos.push(match (&connection, &mut socket) {
                    (Some(connection), _) => call_once(connection, &call).await,
                    (None, Some(socket)) => raw_once(socket, &mut bytes).await,
                    (None, None) => unreachable!("a path is one or the other"),
                });
            }
            nanos
        });
    }
    let mut nanos = Vec::new();
    while let Some(done) = callers.join_next().await {
        nanos.extend(done.unwrap());
    }
    figures(nanos, begin.elapsed())
}

fn median(rounds: &[Figures]) -> Figures {
    let middle = |of: fn(&Figures) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Figures { p50: middle(|f| f.p50), p99: middle(|f| f.p99), rate: middle(|f| f.rate) }
}

fn compare(rounds: usize) {
    let directory = tempfile::tempdir().unwrap();
    let names = ["raw", "one socket", "two relays"];
    let (mut one, mut many) = (vec![Vec::new(); names.len()], vec![Vec::new(); names.len()]);
    let everywhere = sched_getaffinity(None).unwrap();
    let mut one_core = CpuSet::new();
    one_core.set((0..CpuSet::MAX_CPU).find(|core| everywhere.is_set(*core)).unwrap());
    for _ in 0..rounds {
        for (index, name) in names.iter().enumerate() {
            // Children inherit where their parent may run.
            sched_setaffinity(None, &one_core).unwrap();
            let (_processes, path) = start(name, directory.path());
            one[index].push(block_on(one_caller(path)));
            sched_setaffinity(None, &everywhere).unwrap();
            let (_processes, path) = start(name, directory.path());
            many[index].push(block_on(many_callers(path)));
        }
    }
    println!(
        "{:12} {:>22} {:>8} | {:>26} {:>8}",
        "", "one caller: p50 (×raw)", "p99 µs", "64 in flight: /s (×raw)", "p50 µs"
    );
    let (raw_one, raw_many) = (median(&one[0]), median(&many[0]));
    for (index, name) in names.iter().enumerate() {
        let (one, many) = (median(&one[index]), median(&many[index]));
        println!(
            "{name:12} {:12.1} µs ({:5.2}) {:8.1} | {:17.0} ({:6.2}) {:8.1}",
            one.p50,
            one.p50 / raw_one.p50,
            one.p99,
            many.rate,
            many.rate / raw_many.rate,
            many.p50
        );
    }
}
