//! Stands before the socket of a Docker Engine: lets it be away, frozen or late, and notes what it is asked.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where the engine of this machine listens.
const ENGINE: &str = "/var/run/docker.sock";
/// How often a connection looks whether something changed.
const LOOK: Duration = Duration::from_millis(10);
/// How long the engine may take for a request that comes late.
const LATE_TIME: Duration = Duration::from_secs(60);
/// What is late.
const CREATE: &str = "POST /containers/create";

/// How the engine looks from the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// As it is.
    Open,
    /// Not there: connections end, and new ones end at once.
    Cut,
    /// Frozen: connections are accepted, and nothing passes until it thaws.
    Frozen,
    /// As it is, but for creates: their connections end, and they reach the engine when they are [delivered](Proxy::deliver).
    Late,
}

/// What somebody else answers instead of the engine: a status and a body, to the first line of a request.
type Answers = dyn Fn(&str) -> Option<(u16, String)> + Send + Sync;

/// What the threads of a proxy share.
struct Shared {
    mode: AtomicU8,
    ended: AtomicBool,
    answers: Box<Answers>,
    requests: Mutex<Vec<String>>,
    late: Mutex<Vec<Vec<u8>>>,
}

/// A proxy before an engine. Its threads end with it.
pub struct Proxy {
    path: PathBuf,
    shared: Arc<Shared>,
}

/// While it is there, the engine looks otherwise; also a test that fails leaves it as it is.
#[derive(Debug)]
pub struct Outage<'a>(&'a Proxy);

impl Proxy {
    /// Listens at this path, before the engine of this machine.
    #[must_use]
    pub fn start(path: &Path) -> Self {
        Self::answering(path, |_| None)
    }

    /// The same, but for requests that are answered here.
    #[must_use]
    pub fn answering(
        path: &Path,
        answers: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared {
            mode: AtomicU8::new(Mode::Open as u8),
            ended: AtomicBool::new(false),
            answers: Box::new(answers),
            requests: Mutex::default(),
            late: Mutex::default(),
        });
        let proxy = Self { path: path.to_owned(), shared: shared.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                if !shared.is(Mode::Cut) {
                    let shared = shared.clone();
                    std::thread::spawn(move || shared.serve(client));
                }
            }
        });
        proxy
    }

    /// What names it, for `FTL_DOCKER_HOST`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// From now on, and until the answer is dropped, the engine looks like this.
    #[must_use]
    pub fn set(&self, mode: Mode) -> Outage<'_> {
        self.shared.mode.store(mode as u8, Ordering::Relaxed);
        Outage(self)
    }

    /// What was asked so far, as `METHOD PATH`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// What was asked so far that changes something. Whatever else is asked carries no byte to the engine but its head.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let mut requests = self.requests();
        requests.retain(|request| !request.starts_with("GET ") && !request.starts_with("HEAD "));
        requests
    }

    /// How many creates are on their way.
    #[must_use]
    pub fn late(&self) -> usize {
        self.shared.late.lock().unwrap().len()
    }

    /// Lets the engine have what is late, one after the other, and says the status of each answer.
    #[must_use]
    pub fn deliver(&self) -> Vec<u16> {
        let late = std::mem::take(&mut *self.shared.late.lock().unwrap());
        late.iter().map(|request| deliver(request)).collect()
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        self.0.shared.mode.store(Mode::Open as u8, Ordering::Relaxed);
    }
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::Relaxed) == mode as u8
    }

    /// The driver opens a connection for each request.
    fn serve(self: Arc<Self>, mut client: UnixStream) {
        client.set_read_timeout(Some(LOOK)).unwrap();
        let mut bytes = Vec::new();
        while end_of_head(&bytes).is_none() {
            if !self.read(&mut client, &mut bytes) {
                return;
            }
        }
        let line = first_line(&bytes);
        self.requests.lock().unwrap().push(line.clone());
        if let Some((status, body)) = (self.answers)(&line) {
            let length = body.len();
            let _ = write!(
                client,
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            return;
        }
        if self.is(Mode::Late) && line.starts_with(CREATE) {
            while bytes.len() < length(&bytes) && self.read(&mut client, &mut bytes) {}
            self.late.lock().unwrap().push(bytes);
            return;
        }
        let Ok(mut engine) = UnixStream::connect(ENGINE) else { return };
        engine.set_read_timeout(Some(LOOK)).unwrap();
        if engine.write_all(&bytes).is_err() {
            return;
        }
        let back = (engine.try_clone().unwrap(), client.try_clone().unwrap());
        let shared = self.clone();
        std::thread::spawn(move || shared.pass(back.0, back.1));
        self.pass(client, engine);
    }

    /// Reads some bytes as soon as it may; `false` when there is nothing more to read.
    fn read(&self, from: &mut UnixStream, into: &mut Vec<u8>) -> bool {
        let mut bytes = [0; 16 << 10];
        loop {
            if self.ended.load(Ordering::Relaxed) || self.is(Mode::Cut) {
                return false;
            }
            if self.is(Mode::Frozen) {
                std::thread::sleep(LOOK);
                continue;
            }
            match from.read(&mut bytes) {
                Ok(0) => return false,
                Ok(read) => {
                    into.extend_from_slice(&bytes[..read]);
                    return true;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return false,
            }
        }
    }

    /// Passes bytes on as long as it may.
    fn pass(&self, mut from: UnixStream, mut to: UnixStream) {
        let mut bytes = Vec::new();
        while self.read(&mut from, &mut bytes) {
            if to.write_all(&bytes).is_err() {
                break;
            }
            bytes.clear();
        }
        // A half that ends keeps the other: a request may end before its answer.
        let _ = to.shutdown(std::net::Shutdown::Write);
        if self.is(Mode::Cut) {
            let _ = from.shutdown(std::net::Shutdown::Both);
            let _ = to.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn first_line(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    text.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned()
}

/// How long a request is, as its head says.
fn length(request: &[u8]) -> usize {
    let head = end_of_head(request).unwrap();
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let body =
        text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    head + body.expect("a create says how long it is")
}

fn deliver(request: &[u8]) -> u16 {
    let mut engine = UnixStream::connect(ENGINE).unwrap();
    engine.set_read_timeout(Some(LATE_TIME)).unwrap();
    engine.write_all(request).unwrap();
    let mut answer = [0; 12];
    engine.read_exact(&mut answer).unwrap();
    // `HTTP/1.1 201`
    String::from_utf8_lossy(&answer[9..]).parse().unwrap()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
    }
}
