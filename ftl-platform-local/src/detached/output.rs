//! What a detached instance wrote: numbered files, of which the newest are kept. The shim writes, the platform reads.
//!
//! Every line stands with the number of bytes that were written before it. So whoever reads knows what gave way, what
//! could not be written, and what was dropped while he was not looking, and nobody has to keep count for him.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ftl_core::output::Entry;
use ftl_core::runner::OutputLine;
use serde::{Deserialize, Serialize};

/// How many files are kept, the one that is written included.
const FILES_KEPT: u64 = 4;

/// A line, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Bytes of all lines before it.
    from: u64,
    #[serde(flatten)]
    line: OutputLine,
}

/// How many bytes a line stands for.
fn weight(line: &OutputLine) -> u64 {
    line.bytes() + line.lost_bytes
}

/// Writes lines; see the module.
#[derive(Debug)]
pub(crate) struct Writer {
    directory: PathBuf,
    /// From which size on a file is full. It holds more than the text: when, which stream, how much before.
    full: u64,
    number: u64,
    file: Option<File>,
    bytes: u64,
    from: u64,
}

impl Writer {
    /// Writes into this directory; of ordinary lines, so many bytes are kept, and files of at most twice as many.
    pub(crate) fn new(directory: PathBuf, bytes_kept: u64) -> Self {
        let full = (bytes_kept / (FILES_KEPT / 2)).max(1);
        Self { directory, full, number: 0, file: None, bytes: 0, from: 0 }
    }

    /// Takes a line. One that cannot be written is lost, and counted as such.
    pub(crate) fn push(&mut self, line: OutputLine) {
        let kept = Kept { from: self.from, line };
        self.from += weight(&kept.line);
        if self.try_push(&kept).is_err() {
            // Nobody knows how much of it was written: what follows stands in a file of its own.
            self.file = None;
        }
    }

    fn try_push(&mut self, kept: &Kept) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(kept)?;
        bytes.push(b'\n');
        if self.bytes >= self.full {
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                self.number += 1;
                self.bytes = 0;
                if let Some(oldest) = self.number.checked_sub(FILES_KEPT) {
                    // It may be gone, and there is none before the first.
                    let _ = fs::remove_file(self.directory.join(name(oldest)));
                }
                let path = self.directory.join(name(self.number));
                none.insert(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?)
            }
        };
        self.bytes += bytes.len() as u64;
        file.write_all(&bytes)
    }
}

fn name(number: u64) -> String {
    // As wide as the largest, so that they are in order for people too.
    format!("{number:020}")
}

/// Reads lines, and goes on where it was.
#[derive(Debug)]
pub(crate) struct Reader {
    directory: PathBuf,
    number: u64,
    offset: u64,
    /// Bytes of all lines so far.
    from: u64,
}

impl Reader {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, number: 0, offset: 0, from: 0 }
    }

    /// Everything that was written since the last time and is still there.
    pub(crate) fn read(&mut self) -> io::Result<Vec<OutputLine>> {
        let mut lines = Vec::new();
        for number in numbers(&self.directory)? {
            if number < self.number {
                continue;
            }
            if number > self.number {
                (self.number, self.offset) = (number, 0);
            }
            match read_from(&self.directory.join(name(number)), self.offset) {
                Ok(bytes) => self.take(&bytes, &mut lines),
                // It gave way just now: the next line tells.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(lines)
    }

    fn take(&mut self, bytes: &[u8], lines: &mut Vec<OutputLine>) {
        // A line that is being written is read when it is whole.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.offset += whole as u64;
        for line in bytes[..whole].split(|byte| *byte == b'\n') {
            let Ok(Kept { from, mut line }) = serde_json::from_slice::<Kept>(line) else { continue };
            let before = std::mem::replace(&mut self.from, from + weight(&line));
            line.lost_bytes += from.saturating_sub(before);
            lines.push(line);
        }
    }
}

fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::runner::Stream;

    fn line(text: &str) -> OutputLine {
        OutputLine::new(1, Stream::Stderr, text)
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(directory.path().to_owned(), 1 << 20);
        let mut reader = Reader::new(directory.path().to_owned());
        assert!(reader.read().unwrap().is_empty());
        let mut cut = line("cut");
        cut.lost_bytes = 7;
        for line in [line("one"), cut.clone(), line("two\u{0}")] {
            writer.push(line);
        }
        assert_eq!(reader.read().unwrap(), [line("one"), cut, line("two\u{0}")]);
        assert!(reader.read().unwrap().is_empty());
        writer.push(line("three"));
        assert_eq!(reader.read().unwrap(), [line("three")]);
    }

    #[test]
    fn a_flood_is_bounded_and_every_lost_byte_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let (kept, written) = (64 << 10, 5000);
        let mut writer = Writer::new(directory.path().to_owned(), kept);
        let mut slow = Reader::new(directory.path().to_owned());
        for number in 0..written {
            writer.push(line(&format!("{number:099}")));
            if number == 10 {
                assert_eq!(slow.read().unwrap().len(), 11);
            }
        }
        let entries = fs::read_dir(directory.path()).unwrap();
        let bytes: u64 = entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes <= 2 * kept + 1024, "{bytes} bytes are kept");
        for (mut reader, before) in [(Reader::new(directory.path().to_owned()), 0), (slow, 11)] {
            let lines = reader.read().unwrap();
            let text: u64 = lines.iter().map(Entry::bytes).sum();
            assert!(text >= kept / 2, "{text} bytes of text are kept");
            assert_eq!(lines[0].lost_bytes + text, (written - before) * 100);
            assert!(lines[1..].iter().all(|line| line.lost_bytes == 0));
        }
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("output");
        let mut writer = Writer::new(output.clone(), 1 << 10);
        writer.push(line("lost"));
        fs::create_dir(&output).unwrap();
        writer.push(line("kept"));
        let lines = Reader::new(output).read().unwrap();
        assert_eq!((lines.len(), lines[0].text.as_str(), lines[0].lost_bytes), (1, "kept", 5));
    }
}
