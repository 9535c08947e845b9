// The reply is data.
ftl::module! { verbs: [greet] }

pub struct Plain;

#[ftl::verb]
pub async fn greet(name: String) -> Result<Plain, ftl::Error> {
    let _ = name;
    Ok(Plain)
}

fn main() {}
