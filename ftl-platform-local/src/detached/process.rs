//! A process that cannot be mistaken for another.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process. Its number is used again; the moment at which it started, in one life of the machine, is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pid: i32,
    /// In ticks since the machine started.
    started: u64,
    /// Which life of the machine.
    boot: String,
}

impl Process {
    /// This one; `None` where the system does not tell.
    pub(crate) fn myself() -> Option<Self> {
        Self::of(std::process::id().cast_signed())
    }

    /// The one that has this number now; `None` when none has, or it ended and nobody took note yet.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self { pid, started: started(&stat)?, boot: boot.trim().to_owned() })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }

    /// Whether it runs.
    pub(crate) fn runs(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends it a signal, and nobody else: it is held on to before it is looked at.
    pub(crate) fn signal(&self, signal: Signal) {
        let held = self.pid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(held) = held
            && self.runs()
        {
            // It may end just now: then there is nobody to ask.
            let _ = pidfd_send_signal(held, signal);
        }
    }
}

/// When a process started, from its line of `/proc/PID/stat`, unless it has ended.
fn started(stat: &str) -> Option<u64> {
    // The name may hold anything, also parentheses: everything after the last one is numbers.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let me = Process::myself().unwrap();
        assert!(me.runs());
        assert!(!Process { started: me.started + 1, ..me.clone() }.runs());
        assert!(!Process { boot: "another life".into(), ..me }.runs());
        assert!(!Process { pid: i32::MAX, ..me }.runs());
    }

    #[test]
    fn a_process_that_waits_to_be_reaped_has_ended() {
        let fields = (4..=52).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(started(&format!("7 (a) b) S {fields}")), Some(22));
        assert_eq!(started(&format!("7 (a) b) Z {fields}")), None);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id().cast_signed()).unwrap();
        process.signal(Signal::KILL);
        while process.runs() {
            std::thread::yield_now();
        }
        assert!(Process::of(child.id().cast_signed()).is_none(), "not reaped, and over");
        child.wait().unwrap();
    }
}
