// A verb is async.
ftl::module! { verbs: [greet] }

#[ftl::verb]
pub fn greet(name: String) -> String {
    name
}

fn main() {}
