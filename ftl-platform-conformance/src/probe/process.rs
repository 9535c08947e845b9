//! The probe as a process: what only a process can do.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use ftl_core::boot::{BOOT_BYTES_MAX, BOOT_VARIABLE, Boot};
use ftl_core::key::RunnerKey;
use ftl_core::runner::Stream;
use rustix::process::{Signal, getpid, kill_process, setsid};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::GRACEFUL_CODE;
use super::order::{Answer, Hello, Order};
use super::serve::{Ending, Place, Term, hello, nonce, panic, serve};

/// Makes a probe write `TEXT` and end at once with `CODE`: `CODE TEXT`.
pub(crate) const AT_ONCE_VARIABLE: &str = "FTL_PROBE_AT_ONCE";
/// Makes a probe the child of another one.
const CHILD_VARIABLE: &str = "FTL_PROBE_CHILD";
/// Makes a probe take so many bytes of memory, and end.
const EATER_VARIABLE: &str = "FTL_PROBE_EATER";
/// The exit code of a probe that could not do what a probe does.
const BROKEN_CODE: u8 = 70;
/// Memory is taken in steps of so many bytes, each touched before the next.
const STEP: usize = 1 << 20;

/// What a probe tells its child.
#[derive(Serialize, Deserialize)]
struct Child {
    runner: RunnerKey,
    suites: Vec<String>,
}

/// Runs this process as a probe, to its end. Its name and arguments are whatever the platform was told to start.
#[must_use]
pub fn main() -> ExitCode {
    if let Ok(text) = env::var(AT_ONCE_VARIABLE) {
        let (code, words) = text.split_once(' ').unwrap_or((&text, ""));
        let written = writeln!(io::stdout(), "{words}");
        return written.ok().and_then(|()| code.parse().ok()).unwrap_or(BROKEN_CODE).into();
    }
    if let Ok(bytes) = env::var(EATER_VARIABLE) {
        return match bytes.parse() {
            Ok(bytes) => {
                eat(bytes);
                ExitCode::SUCCESS
            }
            Err(_) => BROKEN_CODE.into(),
        };
    }
    match begin() {
        Ok(Ending::Asked) => GRACEFUL_CODE.into(),
        Ok(Ending::Alone) => ExitCode::SUCCESS,
        Ok(Ending::Code(code)) => code.into(),
        Ok(Ending::Panic) => panic(),
        Err(error) => {
            // Nobody may be listening, and then there is nobody to tell.
            let _ = writeln!(io::stderr(), "probe: {error}");
            BROKEN_CODE.into()
        }
    }
}

fn begin() -> io::Result<Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything is said: whoever hears of this process may ask it to end.
        let mut term = Term::Process(signal(SignalKind::terminate())?);
        if let Ok(text) = env::var(CHILD_VARIABLE) {
            // It is the leader of its group only if it has been started so; then this fails, and it has left anyway.
            let _ = setsid();
            let Child { runner, suites } = serde_json::from_str(&text)?;
            let hello = Hello { runner, nonce: nonce()?, secret: String::new(), child: true };
            return serve(&suites, hello, &Place::Process, &mut term).await;
        }
        let boot = read_boot()?;
        serve(&boot.controller, hello(&boot)?, &Place::Process, &mut term).await
    })
}

/// Reads the boot document and removes it, as a Runner does.
fn read_boot() -> io::Result<Boot> {
    let path = env::var_os(BOOT_VARIABLE).map(PathBuf::from);
    let path =
        path.ok_or_else(|| io::Error::other(format!("{BOOT_VARIABLE} is not set: a platform sets it")))?;
    if fs::metadata(&path)?.len() > BOOT_BYTES_MAX as u64 {
        return Err(io::Error::other("the boot document is too long"));
    }
    let boot = Boot::from_document(&fs::read(&path)?).map_err(io::Error::other)?;
    // A read-only boot volume keeps it, and that is the platform's choice.
    let _ = fs::remove_file(&path);
    Ok(boot)
}

/// What it was started with.
pub(super) fn look(place: &Place) -> io::Result<Answer> {
    static PROCESS: Mutex<Option<String>> = Mutex::new(None);
    let mut process = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let process = match &*process {
        Some(known) => known.clone(),
        None => process.insert(nonce()?).clone(),
    };
    Ok(match place {
        Place::Task(env) => Answer::Seen { args: Vec::new(), env: env.clone(), process },
        Place::Process => {
            let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
            let env = env::vars_os().map(|(name, value)| (text(name), text(value)));
            Answer::Seen { args: env::args_os().map(text).collect(), env: env.collect(), process }
        }
    })
}

/// Does what only a process can do.
pub(super) fn obey(order: Order, runner: RunnerKey, suites: &[String]) -> io::Result<Answer> {
    match order {
        Order::Signal { number } => {
            let signal = Signal::from_named_raw(number);
            let signal = signal.ok_or_else(|| io::Error::other(format!("there is no signal {number}")))?;
            kill_process(getpid(), signal)?;
        }
        Order::Write { stream, bytes } => write(stream, &bytes)?,
        Order::Count { stream, lines } => {
            let text: String = (0..lines).map(|number| format!("{number}\n")).collect();
            write(stream, text.as_bytes())?;
        }
        Order::Long { stream, bytes } => {
            let mut line = vec![b'x'; bytes];
            line.push(b'\n');
            write(stream, &line)?;
        }
        Order::Eat { bytes } => eat(bytes),
        Order::EatInAChild { bytes } => {
            let mut child = again()?;
            let ended = child.env(EATER_VARIABLE, bytes.to_string()).stdin(Stdio::null()).status()?;
            if ended.signal() != Some(Signal::KILL.as_raw()) {
                return Ok(Answer::Cannot { why: format!("a child took {bytes} bytes: {ended}") });
            }
        }
        Order::Spawn => {
            let child = Child { runner, suites: suites.to_vec() };
            let mut command = again()?;
            command.env(CHILD_VARIABLE, serde_json::to_string(&child)?);
            // It ends when the suite is gone; nobody waits for it before.
            drop(command.stdin(Stdio::null()).spawn()?);
        }
        other => return Ok(Answer::Cannot { why: format!("{other:?} is not done here") }),
    }
    Ok(Answer::Done)
}

/// This program, to be started once more.
fn again() -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1));
    Ok(command)
}

fn write(stream: Stream, bytes: &[u8]) -> io::Result<()> {
    let mut to: Box<dyn Write> = match stream {
        Stream::Stdout => Box::new(io::stdout()),
        Stream::Stderr => Box::new(io::stderr()),
    };
    to.write_all(bytes)?;
    to.flush()
}

/// Takes memory and touches each page of it. A system that refuses memory, instead of killing who takes it, is helped.
fn eat(bytes: usize) {
    let mut taken = Vec::new();
    while taken.len() * STEP < bytes {
        let mut more: Vec<u8> = Vec::new();
        if more.try_reserve_exact(STEP).is_err() {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        more.resize(STEP, 1);
        taken.push(more);
        std::hint::black_box(&taken);
    }
}
