//! A module whose verbs leave a trace outside: each run of `note` appends a line to a file, or sends it to somebody who
//! does.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

ftl::module! {
    /// Leaves a trace of each run.
    verbs: [note, sleep, repeat, say, fork]
}

/// What to note.
#[ftl::data]
pub struct NoteRequest {
    /// The file that gets a line; or `tcp:HOST:PORT`, where it is sent to and acknowledged with a byte.
    pub file: String,
    /// The line.
    pub id: String,
    /// How long the verb works after it noted it, in milliseconds.
    pub pause_ms: u64,
}

/// Why nothing was noted.
#[ftl::error]
pub enum NoteError {
    /// The file cannot be written.
    #[error("cannot be noted: {0}")]
    File(String),
}

/// Appends a line. Not idempotent: two runs are two lines.
#[ftl::verb]
pub async fn note(request: NoteRequest) -> Result<(), NoteError> {
    let line = format!("{}\n", request.id);
    let written = match request.file.strip_prefix("tcp:") {
        Some(address) => send(address, &line),
        None => append(&request.file, &line),
    };
    written.map_err(|error| NoteError::File(error.to_string()))?;
    tokio::time::sleep(Duration::from_millis(request.pause_ms)).await;
    Ok(())
}

fn append(file: &str, line: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(file)?.write_all(line.as_bytes())
}

fn send(address: &str, line: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(line.as_bytes())?;
    stream.read_exact(&mut [0])
}

/// Works for so many milliseconds.
#[ftl::verb]
#[allow(clippy::print_stdout, reason = "its output is what is tested")]
pub async fn sleep(pause_ms: u64) {
    println!("sleeping {pause_ms}");
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
}

/// A text of so many letters. Strangers may ask for it.
#[ftl::verb(public)]
pub async fn repeat(letters: u32) -> String {
    "x".repeat(letters as usize)
}

/// Writes a line to standard output.
#[ftl::verb]
#[allow(clippy::print_stdout, reason = "its output is what is tested")]
pub async fn say(text: String) {
    println!("{text}");
}

/// Starts a process that does not end by itself.
#[ftl::verb]
pub async fn fork() -> bool {
    std::process::Command::new("sleep").arg("600").spawn().is_ok()
}
