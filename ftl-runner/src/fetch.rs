//! Brings a deployment's files: by ranged reads, verified while they are written, never visible half.

use std::collections::HashMap;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ftl_core::ControllerError;
use ftl_core::artefact::{Artefact, Manifest, Mode};
use ftl_core::digest::{Digest, Hasher};
use tokio::fs;
use tokio::io::AsyncWriteExt;

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
    /// The bytes from `offset` on, at most one range; empty at the end.
    async fn read(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError>;
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
    let mut fetched: HashMap<Digest, PathBuf> = HashMap::new();
    let wanted = |artefact: &&Artefact| libraries || artefact.mode != Mode::Library;
    for artefact in manifest.artefacts().iter().filter(wanted) {
        let path = directory.join(artefact.path.as_str());
        let failed = |reason| FetchError::Write { path: artefact.path.to_string(), reason };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).await.map_err(failed)?;
        }
        match fetched.get(&artefact.digest) {
            // A copy, not a link: two paths may have two modes.
            Some(first) => {
                fs::copy(first, &path).await.map_err(failed)?;
            }
            None => {
                write_verified(source, artefact, &path).await?;
                fetched.insert(artefact.digest, path.clone());
            }
        }
        fs::set_permissions(&path, Permissions::from_mode(artefact.mode.bits())).await.map_err(failed)?;
    }
    Ok(directory.join(program.path.as_str()))
}

async fn write_verified(source: &impl Source, artefact: &Artefact, path: &Path) -> Result<(), FetchError> {
    let failed = |reason| FetchError::Write { path: artefact.path.to_string(), reason };
    let part = path.with_file_name(format!(".{}.part", artefact.digest));
    let mut file = fs::File::create(&part).await.map_err(failed)?;
    let mut hasher = Hasher::default();
    let mut offset = 0;
    loop {
        let range = source.read(artefact.digest, offset).await;
        let range = range.map_err(|reason| FetchError::Read { path: artefact.path.to_string(), reason })?;
        if range.is_empty() {
            break;
        }
        offset += range.len() as u64;
        if offset > artefact.size {
            return Err(truncated(artefact, offset));
        }
        hasher.update(&range);
        file.write_all(&range).await.map_err(failed)?;
    }
    if offset != artefact.size {
        return Err(truncated(artefact, offset));
    }
    let found = hasher.finish();
    if found != artefact.digest {
        let path = artefact.path.to_string();
        return Err(FetchError::Corrupt { path, expected: artefact.digest, found });
    }
    file.sync_all().await.map_err(failed)?;
    drop(file);
    fs::rename(&part, path).await.map_err(failed)
}

fn truncated(artefact: &Artefact, found: u64) -> FetchError {
    FetchError::Truncated { path: artefact.path.to_string(), expected: artefact.size, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves the given bytes under any digest, in ranges of three.
    struct Bytewise(Vec<(Digest, &'static [u8])>);

    impl Source for Bytewise {
        async fn read(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
            let content = self.0.iter().find(|(known, _)| *known == digest).unwrap().1;
            let from = (offset as usize).min(content.len());
            Ok(Bytes::from_static(&content[from..content.len().min(from + 3)]))
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
        let source = Bytewise(vec![(Digest::of(b"#!/bin/sh"), b"#!/bin/sh"), (Digest::of(b""), b"")]);
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

    #[tokio::test]
    async fn wrong_bytes_never_get_their_name() {
        for (sent, words) in [(&b"wrong!"[..], "is corrupt"), (b"righ", "4"), (b"right and more", "bytes")] {
            let directory = tempfile::tempdir().unwrap();
            let manifest = Manifest::new(vec![artefact("run", b"right!", Mode::Executable)]).unwrap();
            let source = Bytewise(vec![(Digest::of(b"right!"), sent)]);
            let error = fetch(&source, &manifest, directory.path(), false).await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(!directory.path().join("run").exists());
        }
    }
}
