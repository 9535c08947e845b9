//! What runs in the containers: this test binary itself, doing what one line of words says.
//!
//! So it is dynamically linked, and needs no second program that could be stale.

use std::io::{Read, Write};
use std::net::ToSocketAddrs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ftl_core::platform::{Platform, Probe, ProgramSource};
use ftl_platform_docker::Docker;
use tokio::signal::unix::{SignalKind, signal};

/// The environment variable with the words.
pub(crate) const SCRIPT: &str = "FTL_TEST_SCRIPT";

/// How this test binary is told to be the program.
pub(crate) fn args() -> Vec<String> {
    ["program::program", "--exact", "--nocapture", "--test-threads=1"].map(str::to_owned).to_vec()
}

/// A program that is this one.
pub(crate) fn source(path: PathBuf) -> ProgramSource {
    ProgramSource::Binary { path, args: args() }
}

/// Nothing depends on these bytes, so that a copy with others is the same program.
static MARK: [u8; 16] = *b"<the usual bytes";

/// A copy of this program with bytes of its own, and so with an image that no other test uses.
pub(crate) fn copy(directory: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let copy = directory.join("program");
    std::fs::copy(crate::bench::program(), &copy).unwrap();
    let file = std::fs::File::options().write(true).open(&copy).unwrap();
    let own = format!("{:08x}{:08x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    file.write_all_at(own.as_bytes(), place_in_file(std::hint::black_box(&MARK).as_ptr().addr())).unwrap();
    copy
}

/// Where in its file this program has what is at an address.
fn place_in_file(address: usize) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let place = maps.lines().find_map(|line| {
        // `START-END MODE OFFSET …`
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let offset = hex(fields.nth(1)?);
        (hex(start)..hex(end)).contains(&address).then(|| offset + address - hex(start))
    });
    place.unwrap() as u64
}

/// No test: the program.
#[test]
fn program() {
    let Ok(script) = std::env::var(SCRIPT) else { return };
    // The test harness writes without an end of line.
    println!();
    for words in script.split("; ") {
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        step(verb, rest);
    }
    std::process::exit(0);
}

fn step(verb: &str, rest: &str) {
    match verb {
        "out" => println!("{rest}"),
        "err" => eprintln!("{rest}"),
        "unended" => print!("{rest}"),
        "exit" => std::process::exit(rest.parse().unwrap()),
        "abort" => std::process::abort(),
        "sleep" => std::thread::sleep(Duration::from_secs(rest.parse().unwrap())),
        "long" => println!("{}", "x".repeat(rest.parse().unwrap())),
        "many" => (0..rest.parse::<u32>().unwrap()).for_each(|number| println!("line {number}")),
        "eat" => eat(rest.parse().unwrap()),
        "term" => term(rest),
        "child" => child(rest),
        "forks" => forks(rest.parse().unwrap()),
        "show" => show(rest),
        "write" => println!("write {rest}: {}", said(std::fs::write(rest, "x"))),
        "resolve" => println!("resolve {rest}: {}", said((rest, 80).to_socket_addrs().map(drop))),
        "env" => println!("env {rest}: {}", std::env::var(rest).unwrap_or_default()),
        "boot" => boot(),
        "probe" => probe(rest),
        other => panic!("unknown word {other}"),
    }
    std::io::stdout().flush().unwrap();
}

fn said(result: std::io::Result<()>) -> String {
    result.map_or_else(|error| error.to_string(), |()| "ok".to_owned())
}

fn eat(mebibytes: usize) {
    let mut eaten = Vec::new();
    for _ in 0..mebibytes {
        eaten.push(vec![1_u8; 1 << 20]);
    }
    println!("ate {}", eaten.len());
}

/// Waits for the request to end, and says so: `leave`, or `stay` and wait on.
fn term(what: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut asked = signal(SignalKind::terminate()).unwrap();
        println!("ready");
        loop {
            asked.recv().await;
            println!("asked");
            if what == "leave" {
                std::process::exit(7);
            }
        }
    });
}

/// Starts this program as a child, with words of its own, and waits for it when they begin with `wait`.
fn child(words: &str) {
    let start = |words: &str| {
        Command::new("/ftl").args(args()).env(SCRIPT, words.replace(", ", "; ")).spawn().unwrap()
    };
    match words.strip_prefix("wait ") {
        Some(words) => println!("child {}", start(words).wait().unwrap()),
        // Left to itself: what becomes of it is what a test looks at.
        None => drop(start(words)),
    }
}

fn forks(count: usize) {
    let mut children = Vec::new();
    for _ in 0..count {
        match Command::new("/ftl").args(args()).env(SCRIPT, "sleep 60").spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                println!("fork {}: {error}", children.len());
                break;
            }
        }
    }
    println!("forked");
    children.iter_mut().for_each(|child| drop(child.kill()));
}

fn show(path: &str) {
    let mut text = String::new();
    match std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => text.lines().for_each(|line| println!("show {line}")),
        Err(error) => println!("show {error}"),
    }
}

/// Says of the boot document what may be said.
fn boot() {
    use std::os::unix::fs::MetadataExt;
    let path = std::env::var("FTL_BOOT").unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    println!("boot {} bytes, mode {:o}, uid {}", metadata.len(), metadata.mode() & 0o7777, metadata.uid());
    println!("removed: {}", said(std::fs::remove_file(path)));
}

/// Says how an engine is to whoever runs this program.
fn probe(host: &str) {
    let mut options = crate::bench::options();
    options.host = Some(host.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let health = runtime.block_on(Docker::new(options).probe(Probe::Ping)).unwrap();
    println!("health {health:?}");
}
