// A mistake in the body is told where it is, and nowhere else.
ftl::module! { verbs: [greet] }

#[ftl::data]
pub struct Name {
    pub name: String,
}

#[ftl::verb]
pub async fn greet(request: Name) -> String {
    request.nmae
}

fn main() {}
