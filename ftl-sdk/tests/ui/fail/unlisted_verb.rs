// A verb that is not listed is not served; the compiler finds it.
#![deny(dead_code)]

ftl::module! { verbs: [greet] }

#[ftl::verb]
pub async fn greet(name: String) -> String {
    name
}

#[ftl::verb]
pub async fn forgotten(name: String) -> String {
    name
}

fn main() {}
