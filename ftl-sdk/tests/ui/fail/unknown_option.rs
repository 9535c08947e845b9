// The options of a verb are few.
ftl::module! { verbs: [greet] }

#[ftl::verb(exported)]
pub async fn greet(name: String) -> String {
    name
}

fn main() {}
