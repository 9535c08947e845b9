//! Stands before the socket of a Docker Engine, and lets it be away or frozen.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

/// How often a connection looks whether something changed.
const LOOK: Duration = Duration::from_millis(10);

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
}

/// A proxy before an engine. Its threads end with it.
#[derive(Debug)]
pub struct Proxy {
    path: PathBuf,
    mode: Arc<AtomicU8>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens at this path, before the engine of this machine.
    #[must_use]
    pub fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let mode = Arc::new(AtomicU8::new(Mode::Open as u8));
        let ended = Arc::new(AtomicBool::new(false));
        let proxy = Self { path: path.to_owned(), mode: mode.clone(), ended: ended.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                if mode.load(Ordering::Relaxed) == Mode::Cut as u8 {
                    continue;
                }
                let Ok(engine) = UnixStream::connect("/var/run/docker.sock") else { continue };
                for (from, to) in [(&client, &engine), (&engine, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (mode, ended) = (mode.clone(), ended.clone());
                    std::thread::spawn(move || pass(from, to, &mode, &ended));
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

    /// From now on, the engine looks like this.
    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }
}

/// Passes bytes on as long as it may.
fn pass(mut from: UnixStream, mut to: UnixStream, mode: &AtomicU8, ended: &AtomicBool) {
    from.set_read_timeout(Some(LOOK)).unwrap();
    let mut bytes = [0; 16 << 10];
    loop {
        let now = mode.load(Ordering::Relaxed);
        if ended.load(Ordering::Relaxed) || now == Mode::Cut as u8 {
            break;
        }
        if now == Mode::Frozen as u8 {
            std::thread::sleep(LOOK);
            continue;
        }
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => {
                if to.write_all(&bytes[..read]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    // A half that ends keeps the other: a request may end before its answer.
    let _ = to.shutdown(std::net::Shutdown::Write);
    if mode.load(Ordering::Relaxed) == Mode::Cut as u8 {
        let _ = from.shutdown(std::net::Shutdown::Both);
        let _ = to.shutdown(std::net::Shutdown::Both);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
    }
}
