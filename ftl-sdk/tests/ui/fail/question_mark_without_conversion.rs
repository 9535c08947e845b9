// `?` on a call needs a place for what may go wrong: `#[from] clock::NowError`, or a `#[failure]`.
ftl::module! { verbs: [greet] }

#[ftl::error]
pub enum GreetError {
    #[error("empty name")]
    Empty,
}

#[ftl::verb]
pub async fn greet(now: ftl::Client<clock::now>) -> Result<String, GreetError> {
    Ok(now.call(()).await?.time)
}

fn main() {}
