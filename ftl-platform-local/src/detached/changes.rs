//! Hears of changes in the platform's directory: an instance appeared, went, or ended.
//!
//! A shim that wrote down how its Runner ended touches the directory of the instance, so one watch hears of all. Nobody
//! touches it for a shim that was killed: a watch loses, and who listens observes all the same.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use ftl_core::key::RunnerKey;
use ftl_core::name::ClusterId;
use ftl_core::platform::{ALIVE_EVERY, Wake};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::common::key_of;

/// Wakes that wait for who listens; what finds no place is merged into one that does.
const WAKES: usize = 16;
/// Room for the names of some changes at once.
const BUFFER_BYTES: usize = 4096;

/// Listens, until the receiver is dropped.
pub(super) fn listen(directory: &Path, cluster: ClusterId) -> io::Result<mpsc::Receiver<Wake>> {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let what = WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::ATTRIB | WatchFlags::ONLYDIR;
    inotify::add_watch(&inotify, directory, what)?;
    let inotify = ready(inotify)?;
    let (sender, receiver) = mpsc::channel(WAKES);
    // The channel is empty.
    let _ = sender.try_send(Wake::Subscribed);
    // Ends when nobody listens any more, or when the directory cannot be watched: then who listens asks again.
    tokio::spawn(async move { drop(hear(&inotify, &cluster, &sender).await) });
    Ok(receiver)
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that change their descriptor, which this one does not"
)]
fn ready(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

async fn hear(inotify: &AsyncFd<OwnedFd>, cluster: &ClusterId, to: &mpsc::Sender<Wake>) -> io::Result<()> {
    loop {
        tokio::select! {
            ready = inotify.readable() => {
                ready?.clear_ready();
                for changed in read(inotify.get_ref(), cluster)? {
                    // When there is no place, who listens has reasons enough to observe.
                    let _ = to.try_send(Wake::Changed(changed));
                }
            }
            () = sleep(ALIVE_EVERY) => drop(to.try_send(Wake::Alive)),
            () = to.closed() => return Ok(()),
        }
    }
}

/// What changed: instances of the cluster, and `None` when some changes were lost.
fn read(inotify: &OwnedFd, cluster: &ClusterId) -> io::Result<Vec<Option<RunnerKey>>> {
    let mut changed = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = Reader::new(inotify, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) => changed.push(None),
            Ok(event) => {
                let name = event.file_name().and_then(|name| name.to_str().ok()).unwrap_or_default();
                changed.extend(key_of(Path::new(name), cluster).map(Some));
            }
            Err(Errno::AGAIN) => return Ok(changed),
            Err(error) => return Err(error.into()),
        }
    }
}
