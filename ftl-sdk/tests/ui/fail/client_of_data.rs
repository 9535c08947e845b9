// A client names a verb, and a type is none.
ftl::module! { verbs: [greet] }

#[ftl::verb]
pub async fn greet(now: ftl::Client<clock::NowReply>) -> String {
    let _ = now;
    String::new()
}

fn main() {}
