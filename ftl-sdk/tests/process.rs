//! What a verb meets while it runs, seen by its caller: everything but the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ftl::call::{Body, Call, Head, Reply, VerbService};
use ftl::{CallError, Client, Code, Context, Failure, Fate};
use tokio::time::Instant;

ftl::module! {
    verbs: [
        ask, ask_again, ask_opaquely, blocks, inner, panics, recurses, repeats, sees, sleeps, swears, tells,
        told_idempotently, untrue
    ]
}

/// A request with something in it.
#[ftl::data]
#[derive(Eq, PartialOrd, Ord)]
pub struct Order {
    /// What.
    pub items: Vec<Item>,
}

/// A part of an order.
#[ftl::data]
#[derive(Eq, PartialOrd, Ord)]
pub struct Item {
    /// How many.
    pub count: u8,
}

/// An error of its own.
#[ftl::error]
pub enum Refused {
    /// Too many.
    #[error("more than {max}")]
    TooMany {
        /// How many are allowed.
        max: u8,
    },
}

/// An error that contains another.
#[ftl::error]
pub enum Asked {
    /// The callee's.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
}

/// Counts.
#[ftl::verb]
pub async fn tells(order: Order) -> Result<u8, Refused> {
    let sum = order.items.iter().map(|item| u32::from(item.count)).sum::<u32>();
    u8::try_from(sum).map_err(|_| Refused::TooMany { max: u8::MAX })
}

/// The same for all times.
#[ftl::verb(idempotent)]
pub async fn told_idempotently() -> u8 {
    1
}

/// Hands everything on.
#[ftl::verb]
pub async fn ask(order: Order, tells: Client<tells>) -> Result<u8, Asked> {
    Ok(tells.call(order).await?)
}

/// Hands the failure of its callee's callee on.
#[ftl::verb]
pub async fn ask_again(order: Order, ask: Client<ask>) -> Result<u8, ftl::Error> {
    Ok(ask.call(order).await?)
}

/// Hands on what it can name no better.
#[ftl::verb]
pub async fn ask_opaquely(text: String) -> Result<u8, ftl::Error> {
    Ok(text.parse()?)
}

/// Says what it knows of its call.
#[ftl::verb]
pub async fn sees(context: &Context) -> Vec<String> {
    let caller = context.caller().map(ToString::to_string).unwrap_or_default();
    vec![context.verb().to_string(), caller, context.request_id().to_string()]
}

/// Asks what its callee sees.
#[ftl::verb]
pub async fn repeats(sees: Client<sees>) -> Result<Vec<String>, ftl::Error> {
    Ok(sees.call(()).await?)
}

/// Only this module's own.
#[ftl::verb]
pub(crate) async fn inner() {}

/// Breaks.
#[ftl::verb]
pub async fn panics(secret: String) -> u8 {
    secret.parse().expect("a number")
}

/// Waits.
#[ftl::verb]
pub async fn sleeps() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

/// Blocks, where it may.
#[ftl::verb(blocking)]
pub async fn blocks(again: Client<sees>) -> Result<Vec<String>, ftl::Error> {
    std::thread::sleep(Duration::from_millis(5));
    Ok(again.call(()).await?)
}

/// Breaks where it may block.
#[ftl::verb(blocking)]
pub async fn swears() {
    panic!("on a thread of its own");
}

/// Calls itself for ever.
#[ftl::verb]
pub async fn recurses(depth: u32, again: Client<recurses>) -> Result<u32, ftl::Error> {
    Ok(again.call(depth + 1).await?)
}

/// Has a type whose hand-written half does not do what the schema says.
#[ftl::verb]
pub async fn untrue() -> Lie {
    Lie
}

/// Says that it is a text, and writes a number.
#[derive(Debug)]
pub struct Lie;

impl serde::Serialize for Lie {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(4711)
    }
}

