// 128 bits and the machine's own width have no portable JSON form.
#[ftl::verb]
pub async fn count(items: usize) -> u8 {
    let _ = items;
    1
}

ftl::module! { verbs: [count] }

fn main() {}
