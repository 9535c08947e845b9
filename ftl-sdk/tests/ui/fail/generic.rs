// A verb has no generic parameters.
ftl::module! { verbs: [greet] }

#[ftl::verb]
pub async fn greet<T: Clone>(name: T) -> String {
    let _ = name;
    String::new()
}

fn main() {}
