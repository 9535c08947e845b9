// A call takes the request of the verb.
ftl::module! { verbs: [greet] }

#[ftl::verb]
pub async fn greet(now: ftl::Client<clock::now>) -> Result<String, ftl::Error> {
    Ok(now.call(3).await?.time)
}

fn main() {}
