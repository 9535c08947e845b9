//! [`Context`]: what a verb may know about the call that it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ftl_core::call::{CALL_TIMEOUT_DEFAULT, Head};
use ftl_core::name::{IdempotencyKey, ModuleName, RequestId, VerbName, VerbRef};

/// What a verb may know about the call that it answers. Take it as a parameter.
///
/// Calls that the verb makes inherit the request id and the time that is left.
///
/// ```
/// // In a test, a context comes from nowhere, or is told what it should say.
/// let context = ftl::Context::default().with_caller("shop.buy".parse().unwrap());
/// assert_eq!(context.caller().unwrap().to_string(), "shop.buy");
/// assert!(context.remaining() > std::time::Duration::from_secs(20));
/// ```
#[derive(Clone, Debug)]
pub struct Context {
    /// Shared, because everything that a call touches has one.
    head: Arc<Head>,
}

impl Context {
    pub(crate) fn of(head: Head) -> Self {
        Self { head: Arc::new(head) }
    }

    fn with(mut self, change: impl FnOnce(&mut Head)) -> Self {
        change(Arc::make_mut(&mut self.head));
        self
    }

    /// The verb that runs.
    #[must_use]
    pub fn verb(&self) -> &VerbRef {
        &self.head.target
    }

    /// The id of the whole request, the same from the edge of the system to the last deployment.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.head.request
    }

    /// The verb that calls; `None` when the call comes from outside the system.
    #[must_use]
    pub fn caller(&self) -> Option<&VerbRef> {
        self.head.caller.as_ref()
    }

    /// When the caller stops waiting.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.head.deadline.into_std()
    }

    /// How long the caller still waits.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.head.deadline.saturating_duration_since(tokio::time::Instant::now())
    }

    /// 0 for the first attempt of a call, more for those that repeat it.
    #[must_use]
    pub fn attempt(&self) -> u8 {
        self.head.attempt
    }

    /// What the caller says makes two calls the same.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.head.idempotency_key.as_ref()
    }

    /// The same, called by this verb.
    #[must_use]
    pub fn with_caller(self, caller: VerbRef) -> Self {
        self.with(|head| head.caller = Some(caller))
    }

    /// The same with another request id.
    #[must_use]
    pub fn with_request_id(self, request: RequestId) -> Self {
        self.with(|head| head.request = request)
    }

    /// The same with this much time left.
    #[must_use]
    pub fn with_remaining(self, remaining: Duration) -> Self {
        self.with(|head| head.deadline = tokio::time::Instant::now() + remaining)
    }

    /// The same as an attempt that repeats others.
    #[must_use]
    pub fn with_attempt(self, attempt: u8) -> Self {
        self.with(|head| head.attempt = attempt)
    }

    /// The same with an idempotency key.
    #[must_use]
    pub fn with_idempotency_key(self, key: IdempotencyKey) -> Self {
        self.with(|head| head.idempotency_key = Some(key))
    }

    /// The head of a call that the verb makes: it comes from this verb, one deeper, and has the time that is left.
    pub(crate) fn head_of_call(&self, target: VerbRef) -> Head {
        let mut head = Head::new(target, self.head.request.clone(), self.head.deadline);
        head.caller = Some(self.head.target.clone());
        head.depth = self.head.depth.saturating_add(1);
        head.trace = self.head.trace;
        head
    }
}

impl Default for Context {
    /// The context of a call from nowhere, for tests: of the verb `test.test`, with the default time.
    #[expect(clippy::expect_used, reason = "constants that are legal names")]
    fn default() -> Self {
        let module: ModuleName = "test".parse().expect("a legal name");
        let verb: VerbName = "test".parse().expect("a legal name");
        let request: RequestId = "test".parse().expect("a legal id");
        let deadline = tokio::time::Instant::now() + CALL_TIMEOUT_DEFAULT;
        Self::of(Head::new(VerbRef::new(module, verb), request, deadline))
    }
}
