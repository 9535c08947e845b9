// The request is data.
ftl::module! { verbs: [greet] }

pub struct Plain {
    pub name: String,
}

#[ftl::verb]
pub async fn greet(request: Plain) -> String {
    request.name
}

fn main() {}
