//! Artefacts, content-addressed in a directory: never under a digest that they do not have, durable when acknowledged.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ftl_core::ControllerError;
use ftl_core::artefact::{ARTEFACT_BYTES_MAX, ARTEFACT_READ_BYTES_MAX};
use ftl_core::controller::BoxStream;
use ftl_core::digest::{Digest, Hasher};
use futures_util::StreamExt;
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// How long an upload may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How much of a refused upload is read, and how long, so that its sender learns why it was refused.
const READ_OFF_BYTES: usize = 64 << 20;
const READ_OFF_MAX: Duration = Duration::from_secs(5);
/// Read at once when a stored artefact is checked.
const CHECK_BYTES: usize = 1 << 20;

/// The artefacts that are here.
#[derive(Clone, Debug)]
pub(crate) struct Artefacts {
    directory: PathBuf,
    /// Those whose bytes this process has seen to be right. A disk may rot while nobody looks.
    verified: Arc<Mutex<HashSet<Digest>>>,
}

impl Artefacts {
    /// Opens the directory, and removes what an interrupted upload left.
    pub(crate) async fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory).await?;
        let uploads = directory.join("uploads");
        match fs::remove_dir_all(&uploads).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&uploads).await?,
        }
        Ok(Self { directory, verified: Arc::default() })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.directory.join(&name[..2]).join(name)
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at these again before they are taken for right: something that ran on them could not start.
    pub(crate) fn doubt(&self, digests: &[Digest]) {
        let mut verified = self.verified();
        verified.retain(|digest| !digests.contains(digest));
    }

    /// Those that are not here. One whose bytes are not what its name says is removed, and so is missing.
    pub(crate) async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, ControllerError> {
        let mut missing = Vec::new();
        for digest in digests {
            if !self.holds(*digest).await.map_err(stored)? && !missing.contains(digest) {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }

    async fn holds(&self, digest: Digest) -> io::Result<bool> {
        let path = self.path(digest);
        if !fs::try_exists(&path).await? {
            self.verified().remove(&digest);
            return Ok(false);
        }
        if self.verified().contains(&digest) {
            return Ok(true);
        }
        if hash(&path).await? != digest {
            tracing::warn!(%digest, "a stored artefact is corrupt and is removed");
            fs::remove_file(&path).await?;
            return Ok(false);
        }
        self.verified().insert(digest);
        Ok(true)
    }

    /// Stores what comes, if it is what was announced.
    pub(crate) async fn put(
        &self,
        digest: Digest,
        size: u64,
        mut body: BoxStream<io::Result<Bytes>>,
    ) -> Result<(), ControllerError> {
        let kept = self.keep(digest, size, &mut body).await;
        if kept.is_err() {
            read_off(&mut body).await;
        }
        kept
    }

    async fn keep(
        &self,
        digest: Digest,
        size: u64,
        body: &mut BoxStream<io::Result<Bytes>>,
    ) -> Result<(), ControllerError> {
        if size > ARTEFACT_BYTES_MAX {
            let message =
                format!("{size} bytes are more than the {ARTEFACT_BYTES_MAX} that an artefact may have");
            return Err(ControllerError::Invalid { field: "size".to_owned(), message });
        }
        let part = tempfile::NamedTempFile::new_in(self.directory.join("uploads")).map_err(stored)?;
        let file = fs::File::from_std(part.reopen().map_err(stored)?);
        receive(file, digest, size, body).await?;
        let path = self.path(digest);
        let persisted = tokio::task::spawn_blocking(move || persist(part, &path));
        persisted.await.map_err(|error| stored(io::Error::other(error)))?.map_err(stored)?;
        self.verified().insert(digest);
        Ok(())
    }

    /// The bytes from `offset` on: one range, or what there is of it.
    pub(crate) async fn read(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
        let path = self.path(digest);
        let read = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::open(path)?;
            let mut range = vec![0; ARTEFACT_READ_BYTES_MAX];
            let mut filled = 0;
            while filled < range.len() {
                match file.read_at(&mut range[filled..], offset + filled as u64)? {
                    0 => break,
                    read => filled += read,
                }
            }
            range.truncate(filled);
            Ok(Bytes::from(range))
        });
        match read.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ControllerError::NotFound {
                what: "artefact".to_owned(),
                name: digest.to_string(),
                hint: Some("deploy again to upload it anew".to_owned()),
            }),
            read => read.map_err(stored),
        }
    }
}

/// Reads what is still coming after a refusal, within bounds: a sender that is cut off does not read why.
async fn read_off(body: &mut BoxStream<io::Result<Bytes>>) {
    let reading = async {
        let mut left = READ_OFF_BYTES;
        while let Some(Ok(bytes)) = body.next().await
            && left > bytes.len()
        {
            left -= bytes.len();
        }
    };
    let _ = timeout(READ_OFF_MAX, reading).await;
}

/// Writes and checks what comes, as it comes.
async fn receive(
    mut file: fs::File,
    digest: Digest,
    size: u64,
    body: &mut BoxStream<io::Result<Bytes>>,
) -> Result<(), ControllerError> {
    let (mut hasher, mut found) = (Hasher::default(), 0);
    loop {
        let next = timeout(SILENCE_MAX, body.next()).await;
        let Ok(next) = next else { return Err(ControllerError::Truncated { expected: size, found }) };
        let Some(bytes) = next else { break };
        // The sender broke off: what came is not what was announced.
        let Ok(bytes) = bytes else { return Err(ControllerError::Truncated { expected: size, found }) };
        found += bytes.len() as u64;
        if found > size {
            return Err(ControllerError::Truncated { expected: size, found });
        }
        hasher.update(&bytes);
        file.write_all(&bytes).await.map_err(stored)?;
    }
    if found != size {
        return Err(ControllerError::Truncated { expected: size, found });
    }
    let found = hasher.finish();
    if found != digest {
        return Err(ControllerError::Corrupt { expected: digest, found });
    }
    file.sync_all().await.map_err(stored)
}

