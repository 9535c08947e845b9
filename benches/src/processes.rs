//! What the kernel knows of our processes: CPU time, memory, and the cores that they may run on.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long anything may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

fn threads(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// CPU time of these processes so far.
pub fn cpu(pids: &[u32]) -> Duration {
    let of_thread = |(pid, thread): (u32, u32)| -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).unwrap_or_default();
        stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
    };
    let all = pids.iter().flat_map(|pid| threads(*pid).into_iter().map(|thread| (*pid, thread)));
    Duration::from_nanos(all.map(of_thread).sum())
}

/// Resident memory of a process, in bytes.
pub fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Children of a process, and theirs.
pub fn descendants(of: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids: Vec<u32> = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let mut found = vec![of];
    let mut next = 0;
    while next < found.len() {
        let its: Vec<u32> = pids.iter().copied().filter(|pid| parent(*pid) == Some(found[next])).collect();
        found.extend(its);
        next += 1;
    }
    found.split_off(1)
}

/// The name of a process.
pub fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// All of these, and this process, on one core as long as it lives.
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
    pids: Vec<u32>,
}

impl Pinned {
    /// Keeps these processes, and this one, on one core.
    #[must_use]
    pub fn to_one_core(pids: &[u32]) -> Self {
        let before = sched_getaffinity(None).unwrap();
        let core = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core)).unwrap();
        let mut one = CpuSet::new();
        one.set(core);
        let mut pids = pids.to_vec();
        pids.push(std::process::id());
        let pinned = Self { before, pids };
        pinned.set(&one);
        pinned
    }

    fn set(&self, cores: &CpuSet) {
        for thread in self.pids.iter().flat_map(|pid| threads(*pid)) {
            // A thread may have ended meanwhile.
            let _ = sched_setaffinity(Pid::from_raw(thread.cast_signed()), cores);
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.set(&self.before);
    }
}

/// Waits until a file is there.
pub fn wait_for_file(path: &Path) {
    wait_until(|| path.exists(), &path.display().to_string());
}

/// Waits until something is so.
pub fn wait_until(there: impl Fn() -> bool, what: &str) {
    let until = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < until, "{what} did not come up");
        std::thread::sleep(Duration::from_millis(1));
    }
}
