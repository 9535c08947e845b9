// A module lists verbs: its own, each once.
ftl::module! { verbs: [greet, greet, clock::now] }

#[ftl::verb]
pub async fn greet(name: String) -> String {
    name
}

fn main() {}
