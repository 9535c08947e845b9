//! A module whose verbs leave a trace outside: each run of `note` appends a line to a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

ftl::module! {
    /// Leaves a trace of each run.
    verbs: [note, sleep, repeat, say, fork]
}

/// What to note.
#[ftl::data]
pub struct NoteRequest {
    /// The file that gets a line.
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
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&request.file)
        .and_then(|mut file| file.write_all(format!("{}\n", request.id).as_bytes()));
    written.map_err(|error| NoteError::File(error.to_string()))?;
    tokio::time::sleep(Duration::from_millis(request.pause_ms)).await;
    Ok(())
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
