// Every form that a verb may have.
use ftl::{Client, Context};

ftl::module! { verbs: [nothing, number, unit_or_error, alias, pattern, lent, opaque, itself, foreign] }

type Clock = Client<clock::now>;
type Answer<T> = Result<T, ftl::Error>;

#[ftl::data]
pub struct Pair {
    pub a: u8,
    pub b: u8,
}

#[ftl::error]
pub enum Failed {
    #[error("failed")]
    Failed,
}

#[ftl::verb]
pub async fn nothing() {}

#[ftl::verb]
pub async fn number() -> u64 {
    7
}

#[ftl::verb]
pub async fn unit_or_error(fail: bool) -> Result<(), Failed> {
    if fail { Err(Failed::Failed) } else { Ok(()) }
}

#[ftl::verb]
pub async fn alias(clock: Clock) -> Answer<String> {
    Ok(clock.call(()).await?.time)
}

#[ftl::verb]
pub async fn pattern(_: Context, _clock: Clock, Pair { a, b }: Pair) -> u8 {
    a + b
}

#[ftl::verb]
pub async fn lent(context: &Context, pair: &Pair, clock: &Clock) -> Answer<Vec<String>> {
    let time = clock.call(()).await?.time;
    Ok(vec![context.request_id().to_string(), pair.a.to_string(), time])
}

#[ftl::verb(idempotent, public)]
pub async fn opaque(text: String) -> Result<u8, ftl::Error> {
    Ok(text.parse()?)
}

#[ftl::verb(blocking)]
pub async fn itself(depth: u8, again: Client<itself>) -> Answer<u8> {
    if depth == 0 { Ok(0) } else { Ok(again.call(depth - 1).await? + 1) }
}

#[ftl::verb]
pub async fn foreign(any: std::collections::BTreeMap<String, Option<Vec<(u8, char)>>>) -> u64 {
    any.len() as u64
}

fn main() {
    MODULE.schema().unwrap();
}
