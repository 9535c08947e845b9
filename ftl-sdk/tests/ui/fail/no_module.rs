// A crate with verbs is a module: the name that cannot be found says what to do.
#[ftl::verb]
pub async fn greet(name: String) -> String {
    name
}

fn main() {}
