// A trap of the shared name: the lint for the names of types can be denied, not forbidden.
#![forbid(non_camel_case_types)]

ftl::module! { verbs: [greet] }

#[ftl::verb]
pub async fn greet(name: String) -> String {
    name
}

fn main() {}
