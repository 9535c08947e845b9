//! One call: its head, its body, its reply, and [`VerbService`], which everything that can be called implements.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::failure::{CallError, Code, Failure};
use crate::key::{Replica, TableVersion};
use crate::name::{IdempotencyKey, RequestId, VerbRef};

/// Largest body of a request, a reply or a verb's error, in bytes: what fits one frame beside its metadata.
pub const BODY_BYTES_MAX: usize = (1 << 20) - (32 << 10);
/// Deepest chain of calls: a verb that calls itself for ever ends here.
pub const DEPTH_MAX: u8 = 32;
/// Attempts of one call, the first included.
pub const ATTEMPTS_MAX: u8 = 3;
/// How long a call may take when nobody says; below the grace of a drain, so that a drain cuts nothing by default.
pub const CALL_TIMEOUT_DEFAULT: std::time::Duration = std::time::Duration::from_secs(25);
/// Longest time that a caller may give a call.
pub const CALL_TIMEOUT_MAX: std::time::Duration = std::time::Duration::from_secs(3600);

/// What a call carries: opaque between its two ends, JSON at both.
///
/// Its representation is private, so that streams and typed in-process bodies can come without touching a trait.
///
/// ```
/// use ftl_core::Body;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let body = Body::once("{}");
/// assert_eq!(body.clone().collect(10).await.unwrap(), "{}");
/// assert!(body.collect(1).await.is_err(), "over the limit that the reader set");
/// # });
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Bytes);

impl Body {
    /// A body that is there as a whole.
    pub fn once(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The whole body.
    ///
    /// # Errors
    /// `resource_exhausted` when it has more than `limit` bytes.
    // Async already: a body that is a stream will have to be read.
    pub async fn collect(self, limit: usize) -> Result<Bytes, Failure> {
        if self.0.len() > limit {
            let message = format!("the body has {} bytes, the limit is {limit}", self.0.len());
            return Err(Failure::new(Code::ResourceExhausted, message));
        }
        Ok(self.0)
    }

    /// The bytes of a body that is there as a whole, as every body is until streams come.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// A copy for another attempt; `None` for a body that can be read only once.
    #[must_use]
    pub fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl fmt::Debug for Body {
    // Never the bytes: they may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// Everything about a call but its body.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Head {
    /// The verb to run.
    pub target: VerbRef,
    /// The id of the whole request, the same from the edge to the last deployment.
    pub request: RequestId,
    /// When the caller stops waiting; on the wire, the milliseconds left.
    pub deadline: Instant,
    /// The verb that calls. Only an authenticated acceptor sets it: no caller names itself.
    pub caller: Option<VerbRef>,
    /// The replica that was picked; another one that receives the call answers "not started".
    pub replica: Option<Replica>,
    /// The version of the route table that it was picked from.
    pub table: Option<TableVersion>,
    /// What makes two attempts the same to the verb.
    pub idempotency_key: Option<IdempotencyKey>,
    /// 0 at first; grows with each retry, below [`ATTEMPTS_MAX`].
    pub attempt: u8,
    /// How many calls led to this one, at most [`DEPTH_MAX`].
    pub depth: u8,
    /// W3C trace context: trace id, span id, flags.
    pub trace: Option<[u8; 25]>,
}

impl Head {
    /// The head of a first attempt from nowhere.
    #[must_use]
    pub fn new(target: VerbRef, request: RequestId, deadline: Instant) -> Self {
        Self {
            target,
            request,
            deadline,
            caller: None,
            replica: None,
            table: None,
            idempotency_key: None,
            attempt: 0,
            depth: 0,
            trace: None,
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// Everything but the body.
    pub head: Head,
    /// The request.
    pub body: Body,
}

impl Call {
    /// Puts a call together.
    #[must_use]
    pub fn new(head: Head, body: Body) -> Self {
        Self { head, body }
    }
}

/// The answer of a verb that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The verb's reply.
    pub body: Body,
}

impl Reply {
    /// A reply with this body.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self { body }
    }
}

/// Everything that can be called: the Controller, a Runner, a Deployment, the far end of a connection, a router, a fake.
///
/// # Contract
/// * `call` returns by `head.deadline`, with `deadline_exceeded` if nothing else.
/// * `NotStarted` is said only when it is certain; in doubt, the fate is `MayHaveRun`.
/// * A relay hands on the body, the verb's error and foreign failures unchanged.
/// * A verb that is not declared idempotent runs at most once per call.
///
/// # Cancellation
/// Dropping the future of a call cancels the call; the verb may run on or not begin.
///
/// # Errors
/// [`CallError::Verb`] carries the verb's own error, [`CallError::Failed`] everything else.
#[async_trait]
pub trait VerbService: fmt::Debug + Send + Sync + 'static {
    /// **Ping**: answers when it could take a call.
    async fn ping(&self, deadline: Instant) -> Result<(), Failure>;

    /// **Call**: runs one verb.
    async fn call(&self, call: Call) -> Result<Reply, CallError>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: VerbService + ?Sized> VerbService for Arc<T> {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        (**self).ping(deadline).await
    }

    // Written out, because the macro's future would carry the call once more.
    fn call<'life0, 'async_trait>(
        &'life0 self,
        call: Call,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        (**self).call(call)
    }
}
