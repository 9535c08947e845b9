// What is neither data nor a `Result` is no reply.
ftl::module! { verbs: [started] }

#[ftl::verb]
pub async fn started() -> std::time::Instant {
    std::time::Instant::now()
}

fn main() {}
