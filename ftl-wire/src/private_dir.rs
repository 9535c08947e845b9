//! A directory of this user alone, with a path short enough for a socket, that does not outlive its process for long.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use crate::limits::SOCKET_PATH_BYTES_MAX;

/// How such directories are called, once their lock is held.
const PREFIX: &str = "ftl-wire-";
/// Held for as long as the process lives: whoever can take it has found a directory that nobody uses.
const LOCK: &str = "lock";
/// The longest name of a file in it.
const FILE_BYTES_MAX: usize = 8;

/// A private directory. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    path: PathBuf,
    _lock: File,
}

impl PrivateDir {
    /// Makes one in the temporary directory, or in a shorter place if paths in it would be too long, after it has
    /// removed what killed processes left there.
    pub(crate) fn new(label: &str) -> io::Result<Self> {
        Self::in_one_of(places(), label)
    }

    /// Makes the one of this path again, after a process that is no more.
    ///
    /// # Errors
    /// When somebody uses it, or the path is none that [`PrivateDir::new`] chose.
    pub(crate) fn again(path: &Path) -> io::Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
        let (Some(parent), Some(name)) = (path.parent(), name) else {
            let message = format!("{} is no private directory", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        sweep(parent);
        Self::make(parent, name, path.to_owned())
    }

    fn in_one_of(places: impl Iterator<Item = PathBuf>, label: &str) -> io::Result<Self> {
        let name: String = label.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        let mut random = [0; 4];
        getrandom::fill(&mut random)?;
        let name = format!("{name}-{:08x}", u32::from_le_bytes(random));
        let mut last = io::Error::other("no place has a path that is short enough for a socket");
        for parent in places {
            let path = parent.join(format!("{PREFIX}{name}"));
            if path.as_os_str().as_bytes().len() + 1 + FILE_BYTES_MAX > SOCKET_PATH_BYTES_MAX {
                continue;
            }
            sweep(&parent);
            match Self::make(&parent, &name, path) {
                Ok(made) => return Ok(made),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The directory gets its name when its lock is held: until then nobody takes it for a forgotten one.
    fn make(parent: &Path, name: &str, path: PathBuf) -> io::Result<Self> {
        let unnamed = parent.join(format!("ftl-new-{name}"));
        DirBuilder::new().mode(0o700).create(&unnamed)?;
        let made = File::create_new(unnamed.join(LOCK)).and_then(|lock| {
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            fs::rename(&unnamed, &path)?;
            Ok(lock)
        });
        match made {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) => {
                let _ = fs::remove_dir_all(&unnamed);
                Err(error)
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where to look for a place: what the user chose first, then short ones.
fn places() -> impl Iterator<Item = PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    [Some(env::temp_dir()), runtime, Some("/tmp".into()), Some("/var/tmp".into()), Some("/dev/shm".into())]
        .into_iter()
        .flatten()
        .filter(|place| place.is_absolute())
}

/// Removes the directories of this user whose processes are no more.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes())
            // The entry's own metadata: a link is not followed.
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        if ours && is_forgotten(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_forgotten(path: &Path) -> bool {
    File::open(path.join(LOCK))
        .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_private_and_ends_with_its_owner() {
        let directory = PrivateDir::new("test").unwrap();
        let path = directory.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(path.as_os_str().len() + 1 + FILE_BYTES_MAX <= SOCKET_PATH_BYTES_MAX);
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn the_place_of_a_process_that_is_no_more_is_taken_again() {
        let parent = tempfile::tempdir().unwrap();
        let first = PrivateDir::in_one_of([parent.path().to_owned()].into_iter(), "test").unwrap();
        let path = first.path().to_owned();
        assert!(PrivateDir::again(&path).is_err());
        // As after a kill: the directory is there, the lock is not held.
        let PrivateDir { path: _, _lock: lock } = &first;
        flock(lock, FlockOperation::Unlock).unwrap();
        std::mem::forget(first);
        assert_eq!(PrivateDir::again(&path).unwrap().path(), path);
        assert_eq!(PrivateDir::again(&path).unwrap().path(), path);
        assert!(PrivateDir::again(Path::new("/etc/passwd")).is_err());
    }

    #[test]
    fn a_place_with_a_long_path_is_passed_over() {
        let parent = tempfile::tempdir().unwrap();
        let long = parent.path().join("x".repeat(SOCKET_PATH_BYTES_MAX));
        fs::create_dir(&long).unwrap();
        let places = [long.clone(), parent.path().join("not there"), parent.path().to_owned()];
        let made = PrivateDir::in_one_of(places.into_iter(), "test").unwrap();
        assert_eq!(made.path().parent(), Some(parent.path()));
        assert!(PrivateDir::in_one_of([long].into_iter(), "test").is_err());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_lives_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            PrivateDir::make(parent.path(), name, parent.path().join(format!("{PREFIX}{name}"))).unwrap()
        };
        let (live, dead) = (make("live"), make("dead"));
        let left = dead.path().to_owned();
        // A killed process loses its lock and removes nothing.
        let PrivateDir { _lock, .. } = &dead;
        flock(_lock, FlockOperation::Unlock).unwrap();
        std::mem::forget(dead);
        sweep(parent.path());
        assert!(live.path().exists());
        assert!(!left.exists());
    }
}
