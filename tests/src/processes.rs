//! Who descends from whom, as the kernel tells everybody.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::waiting::comes_within;

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

/// The parent of a process.
#[must_use]
pub fn parent(of: Process) -> Option<Process> {
    let (parent, _) = read(of.pid)?;
    Some(read(parent)?.1)
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

/// Every shim of an instance in a folder, with everything that descends from it.
///
/// A shim outlives who started it; that it was given a directory to watch over stays to be seen.
#[must_use]
pub fn detached(folder: &Path) -> BTreeSet<Process> {
    let mut found = BTreeSet::new();
    for (_, process) in all() {
        let arguments = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0).skip(1);
        let directory = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes)).starts_with(folder);
        if arguments.next() == Some(b"shim") && arguments.next().is_some_and(directory) {
            found.insert(process);
            found.extend(descendants(process.pid));
        }
    }
    found
}

/// Every process that was started with this variable in its environment, which all inherit that it starts.
///
/// A Runner keeps its environment from everybody but root: for others, its user code stands for it.
#[must_use]
pub fn started_with(name: &str, value: &Path) -> BTreeSet<Process> {
    let variable = [name.as_bytes(), b"=", value.as_os_str().as_bytes()].concat();
    let has_it = |process: &Process| {
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|its| its == variable)
    };
    all().into_iter().map(|(_, process)| process).filter(has_it).collect()
}

/// The Runners and the user code of all replicas of this module, among these.
#[must_use]
pub fn replicas(among: &BTreeSet<Process>, module: &str) -> Vec<(Process, Process)> {
    let code = among.iter().filter(|process| name(**process) == module);
    let with_runner = code.filter_map(|code| {
        let (parent, _) = read(code.pid)?;
        Some((*among.iter().find(|process| process.pid == parent)?, *code))
    });
    with_runner.collect()
}

/// The Runner and the user code of a replica of this module, among these.
#[must_use]
pub fn replica(among: &BTreeSet<Process>, module: &str) -> Option<(Process, Process)> {
    replicas(among, module).first().copied()
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
pub fn wait_for_end(of: &BTreeSet<Process>, bound: Duration) {
    let left = || of.iter().copied().filter(|process| runs(*process));
    let said = |process: Process| format!("{process:?} {}", name(process));
    let ended = comes_within(bound, || left().next().is_none());
    assert!(ended, "still running after {bound:?}: {:?}", left().map(said).collect::<Vec<_>>());
}
