// Where a verb's own name is in the way, its type gets another.
ftl::module! { verbs: [Greet] }

mod greet {}

#[ftl::verb(alias = Greet)]
pub async fn greet(name: String, again: ftl::Client<Greet>) -> String {
    let _ = again;
    name
}

fn main() {
    assert_eq!(MODULE.schema().unwrap().verbs[0].name.as_str(), "greet");
}
