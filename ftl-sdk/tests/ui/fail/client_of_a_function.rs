// A client names a verb, and a function is none until it is marked.
ftl::module! { verbs: [greet] }

pub async fn helper() -> String {
    "hello".to_owned()
}

#[ftl::verb]
pub async fn greet(helper: ftl::Client<helper>) -> String {
    helper.call(()).await.unwrap()
}

fn main() {}
