//! An `ftl` that runs until it is told to end.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ftl_client::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::PATIENCE;
use crate::processes::{Process, descendants, detached};
use crate::sandbox::Answer;

/// The lines of one stream so far.
#[derive(Debug, Default)]
struct Lines {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Lines {
    fn read(self: &Arc<Self>, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let Ok(line) = line else { break };
                lines.lines.lock().unwrap().0.push(line);
                lines.more.notify_all();
            }
            lines.lines.lock().unwrap().1 = true;
            lines.more.notify_all();
        })
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().0.iter().map(|line| format!("{line}\n")).collect()
    }

    fn find<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(found) = lines.0.iter().find_map(|line| wanted(line)) {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if lines.1 || left.is_zero() {
                return None;
            }
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// An `ftl dev` or `ftl serve`. Killed, if a test leaves it behind.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    seen: Arc<Mutex<BTreeSet<Process>>>,
    /// The folder of its sandbox.
    place: PathBuf,
    /// Where it answers, once it said so.
    pub url: String,
    /// The file with its token, once it said so.
    pub token_file: PathBuf,
}

impl Running {
    pub(crate) fn start(mut command: Command, seen: Arc<Mutex<BTreeSet<Process>>>, place: PathBuf) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (Arc::<Lines>::default(), Arc::<Lines>::default());
        let readers =
            vec![stdout.read(child.stdout.take().unwrap()), stderr.read(child.stderr.take().unwrap())];
        let (url, token_file) = (String::new(), PathBuf::new());
        Self { child, stdout, stderr, readers, seen, place, url, token_file }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a `serve --format json` says where it answers.
    pub(crate) fn wait_until_served(&mut self) {
        let object = self.wait_for_json(|object| object["token_file"].is_string());
        self.url = object["controller"].as_str().unwrap().to_owned();
        self.token_file = object["token_file"].as_str().unwrap().into();
    }

    /// Waits until a `dev --format json` says that everything is ready.
    pub fn wait_until_ready(&mut self) -> Value {
        let object = self.wait_for_json(|object| object["event"] == "ready");
        self.url = object["controller"].as_str().unwrap().to_owned();
        self.token_file = object["token_file"].as_str().unwrap().into();
        self.look();
        object
    }

    /// Waits for an object on standard output.
    #[must_use]
    pub fn wait_for_json(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = self.stdout.find(|line| serde_json::from_str(line).ok().filter(&wanted));
        found.unwrap_or_else(|| panic!("it was never said: {}{}", self.stdout.text(), self.stderr.text()))
    }

    /// Waits for a line on standard error that holds this text.
    #[must_use]
    pub fn wait_for_line(&self, text: &str) -> String {
        let found = self.stderr.find(|line| line.contains(text).then(|| line.to_owned()));
        found.unwrap_or_else(|| {
            panic!("`{text}` was never said: {}{}", self.stdout.text(), self.stderr.text())
        })
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Everything that descends from it now, or outlives those that ran in its sandbox; remembered, to be looked for at
    /// the end.
    pub fn look(&self) -> BTreeSet<Process> {
        let mut now = descendants(self.pid());
        now.extend(detached(&self.place));
        self.seen.lock().unwrap().extend(now.iter().copied());
        now
    }

    /// The arguments that lead another command to its Controller.
    #[must_use]
    pub fn endpoint(&self) -> Vec<String> {
        let token_file = self.token_file.to_str().unwrap().to_owned();
        vec!["--controller".to_owned(), self.url.clone(), "--token-file".to_owned(), token_file]
    }

    /// A client of its Controller.
    #[must_use]
    pub fn client(&self) -> Client {
        let token = std::fs::read_to_string(&self.token_file).unwrap();
        Client::new(&self.url, token.trim()).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.look();
        let pid = Pid::from_raw(self.pid().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    #[must_use]
    pub fn wait(mut self) -> Answer {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {}{}", self.stdout.text(), self.stderr.text());
            std::thread::sleep(Duration::from_millis(5));
        };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        let code = status.code().unwrap_or(-1);
        Answer { code, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Sends it a signal and waits for its end.
    #[must_use]
    pub fn end(self, signal: Signal) -> Answer {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What is tied to it ends with it: that is what the tests prove. The sandbox ends the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
