// Whoever may call a verb can name its request.
ftl::module! { verbs: [inner::greet] }

mod inner {
    #[ftl::data]
    struct Name {
        name: String,
    }

    #[ftl::verb]
    pub async fn greet(name: Name) -> String {
        name.name
    }
}

fn main() {}
