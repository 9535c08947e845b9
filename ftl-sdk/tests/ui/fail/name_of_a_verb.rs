// A verb is named as functions are.
ftl::module! { verbs: [Greet] }

#[ftl::verb]
pub async fn Greet(name: String) -> String {
    name
}

fn main() {}
