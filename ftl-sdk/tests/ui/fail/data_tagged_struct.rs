// A tag says which variant it is.
#[ftl::data]
#[serde(tag = "kind")]
pub struct Order {
    pub id: u64,
}

fn main() {}
