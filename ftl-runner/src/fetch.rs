//! Brings a deployment's files: by ranged reads, verified while they are written, never visible half.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ftl_core::artefact::{ARTEFACT_READ_BYTES_MAX, Artefact, Manifest, Mode};
use ftl_core::digest::{Digest, Hasher};
use ftl_core::{Code, ControllerError, Failure};
use futures_util::stream::{self, StreamExt};
use tokio::fs;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How many ranges are asked for before the first has come, so that neither end waits for the other.
const READS_AHEAD: usize = 4;

/// How many files are on their way to the disk at once.
const WRITERS_MAX: usize = 4;

/// Why a deployment's files could not be brought.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FetchError {
    /// The Controller did not give them.
    #[error("artefact `{path}` could not be read from the Controller: {reason}")]
    Read { path: String, reason: ControllerError },
    /// They are not what the manifest says.
    #[error(
        "artefact `{path}` is corrupt: it should have the digest {expected} and has {found}; deploy again to upload it anew"
    )]
    Corrupt { path: String, expected: Digest, found: Digest },
    /// There are more or fewer bytes than the manifest says.
    #[error(
        "artefact `{path}` is corrupt: it should have {expected} bytes and has {found}; deploy again to upload it anew"
    )]
    Truncated { path: String, expected: u64, found: u64 },
    /// They could not be written.
    #[error("artefact `{path}` could not be written: {reason}")]
    Write { path: String, reason: io::Error },
    /// Nothing can be started.
    #[error("the deployment has no executable artefact")]
    NoProgram,
}

/// Where the bytes of artefacts come from.
pub(crate) trait Source {
    /// The bytes from `offset` on: one range, or what there is of it.
    async fn read(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError>;
}

/// A file that was brought already, as the source of another one.
struct Written(PathBuf);

impl Source for Written {
    async fn read(&self, _digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut range = Vec::new();
            file.take(ARTEFACT_READ_BYTES_MAX as u64).read_to_end(&mut range)?;
            Ok::<_, io::Error>(Bytes::from(range))
        });
        let failed = |reason: String| Failure::new(Code::DataLoss, reason).into();
        read.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }
}

/// Writes every file of the manifest below `directory`, each digest fetched once, and returns the program's path.
/// Libraries are left out unless they are wanted.
pub(crate) async fn fetch(
    source: &impl Source,
    manifest: &Manifest,
    directory: &Path,
    libraries: bool,
) -> Result<PathBuf, FetchError> {
    let program = manifest.program().ok_or(FetchError::NoProgram)?;
    let mut written: HashMap<Digest, PathBuf> = HashMap::new();
    let mut copies = Vec::new();
    let mut under_way = VecDeque::new();
    let wanted = |artefact: &&Artefact| libraries || artefact.mode != Mode::Library;
    for artefact in manifest.artefacts().iter().filter(wanted) {
        let path = directory.join(artefact.path.as_str());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).await.map_err(|reason| unwritten(artefact, reason))?;
        }
        if let Some(first) = written.get(&artefact.digest) {
            copies.push((first.clone(), artefact, path));
            continue;
        }
        if under_way.len() == WRITERS_MAX
            && let Some(first) = under_way.pop_front()
        {
            Writing::finish(first).await?;
        }
        // While a file reaches the disk, the next ones are read.
        under_way.push_back(bring(source, artefact, &path).await?);
        written.insert(artefact.digest, path);
    }
    for writing in under_way {
        writing.finish().await?;
    }
    for (first, artefact, path) in copies {
        // A copy, not a link: two paths may have two modes.
        bring(&Written(first), artefact, &path).await?.finish().await?;
    }
    Ok(directory.join(program.path.as_str()))
}

/// A file whose bytes are all on their way to its writer.
struct Writing {
    artefact: Artefact,
    writer: JoinHandle<Result<(), FetchError>>,
}

impl Writing {
    /// Waits until the file is whole and has its name.
    async fn finish(self) -> Result<(), FetchError> {
        self.writer.await.unwrap_or_else(|error| Err(unwritten(&self.artefact, io::Error::other(error))))
    }
}

/// Reads a file to its end, while a thread that may wait for the disk writes it.
async fn bring(source: &impl Source, artefact: &Artefact, path: &Path) -> Result<Writing, FetchError> {
    let (ranges, arriving) = mpsc::channel(1);
    let writer = tokio::task::spawn_blocking({
        let (artefact, path) = (artefact.clone(), path.to_owned());
        move || write_verified(&artefact, &path, arriving)
    });
    // The last range ends behind the file, so more bytes than were promised are seen.
    let offsets = (0..=artefact.size).step_by(ARTEFACT_READ_BYTES_MAX);
    let reads = offsets.map(|offset| source.read(artefact.digest, offset));
    let mut reads = stream::iter(reads).buffered(READS_AHEAD);
    while let Some(range) = reads.next().await {
        let range = range.map_err(|reason| FetchError::Read { path: artefact.path.to_string(), reason })?;
        if ranges.send(range).await.is_err() {
            // The writer has ended; it says why when it is finished.
            break;
        }
    }
    Ok(Writing { artefact: artefact.clone(), writer })
}

