// A verb is a free function.
pub struct Greeter;

impl Greeter {
    #[ftl::verb]
    pub async fn greet(&self, name: String) -> String {
        name
    }
}

fn main() {}
