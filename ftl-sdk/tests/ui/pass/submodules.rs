// Verbs may live in files, and be used by glob.
ftl::module! { verbs: [greetings::hello, greetings::bye, other] }

mod greetings {
    #[ftl::verb]
    pub async fn hello(name: String) -> String {
        name
    }

    #[ftl::verb]
    pub async fn bye(name: String) -> String {
        name
    }
}

pub use greetings::*;

#[ftl::verb]
pub async fn other(hello: ftl::Client<hello>) -> Result<String, ftl::Error> {
    let _ = bye("Ada".to_owned()).await;
    Ok(hello.call("Ada".to_owned()).await?)
}

fn main() {}
