// A verb may move between threads where it waits.
ftl::module! { verbs: [greet] }

#[ftl::verb]
pub async fn greet(name: String) -> String {
    let name = std::rc::Rc::new(name);
    std::future::ready(()).await;
    name.to_string()
}

fn main() {}
