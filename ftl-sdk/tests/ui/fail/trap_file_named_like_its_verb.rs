// A trap of the shared name: a file called like its verb cannot re-export it. Name files by nouns, verbs by verbs.
ftl::module! { verbs: [greet] }

mod greet {
    #[ftl::verb]
    pub async fn greet(name: String) -> String {
        name
    }
}

pub use greet::greet;

fn main() {}