impl<'de> serde::Deserialize<'de> for Lie {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

impl ftl::Data for Lie {
    fn describe(types: &mut ftl::Types) -> ftl::schema::Type {
        String::describe(types)
    }
}

impl ftl::Output for Lie {
    type Reply = Self;
    type Error = std::convert::Infallible;
    fn into_result(self) -> Result<Self, std::convert::Infallible> {
        Ok(self)
    }
}

fn client<V: ftl::Verb>() -> Client<V> {
    Client::over(ftl::in_process(MODULE))
}

fn order(counts: &[u8]) -> Order {
    Order { items: counts.iter().map(|count| Item { count: *count }).collect() }
}

fn failure<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, CallError<E>>) -> Failure {
    match result {
        Err(CallError::Failed(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

/// Calls with a body that no client would send.
async fn raw(verb: &str, body: &str) -> Failure {
    let deadline = Instant::now() + Duration::from_secs(5);
    let head = Head::new(format!("ftl_sdk.{verb}").parse().unwrap(), "r-1".parse().unwrap(), deadline);
    failure(ftl::in_process(MODULE).call(Call::new(head, Body::once(body.to_owned()))).await)
}

#[tokio::test]
async fn replies_and_typed_errors_arrive_as_they_are() {
    assert_eq!(client::<tells>().call(order(&[1, 2])).await.unwrap(), 3);
    let Err(CallError::Verb(error)) = client::<tells>().call(order(&[200, 200])).await else {
        panic!("no error")
    };
    assert_eq!(error, Refused::TooMany { max: 255 });
    let Err(CallError::Verb(error)) = client::<ask>().call(order(&[200, 200])).await else {
        panic!("no error")
    };
    assert_eq!(error, Asked::Refused(Refused::TooMany { max: 255 }), "through another verb, nested");
}

#[tokio::test]
async fn a_request_that_cannot_be_read_names_the_path_and_did_not_start() {
    for (body, problem) in [
        (r#"{"items": [{"count": 1}, {}]}"#, "$.items[1].count: this field is missing"),
        (r#"{"items": [{"count": "secret"}]}"#, "$.items[0].count: expected u8, found a string"),
        (r#"{"items": [{"count": 256}]}"#, "$.items[0].count: the number does not fit u8"),
        ("[", "$: this is no JSON at line 1, column 1"),
        ("", "$: expected ftl_sdk.Order, found null"),
    ] {
        let failure = raw("tells", body).await;
        assert_eq!(failure.code, Code::InvalidArgument);
        assert!(failure.message.starts_with("the request of `ftl_sdk.tells` cannot be read: "), "{failure}");
        assert!(failure.message.ends_with(problem) || body.is_empty(), "{failure}");
        assert_eq!(failure.fate, Fate::NotStarted { elsewhere: false });
        assert_eq!(failure.request.unwrap().as_str(), "r-1");
    }
}

#[tokio::test]
async fn what_is_not_served_is_not_found_and_the_nearest_name_is_offered() {
    let unknown = raw("tels", "null").await;
    assert_eq!(unknown.code, Code::NotFound);
    assert_eq!(unknown.message, "module `ftl_sdk` has no verb `tels`; did you mean `tells`?");
    assert_eq!(unknown.fate, Fate::NotStarted { elsewhere: false });
    let elsewhere = failure(client::<clock::now>().call(()).await);
    assert_eq!(
        (elsewhere.code, elsewhere.message.as_str()),
        (Code::NotFound, "the module `clock` is not in this process")
    );
}

#[tokio::test]
async fn a_failure_that_is_handed_on_is_no_longer_not_started() {
    let tells = || Client::<tells>::broken(Code::Unavailable);
    let passed = ask(order(&[1]), tells()).await.unwrap_err();
    let CallError::Failed(passed) = ftl::VerbError::raise(passed) else { panic!("no failure") };
    assert_eq!((passed.code, passed.fate), (Code::Unavailable, Fate::Ran));
    // And through an opaque error, with its code.
    let ask = Client::<ask>::broken(Code::ResourceExhausted);
    let CallError::Failed(passed) = ftl::VerbError::raise(ask_again(order(&[1]), ask).await.unwrap_err());
    assert_eq!((passed.code, passed.fate), (Code::ResourceExhausted, Fate::Ran));
    assert_eq!(passed.message, "broken by the test");
}

#[tokio::test]
async fn an_opaque_error_is_internal_with_its_causes() {
    let refused = failure(client::<ask_opaquely>().call("x".to_owned()).await);
    assert_eq!((refused.code, refused.fate), (Code::Internal, Fate::Ran));
    assert_eq!(refused.message, "invalid digit found in string");
    let typed = failure(client::<ask_again>().call(order(&[200, 200])).await);
    assert_eq!(typed.message, "the verb returned its error: refused: more than 255");
}

#[tokio::test]
async fn a_call_inherits_its_request_and_names_its_caller() {
    let seen = client::<repeats>().call(()).await.unwrap();
    assert_eq!(seen, ["ftl_sdk.sees", "ftl_sdk.repeats", "test"]);
    let direct = client::<sees>().call(()).await.unwrap();
    assert_eq!(direct, ["ftl_sdk.sees", "test.test", "test"]);
}

#[tokio::test]
async fn a_panic_ends_its_own_call_only_and_tells_no_secret() {
    let client = client::<panics>();
    let failure = failure(client.call("hunter2".to_owned()).await);
    assert_eq!((failure.code, failure.fate), (Code::Internal, Fate::Ran));
    assert_eq!(failure.message, "the verb `ftl_sdk.panics` panicked; its log says where");
    assert_eq!(client.call("7".to_owned()).await.unwrap(), 7);
}

#[tokio::test]
async fn a_blocking_verb_runs_elsewhere_and_breaks_alone() {
    assert_eq!(client::<blocks>().call(()).await.unwrap()[1], "ftl_sdk.blocks");
    let failure = failure(client::<swears>().call(()).await);
    assert_eq!(failure.message, "the verb `ftl_sdk.swears` panicked; its log says where");
}

#[tokio::test(start_paused = true)]
async fn a_verb_is_stopped_at_its_deadline() {
    let before = Instant::now();
    let failure = failure(client::<sleeps>().with_timeout(Duration::from_secs(2)).call(()).await);
    assert_eq!((failure.code, failure.fate), (Code::DeadlineExceeded, Fate::Ran));
    assert_eq!(before.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn recursion_ends() {
    let failure = failure(client::<recurses>().call(0).await);
    assert_eq!(failure.code, Code::ResourceExhausted);
    assert!(failure.message.contains("the limit is 32"), "{failure}");
}

#[tokio::test]
async fn a_reply_that_is_not_what_its_schema_says_is_refused_without_its_value() {
    let failure = failure(client::<untrue>().call(()).await);
    assert_eq!(failure.code, Code::Internal);
    let problem = "a value of `Lie` cannot be sent: it does not look as its schema says: $: expected text, found a number";
    assert_eq!(failure.message, problem);
}

/// Fails in this way, and counts how often it was asked.
#[derive(Debug)]
struct Failing {
    fate: Fate,
    asked: AtomicU32,
}

#[async_trait]
impl VerbService for Failing {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        assert_eq!(u32::from(call.head.attempt), self.asked.fetch_add(1, Ordering::SeqCst));
        let mut failure = Failure::new(Code::Unavailable, "down");
        failure.fate = self.fate;
        Err(failure.into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_tried_again_only_where_that_is_safe() {
    async fn asked<V: ftl::Verb<Request = ()>>(fate: Fate) -> u32
    where
        V::Reply: std::fmt::Debug,
    {
        let failing = Arc::new(Failing { fate, asked: AtomicU32::new(0) });
        failure(Client::<V>::over(failing.clone()).call(()).await);
        failing.asked.load(Ordering::SeqCst)
    }
    let elsewhere = Fate::NotStarted { elsewhere: true };
    assert_eq!(asked::<sees>(elsewhere).await, 3, "it certainly did not run");
    assert_eq!(asked::<sees>(Fate::NotStarted { elsewhere: false }).await, 1, "the answer will be the same");
    assert_eq!(asked::<sees>(Fate::MayHaveRun).await, 1, "it may have run");
    assert_eq!(asked::<told_idempotently>(Fate::MayHaveRun).await, 3, "it may have run, and may run again");
    assert_eq!(asked::<told_idempotently>(Fate::Ran).await, 1, "it ran");
}

#[tokio::test]
async fn a_private_verb_answers_its_own_module_only() {
    let call = |caller: Option<&str>| {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut head = Head::new("ftl_sdk.inner".parse().unwrap(), "r-1".parse().unwrap(), deadline);
        head.caller = caller.map(|caller| caller.parse().unwrap());
        async move { ftl::in_process(MODULE).call(Call::new(head, Body::once("null"))).await }
    };
    assert!(call(Some("ftl_sdk.ask")).await.is_ok());
    let refused = failure(call(Some("shop.buy")).await);
    assert_eq!((refused.code, refused.fate), (Code::PermissionDenied, Fate::NotStarted { elsewhere: false }));
    assert!(refused.message.contains("mark it `pub`"), "{refused}");
}

#[test]
fn the_schema_says_what_the_code_says() {
    let schema = MODULE.schema().unwrap();
    assert_eq!(schema.verb("inner").unwrap().visibility, ftl::schema::Visibility::Module);
    assert_eq!(schema.verb("ask").unwrap().visibility, ftl::schema::Visibility::System);
    assert_eq!(schema.verb("ask").unwrap().calls, ["ftl_sdk.tells".parse().unwrap()]);
    assert!(schema.verb("told_idempotently").unwrap().idempotent && !schema.verb("ask").unwrap().idempotent);
    insta::assert_snapshot!(schema.to_text());
}
