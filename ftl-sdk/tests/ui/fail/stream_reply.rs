// A reply has a named type.
ftl::module! { verbs: [count] }

#[ftl::verb]
pub async fn count(to: u32) -> Result<impl Iterator<Item = u32>, ftl::Error> {
    Ok(0..to)
}

fn main() {}
