// Parameters are taken by value or lent.
ftl::module! { verbs: [greet] }

#[ftl::verb]
pub async fn greet(context: &mut ftl::Context) -> String {
    context.request_id().to_string()
}

fn main() {}
