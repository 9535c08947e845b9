//! Waiting for what must come: with a bound, and without a fixed time.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far more than it ever takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long nobody looks between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// How much of its bound one look uses up at most.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// Runs a future to its end, on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it never came to be that {what}");
        std::thread::sleep(LOOK_PAUSE);
    }
}

/// Whether something that is seen at once comes to be so before this is over.
///
/// One look counts a tenth of a second at most: a machine that does not run this loop runs nobody else either. So it is not
/// for looks that wait themselves, as a command does: [`wait_until`] counts all of their time.
#[must_use]
pub fn comes_within(bound: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let mut left = bound;
    loop {
        let look = Instant::now();
        if is_so() {
            return true;
        }
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(LOOK_PAUSE);
        left = left.saturating_sub(look.elapsed().min(LOOK_MAX));
    }
}
