//! The data directory: one Controller at a time, and the files that nobody else may read.
//!
//! `lock` is held as long as the Controller runs and names its process; `cluster.key` is what every Runner's secret is
//! derived from; `token` is what clients show; `controller.db` and `artefacts/` are the store.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ftl_core::Secret;

use crate::error::ServiceError;

/// Bytes of the cluster's key, and of the randomness in a token.
const KEY_BYTES: usize = 32;

/// Held by the Controller that works in a data directory.
const LOCK: &str = "lock";

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    /// Held as long as this lives; the kernel releases it however the process ends.
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory if it is not there, and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, ServiceError> {
        let cannot = |source| ServiceError::Data { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(cannot)?;
        let path = path.canonicalize().map_err(cannot)?;
        let lock_path = path.join(LOCK);
        let mut lock = private().truncate(false).open(&lock_path).map_err(cannot)?;
        if lock.try_lock().is_err() {
            let mut holder = String::new();
            // Only for the message: without it, the directory is still in use.
            let _ = lock.read_to_string(&mut holder);
            return Err(ServiceError::InUse { path, holder: holder.trim().to_owned() });
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(cannot)?;
        Ok(Self { path, _lock: lock })
    }

    /// Makes durable that everything in it is in it, and that it is there itself.
    pub(crate) fn sync(&self) -> Result<(), ServiceError> {
        let parent = self.path.parent().unwrap_or(&self.path);
        let sync = |path: &Path| File::open(path)?.sync_all();
        let cannot = |source| ServiceError::Data { path: self.path.clone(), source };
        sync(&self.path).and_then(|()| sync(parent)).map_err(cannot)
    }

    pub(crate) fn database(&self) -> PathBuf {
        Self::database_in(&self.path)
    }

    /// Where the database of a data directory is that nobody holds.
    pub(crate) fn database_in(path: &Path) -> PathBuf {
        path.join("controller.db")
    }

    pub(crate) fn artefacts(&self) -> PathBuf {
        self.path.join("artefacts")
    }

    pub(crate) fn token_path(&self) -> PathBuf {
        self.path.join("token")
    }

    /// The key that every Runner's secret is derived from, made at the first start.
    pub(crate) fn cluster_key(&self) -> Result<Secret, ServiceError> {
        self.secret("cluster.key", |key| key.to_vec())
    }

    /// The token that clients show, made at the first start.
    pub(crate) fn token(&self) -> Result<Secret, ServiceError> {
        let hex = |key: &[u8]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
        self.secret("token", hex)
    }

    fn secret(&self, name: &str, encode: impl Fn(&[u8]) -> Vec<u8>) -> Result<Secret, ServiceError> {
        let path = self.path.join(name);
        let cannot = |source| ServiceError::Data { path: path.clone(), source };
        match fs::read(&path) {
            Ok(bytes) if bytes.is_empty() => Err(cannot(io::Error::other("it is empty"))),
            Ok(bytes) => Ok(Secret::new(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut random = [0; KEY_BYTES];
                getrandom::fill(&mut random).map_err(|error| cannot(error.into()))?;
                let bytes = encode(&random);
                self.write_durably(&path, &bytes).map_err(cannot)?;
                Ok(Secret::new(bytes))
            }
            Err(error) => Err(cannot(error)),
        }
    }

    /// There as a whole or not at all, also after a power loss.
    fn write_durably(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let part = path.with_extension("part");
        let mut file = private().truncate(true).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        File::open(&self.path)?.sync_all()
    }
}

/// Whether a Controller works in this data directory now.
///
/// # Errors
/// When the directory is there and cannot be looked into.
pub fn in_use(data: &Path) -> io::Result<bool> {
    match File::open(data.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(lock) => Ok(lock.try_lock().is_err()),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_controller_at_a_time_and_the_holder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let held = DataDirectory::open(&path).unwrap();
        let error = DataDirectory::open(&path).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(held);
        DataDirectory::open(&path).unwrap();
    }

    #[test]
    fn secrets_are_made_once_and_private() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(root.path()).unwrap();
        let (key, token) = (data.cluster_key().unwrap(), data.token().unwrap());
        assert_eq!((key.expose().len(), token.expose().len()), (KEY_BYTES, 2 * KEY_BYTES));
        assert!(data.cluster_key().unwrap() == key && data.token().unwrap() == token);
        for name in ["cluster.key", "token", "lock"] {
            let mode = fs::metadata(root.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