/// Gives a file its name, durably.
fn persist(part: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    part.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()?;
    folder.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
}

async fn hash(path: &Path) -> io::Result<Digest> {
    let mut file = fs::File::open(path).await?;
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0; CHECK_BYTES]);
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn stored(error: io::Error) -> ControllerError {
    let hint =
        if error.kind() == io::ErrorKind::StorageFull { ": free some space and try again" } else { "" };
    ControllerError::Store(format!("artefacts cannot be kept: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn body(chunks: &[&'static [u8]]) -> BoxStream<io::Result<Bytes>> {
        Box::pin(stream::iter(chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect::<Vec<_>>()))
    }

    async fn all(artefacts: &Artefacts, digest: Digest) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let range = artefacts.read(digest, bytes.len() as u64).await.unwrap();
            if range.is_empty() {
                return bytes;
            }
            bytes.extend_from_slice(&range);
        }
    }

    fn files(directory: &Path) -> usize {
        let entries = std::fs::read_dir(directory).unwrap().flatten();
        entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
    }

    #[tokio::test]
    async fn a_refused_upload_is_read_to_its_end() {
        let root = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::open(root.path().to_owned()).await.unwrap();
        let mut left = 5;
        let sender = stream::poll_fn(move |_| {
            left -= 1;
            std::task::Poll::Ready((left > 0).then(|| Ok(Bytes::from_static(b"more"))))
        });
        let (ended, end) = tokio::sync::oneshot::channel();
        let sender = sender.chain(stream::once(async move {
            let _ = ended.send(());
            Ok(Bytes::new())
        }));
        let refused = artefacts.put(Digest::of(b"right"), 5, Box::pin(sender)).await.unwrap_err();
        assert!(matches!(refused, ControllerError::Truncated { .. }), "{refused}");
        end.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_stored_can_be_read_in_ranges() {
        let root = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::open(root.path().to_owned()).await.unwrap();
        let content = vec![7; ARTEFACT_READ_BYTES_MAX + 5];
        let digest = Digest::of(&content);
        let empty = Digest::of(b"");
        assert_eq!(artefacts.missing(&[digest, empty, digest]).await.unwrap(), [digest, empty]);
        let stream = stream::iter([Ok(Bytes::from(content.clone()))]);
        artefacts.put(digest, content.len() as u64, Box::pin(stream)).await.unwrap();
        artefacts.put(empty, 0, body(&[])).await.unwrap();
        assert!(artefacts.missing(&[digest, empty]).await.unwrap().is_empty());
        assert_eq!((all(&artefacts, digest).await, all(&artefacts, empty).await), (content, Vec::new()));
    }

    #[tokio::test]
    async fn nothing_is_stored_under_a_digest_that_it_does_not_have() {
        let root = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::open(root.path().to_owned()).await.unwrap();
        let digest = Digest::of(b"right");
        let corrupt = artefacts.put(digest, 5, body(&[b"wro", b"ng"])).await.unwrap_err();
        assert!(matches!(corrupt, ControllerError::Corrupt { expected, .. } if expected == digest));
        for (size, sent) in [(5, &b"righ"[..]), (4, b"right")] {
            let error = artefacts.put(digest, size, body(&[sent])).await.unwrap_err();
            assert!(matches!(error, ControllerError::Truncated { .. }), "{error}");
        }
        let broken = stream::iter([Ok(Bytes::from_static(b"ri")), Err(io::Error::other("cut"))]);
        let error = artefacts.put(digest, 5, Box::pin(broken)).await.unwrap_err();
        assert!(matches!(error, ControllerError::Truncated { expected: 5, found: 2 }), "{error}");
        assert_eq!((artefacts.missing(&[digest]).await.unwrap(), files(root.path())), (vec![digest], 0));
    }

    #[tokio::test]
    async fn what_rotted_is_missing_once_it_is_doubted() {
        let root = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::open(root.path().to_owned()).await.unwrap();
        let digest = Digest::of(b"right");
        artefacts.put(digest, 5, body(&[b"right"])).await.unwrap();
        std::fs::write(artefacts.path(digest), "rigHt").unwrap();
        assert!(
            artefacts.missing(&[digest]).await.unwrap().is_empty(),
            "nobody looks at every byte each time"
        );
        artefacts.doubt(&[digest]);
        assert_eq!(artefacts.missing(&[digest]).await.unwrap(), [digest]);
    }

    #[tokio::test]
    async fn what_rotted_is_missing_after_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::open(root.path().to_owned()).await.unwrap();
        let digest = Digest::of(b"right");
        artefacts.put(digest, 5, body(&[b"right"])).await.unwrap();
        std::fs::write(artefacts.path(digest), "rigHt").unwrap();
        std::fs::write(root.path().join("uploads/left-over"), "x").unwrap();
        let again = Artefacts::open(root.path().to_owned()).await.unwrap();
        assert_eq!(again.missing(&[digest]).await.unwrap(), [digest]);
        assert!(matches!(again.read(digest, 0).await.unwrap_err(), ControllerError::NotFound { .. }));
        assert_eq!(files(root.path()), 0);
    }
}
