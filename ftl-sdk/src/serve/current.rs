//! Which call a thread works on. Its log lines name it, and the watchdog asks for it.
//!
//! Every poll of a verb says so to its thread, and nothing else: a line costs when it is written, not when it could be.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Waking, Poll};

use crate::context::Context;

thread_local! {
    static HERE: Arc<Worker> = Arc::default();
}

/// A thread that runs verbs.
#[derive(Debug, Default)]
pub(super) struct Worker(Mutex<Work>);

/// What a thread does.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    /// Changes with every poll that begins or ends, so that two looks can tell whether they saw the same one.
    pub(super) number: u64,
    /// The call whose verb is being polled.
    pub(super) call: Option<Context>,
}

impl Worker {
    /// This thread.
    pub(super) fn here() -> Arc<Self> {
        HERE.with(Arc::clone)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it does now.
    pub(super) fn look(&self) -> Work {
        self.work().clone()
    }

    fn turn_to(&self, call: Option<Context>) -> Option<Context> {
        let mut work = self.work();
        work.number += 1;
        std::mem::replace(&mut work.call, call)
    }
}

/// Goes back to what the thread did before, also when the verb panics.
struct Back<'a>(&'a Worker, Option<Context>);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        self.0.turn_to(self.1.take());
    }
}

/// Does something for a call.
pub(super) fn during<T>(call: &Context, act: impl FnOnce() -> T) -> T {
    HERE.with(|worker| {
        let _back = Back(worker, worker.turn_to(Some(call.clone())));
        act()
    })
}

/// Writes what the thread works on, if it works on a call.
pub(super) fn describe(write: impl FnOnce(&Context) -> fmt::Result) -> fmt::Result {
    // A thread that is ending works on nothing.
    HERE.try_with(|worker| worker.work().call.as_ref().map_or(Ok(()), write)).unwrap_or(Ok(()))
}

/// A future that belongs to a call, wherever it is polled.
pub(super) struct During<F> {
    call: Context,
    future: F,
}

impl<F> During<F> {
    pub(super) fn new(call: Context, future: F) -> Self {
        Self { call, future }
    }
}

impl<F: Future + Unpin> Future for During<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<F::Output> {
        let Self { call, future } = self.get_mut();
        during(call, || Pin::new(future).poll(waking))
    }
}
