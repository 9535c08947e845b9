//! Who descends from whom, as the kernel tells everybody.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// One process: its number, and when it started, because numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since the machine did.
    pub started: u64,
}

/// Parent and process, from a line of `/proc/PID/stat`; `None` for one that has ended and is not reaped.
fn read(pid: u32) -> Option<(u32, Process)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also parentheses: everything after the last one is numbers.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    (state != "Z").then_some((parent, Process { pid, started }))
}

fn all() -> Vec<(u32, Process)> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| read(name.to_str()?.parse().ok()?)).collect()
}

/// Every process that descends from this one, itself not counted.
#[must_use]
pub fn descendants(of: u32) -> BTreeSet<Process> {
    let all = all();
    let mut found = BTreeSet::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        for (_, process) in all.iter().filter(|(its, _)| *its == parent) {
            if found.insert(*process) {
                parents.push(process.pid);
            }
        }
    }
    found
}

/// The name of a process.
#[must_use]
pub fn name(process: Process) -> String {
    fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default().trim().to_owned()
}

/// The Runner and the user code of a replica of this module, below `of`.
#[must_use]
pub fn replica(of: u32, module: &str) -> Option<(Process, Process)> {
    let runners = descendants(of).into_iter().filter(|process| name(*process) == "ftl");
    let code = |runner: Process| descendants(runner.pid).into_iter().find(|process| name(*process) == module);
    runners.into_iter().find_map(|runner| Some((runner, code(runner)?)))
}

/// Sends a process a signal.
pub fn send(to: Process, signal: Signal) {
    kill_process(Pid::from_raw(to.pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Whether a process still runs.
#[must_use]
pub fn runs(process: Process) -> bool {
    read(process.pid).is_some_and(|(_, now)| now == process)
}

/// Waits until none of these runs, and says which still do.
pub fn wait_for_end(of: &BTreeSet<Process>, patience: Duration) {
    let until = Instant::now() + patience;
    loop {
        let left: Vec<String> = of
            .iter()
            .filter(|process| runs(**process))
            .map(|process| format!("{process:?} {}", name(*process)))
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "still running after {patience:?}: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
