// A verb takes at most one request.
ftl::module! { verbs: [repeat] }

#[ftl::data]
pub struct Text {
    pub text: String,
}

#[ftl::verb]
pub async fn repeat(request: Text, times: u32) -> String {
    request.text.repeat(times as usize)
}

fn main() {}
