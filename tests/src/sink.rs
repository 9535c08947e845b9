//! Takes lines that others send over TCP, and keeps them in a file: the counter outside of modules that share no disk.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::PATIENCE;

/// How long the last connection may take, which ends the thread.
const LAST_KNOCK: Duration = Duration::from_secs(1);

/// Takes lines until it is dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    file: PathBuf,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens at this address of the machine, and keeps what it takes in this file.
    #[must_use]
    pub fn start(ip: IpAddr, file: &Path) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let (address, file) = (listener.local_addr().unwrap(), file.to_owned());
        std::fs::write(&file, "").unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (file, ending) = (file.clone(), ending.clone());
            move || {
                for stream in listener.incoming().flatten() {
                    if ending.load(Ordering::Relaxed) {
                        return;
                    }
                    let file = file.clone();
                    std::thread::spawn(move || take(&stream, &file));
                }
            }
        });
        Self { address, file, ending, thread: Some(thread) }
    }

    /// Where lines are sent to, as `tcp:HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("tcp:{}", self.address)
    }

    /// The file with what came.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// One line, kept before it is acknowledged.
fn take(mut stream: &TcpStream, file: &Path) {
    // The end of a container is never told to those it spoke with.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    if BufReader::new(stream).read_line(&mut line).is_ok_and(|read| read > 0) {
        let mut file = OpenOptions::new().append(true).open(file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
        // Whoever sent it may be gone.
        let _ = stream.write_all(b"\n");
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts, unless the address went away with its network.
        if TcpStream::connect_timeout(&self.address, LAST_KNOCK).is_err() {
            return;
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