/// Writes what arrives, and gives it its name and mode if it is what the manifest says.
fn write_verified(
    artefact: &Artefact,
    path: &Path,
    mut arriving: mpsc::Receiver<Bytes>,
) -> Result<(), FetchError> {
    let failed = |reason| unwritten(artefact, reason);
    let part = path.with_file_name(format!(".{}.part", artefact.digest));
    let mut file = File::create(&part).map_err(failed)?;
    let mut hasher = Hasher::default();
    let mut size = 0;
    while let Some(range) = arriving.blocking_recv() {
        size += range.len() as u64;
        if size > artefact.size {
            break;
        }
        hasher.update(&range);
        file.write_all(&range).map_err(failed)?;
    }
    if size != artefact.size {
        let path = artefact.path.to_string();
        return Err(FetchError::Truncated { path, expected: artefact.size, found: size });
    }
    let found = hasher.finish();
    if found != artefact.digest {
        let path = artefact.path.to_string();
        return Err(FetchError::Corrupt { path, expected: artefact.digest, found });
    }
    file.set_permissions(Permissions::from_mode(artefact.mode.bits())).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    // Closed before it has its name: a file that is open for writing cannot be executed.
    drop(file);
    std::fs::rename(&part, path).map_err(failed)
}

fn unwritten(artefact: &Artefact, reason: io::Error) -> FetchError {
    FetchError::Write { path: artefact.path.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves the given bytes under the given digests.
    struct Known(Vec<(Digest, &'static [u8])>);

    impl Source for Known {
        async fn read(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
            let content = self.0.iter().find(|(known, _)| *known == digest).unwrap().1;
            let from = (offset as usize).min(content.len());
            let to = content.len().min(from + ARTEFACT_READ_BYTES_MAX);
            // What was asked for first comes last.
            for _ in 0..READS_AHEAD.saturating_sub(from / ARTEFACT_READ_BYTES_MAX) {
                tokio::task::yield_now().await;
            }
            Ok(Bytes::from_static(&content[from..to]))
        }
    }

    fn artefact(path: &str, content: &[u8], mode: Mode) -> Artefact {
        Artefact {
            path: path.parse().unwrap(),
            digest: Digest::of(content),
            size: content.len() as u64,
            mode,
        }
    }

    #[tokio::test]
    async fn files_arrive_whole_with_their_modes() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = Manifest::new(vec![
            artefact("bin/run", b"#!/bin/sh", Mode::Executable),
            artefact("etc/copy", b"#!/bin/sh", Mode::Data),
            artefact("empty", b"", Mode::Data),
            artefact("lib/libc.so.6", b"is not asked for", Mode::Library),
        ])
        .unwrap();
        let source = Known(vec![(Digest::of(b"#!/bin/sh"), b"#!/bin/sh"), (Digest::of(b""), b"")]);
        let program = fetch(&source, &manifest, directory.path(), false).await.unwrap();
        assert_eq!(program, directory.path().join("bin/run"));
        for (path, content, mode) in
            [("bin/run", "#!/bin/sh", 0o555), ("etc/copy", "#!/bin/sh", 0o444), ("empty", "", 0o444)]
        {
            let path = directory.path().join(path);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
        }
        assert!(!directory.path().join("lib").exists());
    }

    /// Has the first range of a file, and then no more.
    struct Breaking;

    impl Source for Breaking {
        async fn read(&self, _digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
            match offset {
                0 => Ok(Bytes::from(vec![7; ARTEFACT_READ_BYTES_MAX])),
                _ => Err(ftl_core::Failure::new(ftl_core::Code::Unavailable, "cut").into()),
            }
        }
    }

    #[tokio::test]
    async fn files_of_many_ranges_and_of_whole_ones_are_as_they_were() {
        let long: &'static [u8] =
            (0..4 * ARTEFACT_READ_BYTES_MAX).map(|at| at as u8).collect::<Vec<_>>().leak();
        for content in [&long[..ARTEFACT_READ_BYTES_MAX], &long[..ARTEFACT_READ_BYTES_MAX + 1], long] {
            let directory = tempfile::tempdir().unwrap();
            let manifest = Manifest::new(vec![artefact("run", content, Mode::Executable)]).unwrap();
            let source = Known(vec![(Digest::of(content), content)]);
            let program = fetch(&source, &manifest, directory.path(), false).await.unwrap();
            assert!(std::fs::read(program).unwrap() == content);
            // Somebody else's bytes behind it.
            let manifest = Manifest::new(vec![Artefact {
                size: content.len() as u64 - 1,
                ..artefact("run", content, Mode::Executable)
            }]);
            let error = fetch(&source, &manifest.unwrap(), directory.path(), false).await.unwrap_err();
            assert!(matches!(error, FetchError::Truncated { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_broken_read_is_told_as_one() {
        let directory = tempfile::tempdir().unwrap();
        let content = vec![7; ARTEFACT_READ_BYTES_MAX + 1];
        let manifest = Manifest::new(vec![artefact("run", &content, Mode::Executable)]).unwrap();
        let error = fetch(&Breaking, &manifest, directory.path(), false).await.unwrap_err();
        assert!(matches!(error, FetchError::Read { .. }), "{error}");
        assert!(!directory.path().join("run").exists());
    }

    #[tokio::test]
    async fn wrong_bytes_never_get_their_name() {
        for (sent, words) in [(&b"wrong!"[..], "is corrupt"), (b"righ", "4"), (b"right and more", "bytes")] {
            let directory = tempfile::tempdir().unwrap();
            let manifest = Manifest::new(vec![artefact("run", b"right!", Mode::Executable)]).unwrap();
            let source = Known(vec![(Digest::of(b"right!"), sent)]);
            let error = fetch(&source, &manifest, directory.path(), false).await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(!directory.path().join("run").exists());
        }
    }
}
