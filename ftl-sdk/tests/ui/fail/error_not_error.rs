// The error of a verb is marked `#[ftl::error]`, or it is `ftl::Error`.
ftl::module! { verbs: [greet] }

#[derive(Debug)]
pub enum Bad {
    Empty,
}

#[ftl::verb]
pub async fn greet(name: String) -> Result<String, Bad> {
    if name.is_empty() { Err(Bad::Empty) } else { Ok(name) }
}

fn main() {}
