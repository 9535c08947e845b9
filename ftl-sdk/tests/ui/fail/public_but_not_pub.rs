// What callers outside may call, the system may call too.
ftl::module! { verbs: [greet] }

#[ftl::verb(public)]
pub(crate) async fn greet(name: String) -> String {
    name
}

fn main() {}
