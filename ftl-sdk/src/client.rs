//! [`Client`]: calls one verb.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::call::{ATTEMPTS_MAX, BODY_BYTES_MAX, DEPTH_MAX};
use ftl_core::name::{IdempotencyKey, VerbRef};
use ftl_core::{Body, Call, CallError, Code, Failure, Head, Reply, VerbService};
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::failure::Contract;
use crate::json;
use crate::verb::Verb;

/// Pause before the second and every later retry; the first is made at once.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Calls one verb. As a parameter it is the right to call it, and the declaration that you do.
///
/// A call inherits the request id and the deadline of the call in which it is made. It is tried again, at most
/// [`ATTEMPTS_MAX`] times in all, when it certainly was not started, or when the verb is `idempotent`.
pub struct Client<V> {
    outward: Arc<dyn VerbService>,
    context: Context,
    idempotency_key: Option<IdempotencyKey>,
    attempts_max: u8,
    verb: PhantomData<fn() -> V>,
}

impl<V: Verb> Client<V> {
    /// A client for the calls of a verb that is running.
    pub(crate) fn of_call(outward: Arc<dyn VerbService>, context: Context) -> Self {
        Self { outward, context, idempotency_key: None, attempts_max: ATTEMPTS_MAX, verb: PhantomData }
    }

    /// A client that calls through any service, in the name of `test.test`.
    #[must_use]
    pub fn over(service: Arc<dyn VerbService>) -> Self {
        Self::of_call(service, Context::default())
    }

    /// A stand-in for tests: this closure answers.
    ///
    /// Requests and replies are encoded and decoded as they are between two processes.
    pub fn fake<F, Answer>(answer: F) -> Self
    where
        F: Fn(V::Request) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<V::Reply, V::Error>> + Send + 'static,
    {
        let fake: Fake<V, F> = Fake { answer, verb: PhantomData };
        Self { attempts_max: 1, ..Self::over(Arc::new(fake)) }
    }

    /// A stand-in for tests: every call fails on its way.
    #[must_use]
    pub fn broken(code: Code) -> Self {
        Self { attempts_max: 1, ..Self::over(Arc::new(Broken(code))) }
    }

    /// The same with a key that tells the verb which calls are the same.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// The same for calls that may take this long, or as long as the running call has left if that is less.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.context = self.context.clone().with_remaining(timeout.min(self.context.remaining()));
        self
    }

    /// Calls the verb.
    ///
    /// # Errors
    /// [`CallError::Verb`] with the verb's own error, [`CallError::Failed`] with what went wrong around it.
    pub async fn call(&self, request: V::Request) -> Result<V::Reply, CallError<V::Error>> {
        let head = self.head()?;
        let (target, id) = (head.target.clone(), head.request.clone());
        let answer = match json::encode(&request) {
            Ok(body) => self.attempt(Call::new(head, body)).await,
            Err(failure) => Err(failure.not_started(false).into()),
        };
        let result = match answer {
            Ok(reply) => read(reply.body, json::decode, "reply").map_err(CallError::Failed),
            Err(CallError::Verb(error)) => match read(error, V::Error::decode_error, "error") {
                Ok(error) => return Err(CallError::Verb(error)),
                Err(failure) => Err(CallError::Failed(failure)),
            },
            Err(CallError::Failed(failure)) => Err(CallError::Failed(failure)),
        };
        result.map_err(|error| match error {
            CallError::Failed(failure) => CallError::Failed(failure.of_call(&target, &id)),
            verb @ CallError::Verb(_) => verb,
        })
    }

    fn head(&self) -> Result<Head, Failure> {
        let target: VerbRef = format!("{}.{}", V::MODULE, V::NAME)
            .parse()
            .map_err(|error| Failure::new(Code::Internal, format!("{error}")).not_started(false))?;
        let mut head = self.context.head_of_call(target);
        head.idempotency_key.clone_from(&self.idempotency_key);
        if head.depth > DEPTH_MAX {
            let message = format!(
                "this would be call number {} inside each other, the limit is {DEPTH_MAX}",
                head.depth
            );
            return Err(Failure::new(Code::ResourceExhausted, message).not_started(false));
        }
        Ok(head)
    }

    /// Calls until there is an answer, or no reason to try again.
    async fn attempt(&self, mut call: Call) -> Result<Reply, CallError> {
        loop {
            let again = call.body.replay().map(|body| Call::new(call.head.clone(), body));
            let failure = match self.outward.call(call).await {
                Err(CallError::Failed(failure)) => failure,
                answered => return answered,
            };
            let Some(mut next) = again else { return Err(failure.into()) };
            next.head.attempt += 1;
            let pause = if next.head.attempt == 1 { Duration::ZERO } else { RETRY_PAUSE };
            let pause = failure.retry_after.unwrap_or(pause);
            let in_time = Instant::now() + pause < next.head.deadline;
            if !failure.may_retry(V::IDEMPOTENT) || next.head.attempt >= self.attempts_max || !in_time {
                return Err(failure.into());
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
            call = next;
        }
    }
}

/// Reads what a callee answered. It ran, whatever it answered.
fn read<T>(body: Body, decode: fn(&[u8]) -> Result<T, String>, what: &str) -> Result<T, Failure> {
    decode(body.bytes()).map_err(|problem| {
        let message = format!("the {what} is not what this caller was built for: {problem}");
        Failure::new(Code::Internal, message).passed_on()
    })
}

impl<V> Clone for Client<V> {
    fn clone(&self) -> Self {
        Self {
            outward: self.outward.clone(),
            context: self.context.clone(),
            idempotency_key: self.idempotency_key.clone(),
            attempts_max: self.attempts_max,
            verb: PhantomData,
        }
    }
}

impl<V: Verb> fmt::Debug for Client<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client<{}.{}>", V::MODULE, V::NAME)
    }
}

struct Fake<V, F> {
    answer: F,
    verb: PhantomData<fn() -> V>,
}

impl<V: Verb, F> fmt::Debug for Fake<V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fake<{}.{}>", V::MODULE, V::NAME)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<V, F, Answer> VerbService for Fake<V, F>
where
    V: Verb,
    F: Fn(V::Request) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<V::Reply, V::Error>> + Send + 'static,
{
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let json = call.body.collect(BODY_BYTES_MAX).await?;
        let request = json::decode(&json)
            .map_err(|problem| Failure::new(Code::InvalidArgument, problem).not_started(false))?;
        match (self.answer)(request).await {
            Ok(reply) => Ok(Reply::new(json::encode(&reply)?)),
            Err(error) => Err(CallError::Verb(error.encode_error()?)),
        }
    }
}

#[derive(Debug)]
struct Broken(Code);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Broken {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Err(self.failure())
    }

    async fn call(&self, _call: Call) -> Result<Reply, CallError> {
        Err(self.failure().into())
    }
}

impl Broken {
    fn failure(&self) -> Failure {
        Failure::new(self.0, "broken by the test")
    }
}
